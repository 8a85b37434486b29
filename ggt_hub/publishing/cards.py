"""The cards of repositories: rendered from their templates, and checked as strictly as the Hub does."""

import re
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ggt_hub.errors import PublishError
from ggt_hub.publishing.manifest import SDKS

REQUIRED = {
    "model": ("license", "library_name", "pipeline_tag", "tags"),
    "dataset": ("license", "pretty_name", "task_categories", "configs"),
    "metric": ("title", "sdk", "sdk_version", "app_file", "license", "colorFrom", "colorTo", "short_description"),
    "demo": ("title", "sdk", "sdk_version", "app_file", "license", "colorFrom", "colorTo", "short_description"),
    "leaderboard": ("title", "sdk", "app_file", "license", "colorFrom", "colorTo", "short_description"),
}  # fmt: skip
"""What the header of each kind of card must say."""

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
SHORT = 60
"""The Hub's limit for the characters of a Space's short description."""

_HEADER = re.compile(r"\A---\n(.*?\n)---\n(.*)\Z", re.DOTALL)
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LEFT_OVER = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|^[A-Z_]{4,}$|\b(?:TODO|FIXME|NAMESPACE)\b", re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")


def render_card(
    template: str, name: str, values: dict[str, str], moved: Iterable[tuple[str, str]] = ()
) -> str:
    """Fill in a card: variables in double braces, and ids of repositories that go to another namespace.

    Args:
        template: the card as it lies in the source tree.
        name: what to call it in errors.
        values: the variables.
        moved: (id as written, id as published), such as ("ggt-hub/compact", "me/compact").

    Raises:
        PublishError: for a variable that has no value.
    """
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown
        keep_trailing_newline=True,
    )
    try:
        text = environment.from_string(template).render(values)
    except jinja2.TemplateError as error:
        raise PublishError(
            f"the card of {name} cannot be filled in: {error}; known are {', '.join(values)}"
        ) from error
    for written, published in moved:
        text = re.sub(rf"(?<![\w.-]){re.escape(written)}(?![\w-])", published, text)
        text = text.replace(f"NAMESPACE/{written.split('/')[1]}", published)
    return text


def check_card(kind: str, text: str, paths: Collection[str]) -> list[str]:
    """Find what is wrong with a card.

    Args:
        kind: a key of `REQUIRED`.
        text: the whole card.
        paths: the files of its repository, which its pictures and links may point to.

    Returns:
        One sentence for each problem; empty if all is well.
    """
    found = _HEADER.match(text)
    if found is None:
        return ["README.md has no header: it must begin with YAML between two lines of ---"]
    try:
        header = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"the header of README.md is not YAML: {error}"]
    if not isinstance(header, dict):
        return ["the header of README.md must be a mapping of fields"]
    problems = [f"README.md says no {key}" for key in REQUIRED[kind] if not header.get(key)]
    problems += _check_header(kind, header, paths)
    body = _FENCED.sub("", found[2])
    problems += [f"README.md has {left.strip()!r} left over" for left in _LEFT_OVER.findall(found[1] + body)]
    return problems + _check_links(body, paths)


def _check_header(kind: str, header: dict[str, Any], paths: Collection[str]) -> list[str]:
    """The Hub's own rules, those that its `validate-yaml` and a starting Space enforce."""
    problems = [*_check_values(header), *_check_data_files(header, paths)]
    if header.get("license") == "other" and not header.get("license_name"):
        problems.append("README.md has license: other, which needs license_name")
    if kind not in SDKS:
        return problems
    if header.get("sdk") not in (None, SDKS[kind]):
        problems.append(f"README.md has sdk: {header['sdk']}; a {kind} runs by {SDKS[kind]}")
    problems += [
        f"README.md has {key}: {header[key]}; the Hub knows {', '.join(COLOURS)}"
        for key in ("colorFrom", "colorTo")
        if header.get(key) not in (None, *COLOURS)
    ]
    if len(str(header.get("short_description", ""))) > SHORT:
        problems.append(f"README.md has a short_description of more than {SHORT} characters")
    if header.get("app_file") and header["app_file"] not in paths:
        problems.append(f"README.md names app_file {header['app_file']!r}, which is not among the files")
    return problems


def _check_values(header: dict[str, Any]) -> Iterator[str]:
    """Fields whose values the Hub takes from lists of its own."""
    known = _hub_values()
    for value in _listed(header.get("license")):
        if value not in known["licences"]:
            yield f"README.md has license: {_shown(value)}, which the Hub does not know: write its id, or other"
    for value in _listed(header.get("language")):
        if not (value in known["languages"] or (isinstance(value, str) and re.fullmatch("[a-z]{3}", value))):
            yield f"README.md has language: {_shown(value)}, which is no ISO 639 code"
    for field in ("task_categories", "pipeline_tag"):
        for value in _listed(header.get(field)):
            if value not in known["tasks"]:
                yield f"README.md has {field}: {_shown(value)}, which is no task of the Hub"


def _shown(value: Any) -> str:
    """A value as YAML wrote it: an unquoted `no` is a truth value, not Norwegian."""
    if not isinstance(value, bool):
        return str(value)
    word = "yes" if value else "no"
    return f'{word} (to YAML a truth value: write "{word}")'


def _check_data_files(header: dict[str, Any], paths: Collection[str]) -> Iterator[str]:
    """Every pattern of `configs` must find a file, else the data set does not load."""
    for config in _listed(header.get("configs")):
        files = config.get("data_files") if isinstance(config, dict) else None
        for part in _listed(files):
            for pattern in _listed(part.get("path") if isinstance(part, dict) else part):
                if not any(fnmatchcase(path, str(pattern)) for path in paths):
                    yield f"README.md names data_files {str(pattern)!r}, which match none of the files"


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


@cache
def _hub_values() -> dict[str, list[str]]:
    return yaml.safe_load((Path(__file__).parent / "hub_values.yaml").read_text(encoding="utf-8"))


def _check_links(body: str, paths: Collection[str]) -> list[str]:
    targets = [first or second for first, second in _LINK.findall(body)]
    inside = [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    return [
        f"README.md points to {target!r}, which is not among the files"
        for target in inside
        if target not in paths
    ]
