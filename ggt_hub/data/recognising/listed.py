"""Pairs that a manifest lists: which of its two columns is which side, and which pictures its paths mean."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from unicodedata import normalize

from ggt_hub.data.recognising.manifests import Mention
from ggt_hub.data.recognising.told import Side
from ggt_hub.data.storage.archives import Member
from ggt_hub.errors import DatasetError

_SAMPLE = 1000
_CANDIDATES = 64

SideOf = Callable[[str], Side | None]


@dataclass(frozen=True)
class Listed:
    """A line of a manifest, with the pictures that its paths mean; None where such a picture is missing."""

    mention: Mention
    lq: Member | None
    gt: Member | None

    @property
    def missing(self) -> list[str]:
        """The paths that mean no picture."""
        sides = ((self.mention.lq, self.lq), (self.mention.gt, self.gt))
        return [path for path, member in sides if path and member is None]


def look_up(mentions: Sequence[Mention], members: Sequence[Member], side_of: SideOf) -> list[Listed]:
    """Find the pictures of manifests.

    Args:
        mentions: the lines of all manifests.
        members: all pictures.
        side_of: the side that a path tells by its words, or that somebody has told of it.

    Raises:
        DatasetError: if nothing says which column of a list is which side, or its header contradicts its paths.
    """
    manifests: dict[str, list[Mention]] = defaultdict(list)
    for mention in mentions:
        manifests[mention.manifest].append(mention)
    ends = _by_end(members)
    found = []
    for name, lines in manifests.items():
        turned = _turned(name, lines, side_of)
        lqs = _resolve([line.lq for line in turned], ends, "gt", side_of)
        gts = _resolve([line.gt for line in turned if line.gt], ends, "lq", side_of)
        found += [Listed(line, lqs[line.lq], gts[line.gt] if line.gt else None) for line in turned]
    return found


def _turned(name: str, mentions: list[Mention], side_of: SideOf) -> list[Mention]:
    """Mentions with `lq` and `gt` where they belong; a list without header may have them the other way round."""
    pairs = [mention for mention in mentions if mention.gt]
    votes = Counter(_vote(mention, side_of) for mention in pairs)
    if votes[1] and votes[-1]:
        wrong = next(e for e in pairs if _vote(e, side_of) != _vote(pairs[0], side_of))
        raise DatasetError(
            f"{name}: its lines do not agree which column is lq, such as {wrong.lq} and {wrong.gt}: tell by lq= "
            "and gt= (--lq, --gt)"
        )
    if votes[-1] and not pairs[0].is_told:
        return [
            mention._replace(lq=mention.gt, gt=mention.lq) if mention.gt else mention for mention in mentions
        ]
    if votes[-1]:
        raise DatasetError(
            f"{name}: column lq holds ground truth by its paths, such as {pairs[0].lq} beside {pairs[0].gt}: mend "
            "the header, or tell by lq= and gt= (--lq, --gt)"
        )
    if pairs and not votes[1] and not pairs[0].is_told:
        raise DatasetError(
            f"{name}: nothing says which column is the low-quality one, {pairs[0].lq} or {pairs[0].gt}: give it a "
            "header with lq and gt, or tell by lq= and gt= (--lq, --gt)"
        )
    return mentions


def _vote(mention: Mention, side_of: SideOf) -> int:
    """1 where the paths agree with the columns, -1 where they are the other way round, 0 where they do not say."""
    lq, gt = side_of(mention.lq), side_of(mention.gt or "")
    if lq == gt or (mention.is_told and None in (lq, gt)):  # a word in a path may mean something else
        return 0
    return 1 if lq != "gt" and gt != "lq" else -1


def _by_end(members: Iterable[Member]) -> dict[str, list[Member]]:
    """Pictures by the ends of their paths, for manifests count from folders of their own."""
    ends: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        parts = normalize("NFC", member.path).split("/")
        for start in range(len(parts)):
            ends["/".join(parts[start:])].append(member)
    return ends


def _resolve(
    paths: Sequence[str], ends: dict[str, list[Member]], not_this: Side, side_of: SideOf
) -> dict[str, Member | None]:
    """The picture that each path means, all counted from one folder: a stray of the same name elsewhere is none."""
    parts = {path: _pieces(path) for path in paths}
    cut_and_root = _common_root(list(parts.values())[:: len(parts) // _SAMPLE + 1], ends, not_this, side_of)
    found: dict[str, Member | None] = dict.fromkeys(paths)
    if cut_and_root is None:
        return found
    cut, root = cut_and_root
    for path, pieces in parts.items():
        end = "/".join(pieces[cut:])
        candidates = [
            m for m in ends.get(end, ()) if end and _root(m, end) == root and side_of(m.path) != not_this
        ]
        found[path] = candidates[0] if len(candidates) == 1 else None
    return found


def _pieces(path: str) -> list[str]:
    plain = posixpath.normpath(normalize("NFC", path).replace("\\", "/"))
    return [piece for piece in plain.split("/") if piece]


def _common_root(
    paths: list[list[str]], ends: dict[str, list[Member]], not_this: Side, side_of: SideOf
) -> tuple[int, tuple[bool, str]] | None:
    """How many folders to drop from the listed paths, and where what is left begins: what fits most of them."""
    counts: Counter[tuple[int, tuple[bool, str]]] = Counter()
    for pieces in paths:
        for cut in range(len(pieces)):
            end = "/".join(pieces[cut:])
            found = [m for m in ends.get(end, ())[:_CANDIDATES] if side_of(m.path) != not_this]
            counts.update({(cut, _root(member, end)) for member in found})
    if not counts:
        return None
    return max(counts, key=lambda place: (counts[place], -place[0], -len(place[1][1])))


def _root(member: Member, end: str) -> tuple[bool, str]:
    """The folder before the end of a path; inside an archive it is the folder there, whichever archive it is."""
    path, name = normalize("NFC", member.path), normalize("NFC", member.name)
    if member.place is None:
        return False, path[: -len(end)]
    return True, name[: -len(end)] if name.endswith(end) else ""
