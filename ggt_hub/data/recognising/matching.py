"""Partners among pictures whose sides are known: by ever less of their paths, until each has exactly one."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from unicodedata import normalize

from ggt_hub.data.recognising.told import Side
from ggt_hub.data.recognising.words import CONTRASTS, SIDES, Contrast, plain, task_of, words_of
from ggt_hub.data.storage.archives import Member

ENOUGH = 0.995
Sides = dict[Side, list[Member]]
Partners = list[tuple[Member, Member]]
_Key = Callable[[str], str]


def partners_by_contrast(name: str, members: Sequence[Member]) -> Partners | None:
    """The partners if the words of a contrast tell the sides of nearly all pictures; see `words.CONTRASTS`."""
    contrast = CONTRASTS[name]
    found = [(member, _side(member.path, contrast)) for member in members]
    sides: Sides = {
        "lq": [member for member, side in found if side == "lq"],
        "gt": [member for member, side in found if side == "gt"],
    }
    untold = sum(side is None for _, side in found)
    is_told = all(sides.values()) and untold <= (1 - ENOUGH) * len(members)
    return find_partners(sides, contrast=contrast) if is_told else None


def is_neither(path: str, contrast: str) -> bool:
    """Whether a picture is one of those that such data sets hold beside both sides, such as masks."""
    return _side(path, CONTRASTS[contrast]) == "neither"


def find_partners(
    sides: Sides, *, template: str | None = None, contrast: Contrast | None = None
) -> Partners | None:
    """Pair the pictures of two sides; None if nearly all cannot be paired without doubt.

    Args:
        sides: the pictures of each side.
        template: see `told.Told`.
        contrast: whose words do not count in names.
    """
    for lq_key, gt_key in _keys(template, contrast):
        partners = _by_keys(sides, lq_key, gt_key)
        if partners is not None:
            return partners
    return None


def _by_keys(sides: Sides, lq_key: _Key, gt_key: _Key) -> Partners | None:
    gts: dict[str, Member] = {}
    for member in sides["gt"]:
        if gts.setdefault(gt_key(member.path), member) is not member:
            return None
    partners = [(lq, gts[key]) for lq in sides["lq"] if (key := lq_key(lq.path)) in gts]
    if any(_is_of_another_task(lq.path, gt.path) for lq, gt in partners):
        return None
    shared = len({id(gt) for _, gt in partners})
    is_whole = len(partners) >= ENOUGH * len(sides["lq"]) and shared >= ENOUGH * len(gts)
    # Several pictures of one ground truth are named after it: that alone is no doubt.
    return partners if is_whole and (shared == len(partners) or lq_key is not gt_key) else None


def _is_of_another_task(lq: str, gt: str) -> bool:
    tasks = {task_of(lq), task_of(gt)} - {None}
    return len(tasks) > 1


def _keys(template: str | None, contrast: Contrast | None) -> Iterator[tuple[_Key, _Key]]:
    """How to look at the names of low-quality pictures and ground truths, the strictest first."""
    reduced = _reducer(contrast)
    for folders in (_all_folders, _folders_but_last, _no_folders):
        if template is not None:
            yield _key(folders, reduced, str), _key(folders, reduced, template.format)
            continue
        yield (key := _key(folders, reduced, str)), key
        yield (key := _key(folders, reduced, reduced)), key
    if template is None:
        for folders in (_all_folders, _folders_but_last, _no_folders):  # hazy/1400_3.png of gt/1400.png
            yield _key(folders, reduced, _up_to_underscore), _key(folders, reduced, str)


def _key(
    folders: Callable[[list[str], Callable[[str], str]], list[str]],
    reduced: Callable[[str], str],
    name: Callable[[str], str],
) -> _Key:
    def key(path: str) -> str:
        *parts, file = normalize("NFC", path).split("/")
        return "/".join([*folders(parts, reduced), name(file.rpartition(".")[0] or file)])

    return key


def _all_folders(parts: list[str], reduced: Callable[[str], str]) -> list[str]:
    return [left for part in parts if (left := reduced(part))]


def _folders_but_last(parts: list[str], reduced: Callable[[str], str]) -> list[str]:
    return _all_folders(parts[:-1], reduced)


def _no_folders(parts: list[str], reduced: Callable[[str], str]) -> list[str]:
    return []


def _up_to_underscore(name: str) -> str:
    return name.partition("_")[0]


def _reducer(contrast: Contrast | None) -> Callable[[str], str]:
    """What takes the words of a contrast, and those that tell sides anywhere, out of a name."""
    words = ([contrast.lq, contrast.gt] if contrast else []) + [re.escape(word) for word in SIDES]
    pattern = re.compile(rf"(?<![a-z])(?:{'|'.join(words)})(?![a-z])[_\-. ]?", re.IGNORECASE)
    return cache(lambda name: pattern.sub("", name).strip("_-. "))


def _side(path: str, contrast: Contrast) -> str | None:
    """`lq`, `gt` or `neither` by the words of the name, else of the innermost folder that has one."""
    *folders, name = path.split("/")
    for part in (name.rpartition(".")[0], *reversed(folders)):
        if side := _side_of_part(part, contrast):
            return side
    return None


@cache
def _side_of_part(part: str, contrast: Contrast) -> str | None:
    words = {re.sub(r"(?<=[a-z]{3})\d+$", "", word) for word in words_of(part)} | {plain(part)}
    for side in ("neither", "gt", "lq"):
        if any(re.fullmatch(getattr(contrast, side), word) for word in words):
            return side
    return None
