"""A restorer's pipeline as files that stock diffusers runs where `ggt_hub` is not installed.

The files are put together from the package's own modules: each definition that is needed, as it stands there, with
what it needs in front of it. So they give the same pixels, and nobody keeps them by hand.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from textwrap import dedent
from typing import Any

from ggt_hub import __version__
from ggt_hub.errors import PublishError

STAND_INS = "ggt_hub.publishing.stand_ins"
PIPELINE, INDEX = "pipeline.py", "model_index.json"

RESTORERS = {
    "CompactRestorerPipeline": (
        "ggt_hub.pipelines.compact",
        {
            "restorer": ("network", "ggt_hub.models.compact_restorer", "CompactRestorer"),
            "parts": ("told_parts", "ggt_hub.models.told_parts", "ToldParts"),
            "detector": ("judge", "ggt_hub.models.detector", "Detector"),
            "quality_prior": ("prior", "ggt_hub.models.quality_prior", "QualityPrior"),
        },
    )
}
"""Class of a pipeline -> its module, and for each component: the name of its file, the module and class of it."""

_BASE = "RestorerPipeline"
_PRUNED = {_BASE, "Picture", *RESTORERS}
"""Classes of which only those methods are taken that something calls."""

_HEAD = '''"""{what}

Put together by `ggt-hub publish` from ggt-hub {version} (Apache-2.0), so that it works where only diffusers, OpenCV
and Pillow are installed. Please do not edit: the source is in the package.
"""
'''


def standalone(folder: Path) -> dict[str, bytes]:
    """The files that a saved restorer lacks to be loaded by stock diffusers, and its index, which names them.

    Args:
        folder: what `save_pretrained` wrote.

    Returns:
        Path in the repository -> content; nothing for what is no restorer, or one that needs the package.
    """
    index = _index(folder / INDEX)
    name = index.get("_class_name")
    if not isinstance(name, str) or name not in RESTORERS:
        return {}
    module, components = RESTORERS[name]
    files = {PIPELINE: _single_class(assemble(module, name, stand_ins=True), name)}
    for component, (stem, home, cls) in components.items():
        if not any(index.get(component) or ()):  # an optional one that was not saved
            continue
        files[f"{component}/{stem}.py"] = assemble(home, cls)
        index[component] = [stem, cls]
    index["_class_name"] = [PIPELINE.removesuffix(".py"), name]
    return {path: text.encode() for path, text in files.items()} | {
        INDEX: (json.dumps(index, indent=2) + "\n").encode()
    }


def _index(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _single_class(text: str, name: str) -> str:
    """Only one class of a pipeline file may be a pipeline: the base becomes a plain class."""
    text = text.replace(f"class {_BASE}(DiffusionPipeline):", f"class {_BASE}:")
    return re.sub(rf"^class {name}\((\w+)\):", rf"class {name}(\1, DiffusionPipeline):", text, flags=re.M)


def assemble(module: str, name: str, stand_ins: bool = False) -> str:
    """The source of a class with all of the package that it needs, as one file.

    Args:
        module: where it is defined.
        name: the class.
        stand_ins: whether what `stand_ins.py` defines replaces the package's definitions.

    """
    needed = _Needed(stand_ins)
    needed.add(_Place(module, name))
    renamed = needed.renamed()
    blocks = [definition.text(renamed) for definition in needed.in_order()]
    head = _HEAD.format(what=f"{name}, for stock diffusers.", version=__version__)
    return "\n\n\n".join([head + "\n" + "\n".join(needed.imports()), *blocks]) + "\n"


@dataclass(frozen=True)
class _Place:
    """A name in a module."""

    module: str
    name: str


@dataclass
class _Definition:
    """A class, a function or a constant of a module.

    Attributes:
        node: its syntax tree.
        lines: its source, a comment above it and a text below it included.
        first: the number of the first line.
        dropped: numbers of lines that are left out: of methods and imports.
        names: what it mentions of the package.
    """

    node: ast.stmt
    lines: list[str]
    first: int
    dropped: set[int] = field(default_factory=set)
    names: dict[str, _Place] = field(default_factory=dict)

    def text(self, renamed: dict[_Place, str]) -> str:
        """The source, without what was dropped, and with other names for some of the package."""
        kept = [line for number, line in enumerate(self.lines, self.first) if number not in self.dropped]
        text = re.sub(r"\n{3,}", "\n\n", dedent("\n".join(kept))).rstrip()
        for name, place in self.names.items():
            if place in renamed:
                text = re.sub(rf"(?<![\w.]){name}\b", renamed[place], text)
        return text


@dataclass
class _Module:
    """A module of the package: what it defines, and where its other names come from."""

    name: str
    definitions: dict[str, _Definition]
    inside: dict[str, _Place]
    outside: dict[str, str]


@cache
def _parsed(name: str) -> tuple[ast.Module, list[str]]:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise PublishError(f"there is no module {name} to take a pipeline's source from")
    text = Path(spec.origin).read_text(encoding="utf-8")
    return ast.parse(text), text.splitlines()


def _module(name: str) -> _Module:
    tree, lines = _parsed(name)
    module = _Module(name, {}, {}, {})
    only_for_types = [part for node in tree.body if isinstance(node, ast.If) for part in node.body]
    for node, following in zip_longest(tree.body + only_for_types, tree.body[1:]):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            _note_imports(node, module)
        module.definitions |= dict.fromkeys(_defines(node), _definition(node, following, lines))
    return module


def _note_imports(node: ast.Import | ast.ImportFrom, module: _Module) -> None:
    for alias in node.names:
        known = alias.asname or alias.name
        renamed = f" as {alias.asname}" if alias.asname else ""
        if isinstance(node, ast.Import):
            module.outside[known.split(".")[0]] = f"import {alias.name}{renamed}"
        elif (node.module or "").startswith("ggt_hub"):
            module.inside[known] = _Place(str(node.module), alias.name)
        else:
            module.outside[known] = f"from {node.module} import {alias.name}{renamed}"


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        return [node.name]
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = [inner for target in targets for inner in ast.walk(target)]
    return [name.id for name in names if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)]


def _definition(node: ast.stmt, following: ast.stmt | None, lines: list[str]) -> _Definition:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    last = node.end_lineno or node.lineno
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    if _defines(node) and not hasattr(node, "body") and _is_text(following):
        last = following.end_lineno or last  # type: ignore[union-attr]
    return _Definition(node, lines[first - 1 : last], first)


def _is_text(node: ast.stmt | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


class _Needed:
    """What a class needs of the package, found by following names; methods by the attributes that are mentioned."""

    def __init__(self, stand_ins: bool) -> None:
        self.modules: dict[str, _Module] = {}
        self.stand_ins = self._module(STAND_INS) if stand_ins else None
        self.found: dict[_Place, _Definition] = {}
        self.early: dict[_Place, list[_Place]] = {}
        self.statements: set[str] = set()
        self.attributes: set[str] = set()
        self.waiting: list[tuple[_Place, ast.FunctionDef]] = []

    def add(self, place: _Place) -> None:
        """Take a definition, and everything that it leads to."""
        self._take(place)
        while called := [(p, m) for p, m in self.waiting if m.name in self.attributes]:
            for owner, method in called:
                self.waiting.remove((owner, method))
                self._follow(owner, method, self.early[owner])
        for owner, method in self.waiting:
            first = min([method.lineno, *(d.lineno for d in method.decorator_list)])
            self.found[owner].dropped |= set(range(first, (method.end_lineno or first) + 1))

    def in_order(self) -> list[_Definition]:
        """Everything that was found, what is needed first in front; else as the modules have it."""
        done: dict[_Place, _Definition] = {}
        order = {name: number for number, name in enumerate(self.modules)}
        for place in sorted(self.found, key=lambda p: (-order[p.module], self.found[p].first)):
            self._place_after_needed(place, done)
        return list({id(definition): definition for definition in done.values()}.values())

    def renamed(self) -> dict[_Place, str]:
        """New names for definitions of other modules that have one name."""
        owners: dict[str, _Place] = {}
        return {
            place: f"{place.name}_OF_{place.module.rpartition('.')[2]}".upper()
            if place.name.isupper()
            else f"{place.name}_of_{place.module.rpartition('.')[2]}"
            for place in self.found
            if owners.setdefault(place.name, place) != place
        }

    def _place_after_needed(self, place: _Place, done: dict[_Place, _Definition]) -> None:
        if place in done:
            return
        for needed in self.early[place]:
            if needed != place:
                self._place_after_needed(needed, done)
        done[place] = self.found[place]

    def imports(self) -> list[str]:
        """The imports of all that was found, in one order: whole modules, then names."""
        names: dict[str, list[str]] = {}
        for line in sorted(self.statements):
            if line.startswith("from"):
                start, _, name = line.partition(" import ")
                names.setdefault(start, []).append(name)
        whole = [line for line in sorted(self.statements) if line.startswith("import")]
        return whole + [f"{start} import {', '.join(found)}" for start, found in names.items()]

    def _module(self, name: str) -> _Module:
        if name not in self.modules:
            self.modules[name] = _module(name)
        return self.modules[name]

    def _take(self, place: _Place) -> None:
        if place in self.found:
            return
        definition = self._module(place.module).definitions[place.name]
        self.found[place] = definition
        definition.names[place.name] = place
        self.early[place] = []
        node = definition.node
        if not (isinstance(node, ast.ClassDef) and node.name in _PRUNED):
            self._follow(place, node, self.early[place])
            return
        for above in [*node.bases, *node.decorator_list]:
            self._follow(place, above, self.early[place])
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and not part.name.startswith("__"):
                self.waiting.append((place, part))
            else:
                self._follow(place, part, self.early[place])

    def _follow(self, place: _Place, node: ast.AST, early: list[_Place]) -> None:
        """Take what a piece of code mentions; names outside of function bodies are needed early."""
        late = {id(inner) for body in _bodies(node) for statement in body for inner in ast.walk(statement)}
        known = dict(self._module(place.module).inside)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute) and not hasattr(str, inner.attr):
                self.attributes.add(inner.attr)
            if isinstance(inner, ast.ImportFrom) and (inner.module or "").startswith("ggt_hub"):
                self.found[place].dropped |= set(range(inner.lineno, (inner.end_lineno or 0) + 1))
                known |= {
                    alias.asname or alias.name: _Place(str(inner.module), alias.name) for alias in inner.names
                }
        for inner in ast.walk(node):
            name = _mentioned(inner)
            if name and (found := self._resolve(place.module, name, known)):
                self._take(found)
                self.found[place].names[name] = found
                if isinstance(inner, ast.Name) and id(inner) not in late:
                    early.append(found)

    def _resolve(self, module: str, name: str, known: dict[str, _Place]) -> _Place | None:
        """Where the package, or what stands in for it, defines a name; None for names of others, then imported."""
        here = self._module(module)
        is_ours = name in here.definitions or name in known
        if is_ours and self.stand_ins and name in self.stand_ins.definitions:
            return _Place(STAND_INS, name)
        if name in here.definitions:
            return _Place(module, name)
        if name in known:
            place = known[name]
            return self._resolve(place.module, place.name, self._module(place.module).inside)
        if name in here.outside:
            self.statements.add(here.outside[name])
        return None


def _mentioned(node: ast.AST) -> str | None:
    """The name in a piece of code, or in an annotation that is written as text."""
    if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Constant):
        return str(node.annotation.value)
    return node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) else None


def _bodies(node: ast.AST) -> Iterator[Iterable[ast.stmt]]:
    for inner in ast.walk(node):
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield inner.body
