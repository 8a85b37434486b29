"""How fast damage is done beside its peers: 512x512, one core, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.degradations

Ours are the families and presets by their names, as `degrade` takes and gives 8-bit pictures; those that do not
exist yet are listed as such. The peers are in `degradation_peers.py`. Both do the same number of draws, each its
own, on the same pictures, in turns: so a busy machine disturbs both alike. Times are processor time for a picture,
the mean over the draws, of the quickest round. What two processes do beside one is by the clock on the wall. Ends
with 1 where a goal is missed.

The published noise is two to four kinds and often a chain after them, the published blur is a chain: a filter,
shrinking, noise and JPEG, twice. Ours of these names are one kind and one filter. So two rows show the preset
`realrestorer`, which has these chains. The published haze is given its depth, which a network makes,
for nothing; ours works it out, and draws fog in half of its draws. So one row shows it with the depth given, too.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks import degradation_peers as peers
from benchmarks.pairs import make_pictures, opencv
from ggt_hub.degradations import FAMILIES, Sample, degrade, list_presets
from ggt_hub.degradations.base import to_float, to_uint8
from ggt_hub.degradations.haze import Haze
from ggt_hub.images import Picture, encode_image
from ggt_hub.scenes import Scene

RESULTS = Path(__file__).parent / "results" / "degradations.json"
SIDE, PICTURES = 512, 16
LEAST_RATE = 20.0  # pictures a second, of every family
# What a network would have estimated.
RAW_DEPTH = np.random.default_rng(0).random((12, 12)).astype(np.float32)

Damage = Callable[[np.ndarray, np.random.Generator], Any]

SCENES: dict[int, Scene] = {}  # by the picture's place in memory: there are few, and they stay


def haze_of_known_depth(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scattering alone, with the depth worked out before, as for the peer."""
    haze, lq = Haze(kinds=("depth",)), to_float(picture)
    scene = SCENES.setdefault(id(picture), Scene(lq))
    return to_uint8(haze.apply(Sample(lq, lq, scene), haze.draw(rng, rng.random())).lq)


