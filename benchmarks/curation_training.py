"""Whether pairs that passed the gates train better than all candidates: a small network from scratch, three seeds.

    OMP_NUM_THREADS=1 python -m benchmarks.curation_training --run out/curation/0-320/run \\
        --images ../shared/images/clean/train:320 --tell benchmarks/results/curation_training.json

The pairs are those of a folder that `curation_run` has made, of noise and of the preset `mixture`: packed ones, and
all candidates as they came. Tested on photographs of another folder, damaged likewise; the gain is over the input.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2

from benchmarks.curation_faults import Pixels
from benchmarks.curation_servers import file_of
from benchmarks.small_training import gain, tests, trained
from ggt_hub.curation.decided import read_run
from ggt_hub.data.pairs import pair_row
from ggt_hub.data.work.export import write_rows
from ggt_hub.files import list_pictures
from ggt_hub.images.shown import shown_rgb

TASKS = ("noise", "general")


def pairs(run: Path, stage: str, column: str) -> dict[str, tuple[bytes, Pixels]]:
    """Photograph and candidate of each row that a stage has kept, of these kinds of damage."""
    found = {}
    for row in read_run(run).outcomes(stage, ["lq", column]):
        if row["state"] == "kept" and row["id"].partition(".png")[0].endswith(TASKS):
            found[row["id"]] = (row["lq"], shown_rgb(row[column]))
    return found


def written(folder: Path, found: Mapping[str, tuple[bytes, Pixels]]) -> Path:
    """Pairs of equal size, as a data set."""
    folder.mkdir(parents=True)
    write_rows(folder / "train.parquet", _rows(found))
    return folder


def _rows(found: Mapping[str, tuple[bytes, Pixels]]) -> Iterator[dict[str, Any]]:
    for name, (data, gt) in sorted(found.items()):
        lq = shown_rgb(data)
        if gt.shape != lq.shape:
            gt = cv2.resize(gt, lq.shape[1::-1], interpolation=cv2.INTER_AREA)
        sides = ({"bytes": one, "path": None} for one in (data, file_of(gt)))
        yield pair_row(name, *sides, source="curation", task="general")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--images", required=True, metavar="FOLDER:SIDE")
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--tell", type=Path)
    arguments = parser.parse_args()
    folder, _, side = arguments.images.rpartition(":")
    kept = tests(sorted(list_pictures(Path(folder)))[: arguments.limit], int(side))
    sets = {
        "packed": pairs(arguments.run, "judge", "gt"),
        "all candidates": pairs(arguments.run, "edit", "candidate"),
    }
    told: dict[str, Any] = {name: {"pairs": len(found), "gains": []} for name, found in sets.items()}
    with tempfile.TemporaryDirectory() as working:
        for name, found in sets.items():
            data = written(Path(working, name.replace(" ", "-")), found)
            for seed in range(3):
                pipe = trained("compact", data, Path(working, f"{data.name}-{seed}"), seed, arguments.steps)
                told[name]["gains"].append(round(gain(pipe, kept), 3))
                print(name, seed, told[name]["gains"][-1], flush=True)
    print(json.dumps(told))
    if arguments.tell:
        arguments.tell.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
