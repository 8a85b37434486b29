"""The ten baselines of GGT-100K by one protocol, `ten_baselines.yaml`: the rows that a CPU can train, trained.

    OMP_NUM_THREADS=1 python -m benchmarks.ten_baselines --run out/curation/0-320/run \\
        --existing ../shared/images/clean/val --images ../shared/images/clean/train:320

Existing data are photographs that are damaged by noise and by the preset `mixture`; generated ground truth is what
`curation_run` has packed of the same photographs under the same damage. Each is trained from scratch, at a small
size, for as many steps, and tested on photographs of another folder under noise and mixtures: the mean gain over
the input in dB, for three seeds. What is as it ships is tested on the same.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.curation_training import pairs, written
from benchmarks.small_training import gain, tests, trained
from ggt_hub import RestorerPipeline
from ggt_hub.files import list_pictures

PROTOCOL = Path(__file__).parent / "ten_baselines.yaml"


def shown(rows: list[dict[str, Any]], measured: dict[str, dict[str, Any]]) -> str:
    """The table: what was not run has dashes and says what it needs."""
    lines = ["| baseline | family | chosen | as is | existing data | generated ground truth | needs |"]
    lines.append("| --- | --- | --- | ---: | ---: | ---: | --- |")
    for row in rows:
        found = measured.get(row["name"], {})
        cells = [_cell(found.get(condition)) for condition in ("as_is", "existing", "generated")]
        lines.append(
            f"| {row['name']} | {row['family']} | {row['chosen']} | {' | '.join(cells)} | {row['needs']} |"
        )
    return "\n".join(lines)


def _cell(gains: list[float] | None) -> str:
    if not gains:
        return "–"
    spread = f" ({min(gains):+.2f} to {max(gains):+.2f})" if len(gains) > 1 else ""
    return f"{statistics.fmean(gains):+.2f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--existing", type=Path, required=True)
    parser.add_argument("--images", required=True, metavar="FOLDER:SIDE")
    parser.add_argument("--rows", nargs="*", help="only these")
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tell", type=Path)
    arguments = parser.parse_args()
    rows = yaml.safe_load(PROTOCOL.read_text(encoding="utf-8"))["rows"]
    folder, _, side = arguments.images.rpartition(":")
    kept = tests(sorted(list_pictures(Path(folder)))[: arguments.limit], int(side))
    measured: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as working:
        generated = written(Path(working, "generated"), pairs(arguments.run, "judge", "gt"))
        for row in rows:
            if "here" not in row or row["name"] not in (arguments.rows or [row["name"]]):
                continue
            found = measured.setdefault(row["name"], {})
            if row["name"] == "compact":
                pipe = RestorerPipeline.from_pretrained("compact")
                pipe.set_progress_bar_config(disable=True)
                found["as_is"] = [round(gain(pipe, kept), 3)]
            for condition, data in (("existing", arguments.existing), ("generated", generated)):
                for seed in range(arguments.seeds):
                    output = Path(working, f"{row['name']}-{condition}-{seed}")
                    pipe = trained(row["here"], data, output, seed, arguments.steps)
                    found.setdefault(condition, []).append(round(gain(pipe, kept), 3))
                    print(row["name"], condition, seed, found[condition][-1], flush=True)
    print(shown(rows, measured))
    if arguments.tell:
        arguments.tell.write_text(json.dumps(measured, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