def of_realrestorer(task: str, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The published chain as the preset has it."""
    damaged: np.ndarray = degrade(picture, "realrestorer", task=task, seed=int(rng.integers(2**32)))[0]
    return damaged


HERE: dict[str, Damage] = {
    "noise, as a chain": partial(of_realrestorer, "noise"),
    "blur, as a chain": partial(of_realrestorer, "blur"),
    "haze, depth known": haze_of_known_depth,
}
"""What of ours is raced under a name of this file."""

PEERS: dict[str, tuple[str, Damage, float]] = {
    "noise": ("RealRestorer's pipeline", peers.published_noise, 2.5),
    "blur": ("RealRestorer's pipeline", peers.published_blur, 3.0),
    "noise, as a chain": ("RealRestorer's pipeline", peers.published_noise, 1.0),
    "blur, as a chain": ("RealRestorer's pipeline", peers.published_blur, 1.0),
    "rain": ("RealRestorer's pipeline", lambda x, rng: peers.published_rain(x, RAW_DEPTH, rng), 6.0),
    "haze": ("RealRestorer's pipeline", lambda x, rng: peers.published_haze(x, RAW_DEPTH, rng), 1.0),
    "haze, depth known": (
        "RealRestorer's pipeline",
        lambda x, rng: peers.published_haze(x, RAW_DEPTH, rng),
        1.0,
    ),
    "realesrgan": ("BasicSR's functions", peers.second_order, 2.0),
    "sharpen": ("BasicSR's USM", lambda x, rng: peers.usm_sharp(x), 1.0),
}
"""For a family or preset of ours: the peer, and how many times as fast ours is to be."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"also write {RESULTS}")
    arguments = parser.parse_args()
    use_one_core()
    pictures = [opencv(data) for data in make_pictures(SIDE, PICTURES)]
    rows = [race(name, pictures, arguments.rounds) for name in PEERS]
    rows += [alone(name, pictures, arguments.rounds) for name in FAMILIES if name not in PEERS]
    rows += [lossless(pictures, arguments.rounds), two_processes(pictures)]
    print(table(rows))
    if arguments.write:
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(any(row["met"] is False for row in rows))


def use_one_core() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def race(name: str, pictures: list[np.ndarray], rounds: int) -> Row:
    """Ours beside its peer."""
    peer, theirs, goal = PEERS[name]
    known = name in HERE or name in list_presets()
    contenders = [partial(each, pictures, theirs)] + ([partial(each, pictures, ours(name))] if known else [])
    times = [seconds / len(pictures) for seconds in least_seconds(contenders, rounds)]
    row = {
        "what": name,
        "ours": None,
        "peer": peer,
        "theirs": times[0],
        "ratio": None,
        "goal": goal,
        "met": None,
    }
    if not known:
        return row
    fast = name not in FAMILIES or 1 / times[1] >= LEAST_RATE
    ratio = times[0] / times[1]
    return row | {"ours": times[1], "ratio": ratio, "met": bool(ratio >= goal and fast)}


def alone(name: str, pictures: list[np.ndarray], rounds: int) -> Row:
    """A family that has no peer here: only that it is not slow."""
    [seconds] = least_seconds([partial(each, pictures, ours(name))], rounds)
    rate = len(pictures) / seconds
    row = {"what": name, "ours": 1 / rate, "peer": None, "theirs": None, "ratio": None, "goal": None}
    return row | {"met": bool(rate >= LEAST_RATE)}


def ours(name: str) -> Damage:
    return HERE.get(name, lambda x, rng: degrade(x, name, seed=int(rng.integers(2**32))))


def each(pictures: list[np.ndarray], damage: Damage) -> None:
    """One draw for each picture; the same ones in each round."""
    torch.manual_seed(0)
    for number, picture in enumerate(pictures):
        damage(picture, np.random.default_rng(number))


def least_seconds(contenders: list[Callable[[], None]], rounds: int) -> list[float]:
    """The least processor time of each, measured in turns after one for nothing."""
    measured: list[list[float]] = [[] for _ in contenders]
    for turn in range(rounds + 1):
        for contender, seconds in zip(contenders, measured, strict=True):
            started = time.process_time()
            contender()
            if turn:
                seconds.append(time.process_time() - started)
    return [min(seconds) for seconds in measured]


def lossless(pictures: list[np.ndarray], rounds: int) -> Row:
    """The quickest lossless format of the package beside Pillow's default PNG."""
    formats = {
        "PNG": partial(encode_image, suffix=".png"),
        "WebP": partial(encode_image, suffix=".webp", quality=100),
    }
    own = [partial(each, pictures, lambda x, _, way=way: way(Picture(x))) for way in formats.values()]
    theirs = partial(each, pictures, lambda x, _: Image.fromarray(x).save(BytesIO(), "PNG"))
    *seconds, slow = (spent / len(pictures) for spent in least_seconds([*own, theirs], rounds))
    quickest = min(zip(seconds, formats, strict=True))
    what = f"lossless write, {quickest[1]}"
    row = {"what": what, "ours": quickest[0], "peer": "Pillow's PNG", "theirs": slow}
    return row | {"ratio": slow / quickest[0], "goal": 4.0, "met": bool(slow / quickest[0] >= 4)}


def two_processes(pictures: list[np.ndarray], each_time: int = 60) -> Row:
    """Pictures a second of two processes and of one; there is no goal where only one core is free."""
    times = []
    for workers in (1, 2):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=use_one_core) as pool:
            list(pool.map(damaged, pictures * workers))  # for nothing, until all have imported what they need
            started = time.perf_counter()
            list(pool.map(damaged, pictures * each_time, chunksize=4))
            times.append((time.perf_counter() - started) / (each_time * len(pictures)))
    row = {"what": "two processes, blur", "ours": times[1], "peer": "one process", "theirs": times[0]}
    return row | {"ratio": times[0] / times[1], "goal": None, "met": None}


def damaged(picture: np.ndarray) -> int:
    return len(degrade(picture, "blur", severity=0.5)[0])


def table(rows: list[Row]) -> str:
    """Milliseconds for a picture, as a Markdown table."""
    head = ["| what | ours, ms | pictures/s | peer | ms | ratio | goal | met |", "| --- |" + " ---: |" * 7]
    return "\n".join([*head, *map(line, rows)])


def line(row: Row) -> str:
    own = (f"{1e3 * row['ours']:.1f}", f"{1 / row['ours']:.0f}") if row["ours"] else ("not there yet", "")
    theirs = (row["peer"], f"{1e3 * row['theirs']:.1f}") if row["peer"] else ("", "")
    ratio, goal = (f"{row[key]:.1f}" if row[key] else "" for key in ("ratio", "goal"))
    met = {True: "yes", False: "NO", None: ""}[row["met"]]
    return f"| {' | '.join([row['what'], *own, *theirs, ratio, goal, met])} |"


if __name__ == "__main__":
    main()
