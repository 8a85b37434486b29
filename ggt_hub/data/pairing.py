"""Which pictures belong together, whatever a dataset's folders and names look like.

Each rule says for a picture whether it is the low-quality one or the ground truth, and gives it a key that its
partner shares. The rules are tried in order; the first that pairs nearly all pictures one to one wins.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

from ggt_hub.data.archives import Member
from ggt_hub.data.manifests import Entry
from ggt_hub.errors import DatasetError
from ggt_hub.files import match_names
from ggt_hub.tasks import Task, find_task

Side = Literal["lq", "gt"]

# Without underscores, hyphens and spaces: "Ground-Truth" is looked up as "groundtruth".
SIDES: dict[str, Side] = {
    **dict.fromkeys(("lq", "lqs", "lr", "low", "lowquality", "lowres"), "lq"),
    **dict.fromkeys(("input", "inputs", "degraded", "source", "before"), "lq"),
    **dict.fromkeys(
        ("gt", "gts", "hq", "hqs", "hr", "high", "highquality", "highres", "groundtruth", "ggt"), "gt"
    ),
    **dict.fromkeys(("target", "targets", "clean", "reference", "output", "outputs", "after"), "gt"),
}
SPLITS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset"), "validation"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
}
ENOUGH = 0.995
NAMED = 20

# Inside longer names these say more often "low light", "high resolution", "GGT-100K" or "open source".
LOOSE_SIDES = {
    word: side
    for word, side in SIDES.items()
    if word not in ("low", "high", "ggt", "source", "before", "reference", "output", "outputs", "after")
}

# "low_quality" is one word.
_WORD = re.compile(r"(?:low|high)[_\- ](?:quality|res)(?![a-z])|ground[_\- ]truth|[^_\-. /]+", re.IGNORECASE)
_Rule = Callable[[str, list[Member]], "list[Pair] | None"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two members that belong together; `gt` is None only where a manifest says so."""

    key: str
    lq: Member
    gt: Member | None
    split: str
    task: Task | None
    entry: Entry | None = None


@dataclass(frozen=True)
class Pairing:
    """The pairs of a dataset, the rules that found them, and the pictures that have no partner."""

    pairs: list[Pair]
    rules: tuple[str, ...]
    unpaired: list[Member]


def split_of(path: str) -> str:
    """The split that the folders of a path name; `train` where none does."""
    return _split_of_folder(path.rpartition("/")[0])


def task_of(path: str) -> Task | None:
    """The task that the folders of a path name, the innermost first, or else the file name; None if none does."""
    folder, _, name = path.rpartition("/")
    return _task_of_folder(folder) or find_task(name.rpartition(".")[0])


@lru_cache
def _split_of_folder(folder: str) -> str:
    return next((SPLITS[word] for word in reversed(_words(folder)) if word in SPLITS), "train")


@lru_cache
def _task_of_folder(folder: str) -> Task | None:
    return next((task for part in reversed(folder.split("/")) if (task := find_task(part))), None)


def tells_sides(paths: Iterable[str]) -> bool:
    """Whether some paths name a low-quality picture and others a ground truth."""
    found = {_side(path, how) for path in paths for how in ("folders", "names")}
    return {"lq", "gt"} <= found


def pair_up(members: Sequence[Member], entries: Sequence[Entry] = (), *, by_order: bool = False) -> Pairing:
    """Pair the pictures of a dataset, each split by the first rule that fits it.

    Args:
        members: all pictures.
        entries: the lines of the dataset's manifests.
        by_order: if no rule fits, pair the n-th low-quality picture with the n-th ground truth.

    Raises:
        DatasetError: if no rule pairs at least 99.5 % of the pictures of a split one to one; the message names
            pictures without partner.
    """
    splits: dict[str, list[Member]] = {}
    for member in members:
        splits.setdefault(split_of(member.path), []).append(member)
    parts = [_pair_split(split, part, entries, by_order) for split, part in sorted(splits.items())]
    return Pairing(
        [pair for part in parts for pair in part.pairs],
        tuple(dict.fromkeys(rule for part in parts for rule in part.rules)),
        [member for part in parts for member in part.unpaired],
    )


