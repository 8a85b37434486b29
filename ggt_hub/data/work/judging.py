"""Filters of clean pictures that ask a judge: a vision-language model, whose replies are in the user's ledger."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ggt_hub.commit import RECORDS, locked
from ggt_hub.data.reading.clean import Clean
from ggt_hub.errors import JudgeError
from ggt_hub.shards import Shard, are_made, run_shards
from ggt_hub.vlm import Judge

PICTURES_IN_A_SHARD = 100


@dataclass(frozen=True)
class JudgedFilter:
    """One reason to leave a picture out.

    Attributes:
        limit: the least rating, 1 (extreme) to 5 (none of it), where no other is given.
        asks: what the judge looks for; put into the published rubric in place of a degradation's name.
    """

    limit: float
    asks: str


JUDGED_FILTERS: dict[str, JudgedFilter] = {
    "watermark": JudgedFilter(5, "watermark, logo or text laid over the photograph"),
    "low-quality": JudgedFilter(4, "low image quality: blur, noise, compression artefacts or wrong exposure"),
}


def judged_out(
    clean: Sequence[Clean], limits: Mapping[str, float], judge: Judge, folder: Path
) -> dict[str, str]:
    """Why pictures do not pass, by name: rated below the limit, or not at all.

    What came of it is kept below `folder`, so that a call that is repeated, or one for another part, asks nothing
    again and finds the same; of several calls at the same time one asks and the others wait.

    Args:
        clean: the pictures.
        limits: of some of `JUDGED_FILTERS`, by name, each 1 to 5. Who fails the first is not asked about the next.
        judge: who is asked.
        folder: of the data set that is made.

    Raises:
        JudgeError: if the judge fails for good, its budget is spent, it refuses the first pictures altogether, or
            questions were sent that may have been billed and have no reply; what was answered stays stored.
    """
    slices = [clean[n : n + PICTURES_IN_A_SHARD] for n in range(0, len(clean), PICTURES_IN_A_SHARD)]
    shards = [
        Shard(f"judged/{n:05d}.json", (list(some),), repr([(one.name, one.version) for one in some]))
        for n, some in enumerate(slices)
    ]
    who = {name: value for name, value in judge.identity.items() if name != "endpoints"}
    settings = [who, {name: (JUDGED_FILTERS[name].asks, limit) for name, limit in limits.items()}]
    with locked(folder / RECORDS / "lock-of-the-judge", waits=True):
        if not are_made(shards[:1], folder / RECORDS, settings=settings):
            first = JUDGED_FILTERS[next(iter(limits))].asks
            judge.probe([one.read for one in clean], [first] * len(clean))
        run_shards(
            partial(_rate, limits, judge), shards, folder / RECORDS, settings=settings, title="Judging"
        )
        reasons: dict[str, str] = {}
        for shard in shards:
            reasons |= json.loads((folder / RECORDS / shard.name).read_text(encoding="utf-8"))
    return reasons


def _rate(limits: Mapping[str, float], judge: Judge, clean: list[Clean], path: Path) -> dict[str, Any]:
    """Write why pictures of a shard do not pass."""
    reasons: dict[str, str] = {}
    for name, limit in limits.items():
        left = [one for one in clean if one.name not in reasons]
        ratings = judge.rate([one.read for one in left], [JUDGED_FILTERS[name].asks] * len(left))
        unknown = sum(rating.is_unknown for rating in ratings)
        if unknown:
            raise JudgeError(
                f"{unknown} questions about {name} may have been billed and have no reply: --ask-again asks them "
                "again, at their price"
            )
        for one, rating in zip(left, ratings, strict=True):
            if rating.refused is not None:
                reasons[one.name] = f"{name}: the judge refuses the picture: {rating.refused}"
            elif rating.score is None:
                reasons[one.name] = f"{name}: the judge gives no readable rating"
            elif rating.score < limit:
                reasons[one.name] = f"{name}: rated {rating.score} by {judge.chat.model}, below {limit:g}"
    path.write_text(json.dumps(reasons), encoding="utf-8")
    return {}
