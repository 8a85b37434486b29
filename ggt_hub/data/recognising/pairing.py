"""Which pictures belong together, whatever a dataset's folders and names look like.

Each rule says for a picture whether it is the low-quality one or the ground truth, and gives it a key that its
partner shares. The rules are tried in order; the first that pairs nearly all pictures one to one wins.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from unicodedata import normalize

from ggt_hub.data.recognising.listed import Listed, look_up
from ggt_hub.data.recognising.manifests import Mention
from ggt_hub.data.recognising.matching import ENOUGH, find_partners, is_neither, partners_by_contrast
from ggt_hub.data.recognising.told import Side, Told
from ggt_hub.data.recognising.words import (
    CONTRASTS,
    LOOSE_SIDES,
    SIDES,
    plain,
    raw_words,
    split_of,
    task_of,
    words_of,
)
from ggt_hub.data.storage.archives import Member
from ggt_hub.data.storage.trees import File
from ggt_hub.errors import DatasetError
from ggt_hub.files import match_names
from ggt_hub.tasks import Task

NAMED = 20

_Rule = Callable[[str, list[Member]], "list[Pair] | None"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two members that belong together; `gt` is None only where a manifest says so."""

    key: str
    lq: Member
    gt: Member | None
    split: str
    task: Task | None
    mention: Mention | None = None


@dataclass(frozen=True)
class Pairing:
    """The pairs of a dataset, and how they were found.

    Attributes:
        pairs: each picture is in one pair, but for ground truths that several pictures share.
        rules: what found them.
        unpaired: pictures that have no partner.
        missing: paths that a manifest lists and where no picture is.
    """

    pairs: list[Pair]
    rules: tuple[str, ...]
    unpaired: list[Member]
    missing: tuple[str, ...] = ()


def tells_sides(paths: Iterable[str]) -> bool:
    """Whether some paths name a low-quality picture and others a ground truth, in a way that pairs them."""
    paths = list(paths)
    if {"lq", "gt"} <= {_side(path, how) for path in paths for how in ("folders", "names")}:
        return True
    members = [Member(path, path, File(path, 0, path)) for path in paths]
    return any(partners_by_contrast(contrast, members) for contrast in CONTRASTS)


def pair_up(
    members: Sequence[Member],
    mentions: Sequence[Mention] = (),
    *,
    told: Told | None = None,
    by_order: bool = False,
) -> Pairing:
    """Pair the pictures of a dataset: as told, else as its manifests list, else by names.

    Args:
        members: all pictures.
        mentions: the lines of the dataset's manifests.
        told: which pictures count, and which side they are.
        by_order: if nothing else fits, pair the n-th low-quality picture with the n-th ground truth.

    Raises:
        DatasetError: if at least 99.5 % of the pictures of a split cannot be paired one to one; the message names
            pictures without partner. And if a manifest does not say which side is which, or contradicts itself.
    """
    told = told or Told()
    members = [member for member in members if told.counts(member.path)]
    if not members:
        raise DatasetError("there are no pictures, or include= and exclude= leave none")

    listed = look_up(mentions, members, lambda path: told.side(path) or told_side(path))
    splits: dict[str, list[Member]] = {}
    for member in members:
        splits.setdefault(split_of(member.path), []).append(member)
    parts = [_pair_split(split, part, listed, told, by_order) for split, part in sorted(splits.items())]
    return Pairing(
        [pair for part in parts for pair in part.pairs],
        tuple(dict.fromkeys(rule for part in parts for rule in part.rules)),
        [member for part in parts for member in part.unpaired],
        tuple(dict.fromkeys(path for line in listed for path in line.missing)),
    )


def told_side(path: str) -> Side | None:
    """The side that the words of a path tell; None if they do not."""
    return next((side for how in _HOW if (side := _side(path, how))), None)


def _pair_split(
    split: str, members: list[Member], listed: Sequence[Listed], told: Told, by_order: bool
) -> Pairing:
    here = {id(member) for member in members}
    listed = [line for line in listed if id(line.lq or line.gt) in here]
    fixed = [_pair(split, line.lq, line.gt, line.mention) for line in listed if line.lq and line.gt]
    taken = {id(picture) for line in listed if line.mention.gt for picture in (line.lq, line.gt)}
    lonely = [picture for line in listed if line.missing for picture in (line.lq, line.gt) if picture]
    rest = [member for member in members if id(member) not in taken]
    if fixed and len(rest) <= (1 - ENOUGH) * len(members):
        return Pairing(_unique(split, fixed), ("manifest",), lonely + rest)
    missing = rest
    for name, rule in _rules(told, listed, by_order):
        pairs = rule(split, rest) or []
        paired = {id(picture) for pair in pairs for picture in (pair.lq, pair.gt)}
        unpaired = [member for member in rest if id(member) not in paired]
        doubtful = [member for member in unpaired if not _is_known_rest(member.path, name)]
        if pairs and len(doubtful) <= (1 - ENOUGH) * len(rest):
            rules = ("manifest", name) if fixed else (name,)
            return Pairing(_unique(split, fixed + _told_more(pairs, listed)), rules, lonely + unpaired)
        missing = min(missing, doubtful, key=len)
    names = "\n".join(f"  {member.path}" for member in missing[:NAMED]) + _hint_at_capitals(missing)
    raise DatasetError(
        f"split {split!r}: no rule pairs its {len(rest)} pictures one to one; {len(missing)} have no single "
        f"partner, such as\n{names}\nName folders or files lq and gt, add a manifest with columns lq and gt, tell "
        "the sides by lq= and gt= (--lq, --gt), leave pictures out by exclude= or, if both sides are sorted alike, "
        "pass by_order=True"
    )