def _pair_split(split: str, members: list[Member], entries: Sequence[Entry], by_order: bool) -> Pairing:
    rules: dict[str, _Rule] = {
        "results": _by_results,
        **_RULES,
        "manifest": partial(_by_manifest, entries),
        "bare names": _by_stem,
    }
    if by_order:
        rules["order"] = _by_order
    missing = members
    for name, rule in rules.items():
        pairs = rule(split, members) or []
        paired = {id(picture) for pair in pairs for picture in (pair.lq, pair.gt)}
        unpaired = [member for member in members if id(member) not in paired]
        if pairs and len(unpaired) <= (1 - ENOUGH) * len(members):
            return Pairing(_told_more(pairs, entries), (name,), unpaired)
        missing = min(missing, unpaired, key=len)
    names = "\n".join(f"  {member.path}" for member in missing[:NAMED])
    raise DatasetError(
        f"split {split!r}: no rule pairs its {len(members)} pictures one to one; {len(missing)} have no single "
        f"partner, such as\n{names}\nName folders or files lq and gt, add a manifest with columns lq and gt, or, "
        "if both sides are sorted alike, pass by_order=True"
    )


def _by_results(split: str, members: list[Member]) -> list[Pair] | None:
    """Pair what `degrade` or `restore` made of a folder with its pictures, if all of their names tell so."""
    sides: dict[Side, dict[str, Member]] = {"lq": {}, "gt": {}}
    for member in members:
        if (side := _side(member.path, "folders")) is None:
            return None
        *folders, name = member.path.split("/")
        sides[side]["/".join([*(part for part in folders if _plain(part) not in SIDES), name])] = member
    if sum(map(len, sides.values())) < len(members) or len(sides["lq"]) != len(sides["gt"]):
        return None
    matched = match_names(sides["lq"], sides["gt"])
    if len(matched) < len(sides["lq"]) or all(_stem(lq) == _stem(gt) for lq, gt in matched.items()):
        return None  # equal names are the business of the other rules
    return [
        Pair(lq, sides["lq"][lq], sides["gt"][gt], split, task_of(sides["lq"][lq].path))
        for lq, gt in matched.items()
    ]


def _stem(path: str) -> str:
    return "/".join(_parts(path))


def _by_keys(how: str, whole: bool, split: str, members: list[Member]) -> list[Pair] | None:
    """Pair by equal keys; None where a key is not one to one."""
    sides: dict[Side, dict[str, Member]] = {"lq": {}, "gt": {}}
    for member in members:
        side = _side(member.path, how)
        if side is None:
            continue
        key = _key(member.path if whole else member.name, how, side)
        if not whole:
            key = f"{split}/{task_of(member.path)}/{key}"
        if key in sides[side]:
            return None
        sides[side][key] = member
    return [
        Pair(key, lq, sides["gt"][key], split, task_of(lq.path))
        for key, lq in sides["lq"].items()
        if key in sides["gt"]
    ]


def _by_stem(split: str, members: list[Member]) -> list[Pair] | None:
    """Pair by the names of files, for folders of any name; of the two sides one may go without a word for it."""
    told = [next((side for how in _HOW if (side := _side(m.path, how))), None) for m in members]
    named = {side for side in told if side}
    if not named:
        return None
    sides: dict[Side, list[Member]] = {"lq": [], "gt": []}
    for member, side in zip(members, told, strict=True):
        if side or len(named) == 1:
            sides[side or ("gt" if named == {"lq"} else "lq")].append(member)
    by_task = all(any(task_of(m.path) for m in found) for found in sides.values())
    keyed: dict[Side, dict[str, Member]] = {}
    for side, found in sides.items():
        keys = [f"{task_of(m.path) if by_task else None}/{_bare(_parts(m.path)[-1], side)}" for m in found]
        if len(set(keys)) < len(keys):
            return None
        keyed[side] = dict(zip(keys, found, strict=True))
    return [
        Pair("/".join(_parts(lq.path)), lq, keyed["gt"][key], split, task_of(lq.path))
        for key, lq in keyed["lq"].items()
        if key in keyed["gt"]
    ]


