"""The words by which folders and names of files tell sides, splits and tasks."""

import re
from dataclasses import dataclass
from functools import lru_cache

from ggt_hub.data.recognising.told import Side
from ggt_hub.tasks import Task, find_task

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

# Inside longer names these say more often "low light", "high resolution", "GGT-100K" or "open source".
LOOSE_SIDES = {
    word: side
    for word, side in SIDES.items()
    if word not in ("low", "high", "ggt", "source", "before", "reference", "output", "outputs", "after")
}

# "low_quality" is one word.
_WORD = re.compile(r"(?:low|high)[_\- ](?:quality|res)(?![a-z])|ground[_\- ]truth|[^_\-. /]+", re.IGNORECASE)


@dataclass(frozen=True)
class Contrast:
    """Words that tell sides only against each other: `blur` is a kind of damage, unless there is `sharp` beside it.

    Attributes:
        lq: regular expression of a word for the low-quality side.
        gt: one for the ground truth.
        neither: one for what such data sets hold besides.
    """

    lq: str
    gt: str
    neither: str = "mask|masks"


# The words of the public data sets, as they unpack.
CONTRASTS = {
    "blur and sharp": Contrast("blur|blurry|blurred", "sharp", "gamma"),  # GoPro, REDS
    "noisy and clean": Contrast("noisy|noise", "gt|clean"),  # SIDD
    "rain and no rain": Contrast(
        "rain|rainy", "norain|clean|clear", "rainstreak|streak|rainregion|mask"
    ),  # Rain100
    "data and gt": Contrast("data", "gt|clean"),  # RainDrop
    "low and high resolution": Contrast(r"lr(?:x?\d)?|x\d", "hr"),  # RealSR, DIV2K
    "low and normal light": Contrast("low", "normal|high"),  # LOL
    "haze and clear": Contrast("haze|hazy", "clear|gt|clean", "trans|transmission|depth"),  # RESIDE
    "raw and reference": Contrast("raw", "reference", "challenging"),  # UIEB
    "snow and none": Contrast("synthetic|snow|snowy", "gt|clean", "mask|realistic"),  # Snow100K
    "A and C": Contrast("a", "c", "b"),  # ISTD: shadow, mask, shadow-free
}


def words_of(part: str) -> list[str]:
    """The words of a folder's or file's name, each as `SIDES` has it."""
    return [plain(word) for word in raw_words(part)]


def raw_words(part: str) -> list[str]:
    """The words of a folder's or file's name, as they stand there."""
    return _WORD.findall(part)


def plain(name: str) -> str:
    """A name in lower case, without what separates its words."""
    return re.sub(r"[_\-. ]", "", name.lower())


def split_of(path: str) -> str:
    """The split that the folders of a path name; `train` where none does."""
    return _split_of_folder(path.rpartition("/")[0])


def task_of(path: str) -> Task | None:
    """The task that the folders of a path name, the innermost first, or else the file name; None if none does."""
    folder, _, name = path.rpartition("/")
    return _task_of_folder(folder) or find_task(name.rpartition(".")[0])


@lru_cache
def _split_of_folder(folder: str) -> str:
    return next((SPLITS[word] for word in reversed(words_of(folder)) if word in SPLITS), "train")


@lru_cache
def _task_of_folder(folder: str) -> Task | None:
    return next((task for part in reversed(folder.split("/")) if (task := find_task(part))), None)