def _hint_at_capitals(missing: Sequence[Member]) -> str:
    """Say so where names would pair if capitals did not count; whether they belong together, people know better."""
    names = [_parts(member.path)[-1] for member in missing]
    folded, exact = Counter(name.casefold() for name in names), Counter(names)
    alike = next((name for name in names if folded[name.casefold()] > exact[name]), None)
    return f"\nSome differ in capitals alone, such as {alike}: rename one side" if alike else ""


def _rules(told: Told, listed: Sequence[Listed], by_order: bool) -> Iterator[tuple[str, _Rule]]:
    """The rules that may find pairs, in the order in which they are tried."""
    if told.lq or told.gt or told.template:
        yield "told", partial(_by_told, told)
        return
    yield "results", _by_results
    yield from _RULES.items()
    yield "bare names", _by_stem
    for contrast in CONTRASTS:
        yield contrast, partial(_by_contrast, contrast)
    yield "manifest", partial(_without_gt, listed)
    if by_order:
        yield "order", _by_order


def _is_known_rest(path: str, rule: str) -> bool:
    return rule == "told" or (rule in CONTRASTS and is_neither(path, rule))


def _unique(split: str, pairs: list[Pair]) -> list[Pair]:
    """The pairs, if none is there twice and no picture is on both sides.

    Raises:
        DatasetError: naming the picture.
    """
    lqs = {id(pair.lq) for pair in pairs}
    both = next((pair.gt for pair in pairs if id(pair.gt) in lqs), None)
    if both is not None or len(lqs) < len(pairs):
        twice = both or next(m for m, n in Counter(pair.lq for pair in pairs).items() if n > 1)
        raise DatasetError(f"split {split!r}: {twice.path} is in two pairs: mend the manifest that lists it")
    return pairs


def _without_gt(listed: Sequence[Listed], split: str, members: list[Member]) -> list[Pair]:
    return [_pair(split, line.lq, None, line.mention) for line in listed if line.lq and not line.mention.gt]


def _by_told(told: Told, split: str, members: list[Member]) -> list[Pair] | None:
    sides: dict[Side, list[Member]] = {"lq": [], "gt": []}
    other: Side | None = "gt" if not told.gt else "lq" if not told.lq else None
    for member in members:
        side = told.side(member.path) or (other if told.lq or told.gt else told_side(member.path))
        if side:
            sides[side].append(member)
    partners = find_partners(sides, template=told.template)
    return None if partners is None else [_pair(split, lq, gt) for lq, gt in partners]


def _by_contrast(contrast: str, split: str, members: list[Member]) -> list[Pair] | None:
    partners = partners_by_contrast(contrast, members)
    return None if partners is None else [_pair(split, lq, gt) for lq, gt in partners]


def _pair(split: str, lq: Member, gt: Member | None, mention: Mention | None = None) -> Pair:
    task = mention.task if mention and mention.task else task_of(lq.path)
    return Pair("/".join(_parts(lq.path)), lq, gt, split, task, mention)


def _by_results(split: str, members: list[Member]) -> list[Pair] | None:
    """Pair what `degrade` or `restore` made of a folder with its pictures, if all of their names tell so."""
    sides: dict[Side, dict[str, Member]] = {"lq": {}, "gt": {}}
    for member in members:
        if (side := _side(member.path, "folders")) is None:
            return None
        *folders, name = member.path.split("/")
        sides[side]["/".join([*(part for part in folders if plain(part) not in SIDES), name])] = member
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


def _bare(name: str, side: Side) -> str:
    """A file name without the word for its side at one of its ends."""
    words = raw_words(name)
    if len(words) > 1 and SIDES.get(plain(words[-1])) == side:
        words.pop()
    elif len(words) > 1 and SIDES.get(plain(words[0])) == side:
        words.pop(0)
    return "_".join(words)


def _parts(path: str) -> list[str]:
    """The folders of a path, and its name without ending."""
    *folders, name = normalize("NFC", path).split("/")  # a Mac may have decomposed the accents
    return [*folders, name.rpartition(".")[0] or name]


def _side(path: str, how: str) -> Side | None:
    """The side that whole folders, the ends of the file name, or any words tell; the innermost counts."""
    sides = LOOSE_SIDES if how == "words" else SIDES
    *folders, name = _parts(path)
    words = words_of(name)
    if how == "folders":
        words = [plain(folder) for folder in folders]
    elif how == "names":
        words = [words[0], words[-1]] if len(words) > 1 else []
    else:
        words = [*words_of("/".join(folders)), *words]
    return next((sides[word] for word in reversed(words) if word in sides), None)


def _key(path: str, how: str, side: Side) -> str:
    """The path without its ending and without words that tell a side."""
    *folders, name = _parts(path)
    if how == "folders":
        return "/".join([*(folder for folder in folders if plain(folder) not in SIDES), name])
    if how == "names":
        return "/".join([*folders, _bare(name, side)])
    parts = [raw_words(part) for part in (*folders, name)]
    left = [[word for word in part if plain(word) not in LOOSE_SIDES] for part in parts]
    return "/".join("_".join(part) for part in left if part)


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


def _told_more(pairs: list[Pair], listed: Sequence[Listed]) -> list[Pair]:
    """Add what a manifest says of pairs that were found by their names."""
    mentions = {id(line.lq): line.mention for line in listed}
    return [
        replace(pair, mention=mention, task=mention.task or pair.task)
        if (mention := mentions.get(id(pair.lq)))
        else pair
        for pair in pairs
    ]


_HOW = ("folders", "names", "words")
_RULES: dict[str, _Rule] = {
    f"{how}, {'whole path' if whole else 'inside archives'}": partial(_by_keys, how, whole)
    for whole in (True, False)
    for how in _HOW
}