def _plain(name: str) -> str:
    return re.sub(r"[_\-. ]", "", name.lower())


def _bare(name: str, side: Side) -> str:
    """A file name without the word for its side at one of its ends."""
    words = _WORD.findall(name)
    if len(words) > 1 and SIDES.get(_plain(words[-1])) == side:
        words.pop()
    elif len(words) > 1 and SIDES.get(_plain(words[0])) == side:
        words.pop(0)
    return "_".join(words)


def _words(part: str) -> list[str]:
    return [_plain(word) for word in _WORD.findall(part)]


def _parts(path: str) -> list[str]:
    """The folders of a path, and its name without ending."""
    *folders, name = path.split("/")
    return [*folders, name.rpartition(".")[0] or name]


def _side(path: str, how: str) -> Side | None:
    """The side that whole folders, the ends of the file name, or any words tell; the innermost counts."""
    sides = LOOSE_SIDES if how == "words" else SIDES
    *folders, name = _parts(path)
    words = _words(name)
    if how == "folders":
        words = [_plain(folder) for folder in folders]
    elif how == "names":
        words = [words[0], words[-1]] if len(words) > 1 else []
    else:
        words = [*_words("/".join(folders)), *words]
    return next((sides[word] for word in reversed(words) if word in sides), None)


def _key(path: str, how: str, side: Side) -> str:
    """The path without its ending and without words that tell a side."""
    *folders, name = _parts(path)
    if how == "folders":
        return "/".join([*(folder for folder in folders if _plain(folder) not in SIDES), name])
    if how == "names":
        return "/".join([*folders, _bare(name, side)])
    parts = [_WORD.findall(part) for part in (*folders, name)]
    left = [[word for word in part if _plain(word) not in LOOSE_SIDES] for part in parts]
    return "/".join("_".join(part) for part in left if part)


def _by_manifest(entries: Sequence[Entry], split: str, members: list[Member]) -> list[Pair] | None:
    places = _Places(members)
    pairs = []
    for entry in entries:
        lq, gt = places.find(entry.lq), places.find(entry.gt) if entry.gt else None
        if lq is not None and (gt is not None or entry.gt is None):
            pairs.append(
                Pair("/".join(_parts(lq.path)), lq, gt, split, entry.task or task_of(lq.path), entry)
            )
    return pairs if len({pair.key for pair in pairs}) == len(pairs) else None


def _by_order(split: str, members: list[Member]) -> list[Pair] | None:
    sides: dict[Side, list[Member]] = {"lq": [], "gt": []}
    for member in sorted(members, key=lambda member: member.path):
        side = _side(member.path, "folders") or _side(member.path, "words")
        if side:
            sides[side].append(member)
    if len(sides["lq"]) != len(sides["gt"]):
        return None
    return [
        Pair("/".join(_parts(lq.path)), lq, gt, split, task_of(lq.path))
        for lq, gt in zip(sides["lq"], sides["gt"], strict=True)
    ]


def _told_more(pairs: list[Pair], entries: Sequence[Entry]) -> list[Pair]:
    """Add what a manifest says of pairs that were found by their names."""
    if not entries or any(pair.entry for pair in pairs):
        return pairs
    places = _Places([pair.lq for pair in pairs])
    told = {id(member): entry for entry in entries if (member := places.find(entry.lq)) is not None}
    return [
        Pair(pair.key, pair.lq, pair.gt, pair.split, (entry and entry.task) or pair.task, entry)
        for pair in pairs
        for entry in [told.get(id(pair.lq))]
    ]


class _Places:
    """Members by the ends of their paths, for manifests count from folders of their own."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._by_end: dict[str, Member | None] = {}
        for member in members:
            parts = member.path.split("/")
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                self._by_end[end] = None if end in self._by_end else member

    def find(self, path: str) -> Member | None:
        """The only member whose path ends as `path` does, by as many folders as it takes."""
        parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((self._by_end[end] for end in ends if end in self._by_end), None)


_HOW = ("folders", "names", "words")
_RULES: dict[str, _Rule] = {
    f"{how}, {'whole path' if whole else 'inside archives'}": partial(_by_keys, how, whole)
    for whole in (True, False)
    for how in _HOW
}
