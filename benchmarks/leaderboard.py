"""The leaderboard that is published: every restorer that is here, over two suites, one after the other.

    python -m benchmarks.leaderboard --clean ../shared/images/clean/val --real ../shared/images/real --runs out/runs

Each run is a process of its own, so that its memory is its own. Begun again, it does only what is left.
"""

import argparse
import subprocess
import sys
from pathlib import Path

BOARDS = Path(__file__).parents[1] / "spaces" / "leaderboard"
RUNS: dict[str, list[str]] = {
    "identity": ["--model", "identity"],
    "gain": ["--model", "gain"],
    "opencv-nlm": ["--model", "opencv:nlm"],
    "skimage-tv": ["--model", "skimage:tv"],
    "skimage-wavelet": ["--model", "skimage:wavelet"],
    "compact": ["--model", "compact"],
    "compact-quality-0.35": ["--model", "compact", "--set", "quality=0.35"],
    "compact-quality-0.65": ["--model", "compact", "--set", "quality=0.65"],
    "compact-quality-0.95": ["--model", "compact", "--set", "quality=0.95"],
}
LIMITS = {
    "compact-val": 8 * 12,  # the first eight photographs in all twelve states
    "real-photographs": 20,  # the next ones are smaller than NIQE can score
}


def ggt_hub(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "ggt_hub", *map(str, words)], check=True)


def fill(suite: str, data: Path, runs: Path) -> None:
    """Run all of a suite, and build its board."""
    folders = {runs / suite / name: words for name, words in RUNS.items()}
    for folder, words in folders.items():
        print(f"{suite}: {folder.name}", flush=True)
        limit = str(LIMITS[suite])
        ggt_hub("bench", "run", suite, "--data", data, "--limit", limit, "--output", folder, *words)
    ggt_hub("leaderboard", "build", *folders, "--data", data, "--output", BOARDS / suite)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clean", type=Path, required=True, help="photographs that are damaged by fixed rules"
    )
    parser.add_argument("--real", type=Path, required=True, help="photographs that came damaged")
    parser.add_argument(
        "--runs", type=Path, required=True, help="folder of the submissions, pictures included"
    )
    arguments = parser.parse_args()
    fill("compact-val", arguments.clean, arguments.runs)
    fill("real-photographs", arguments.real, arguments.runs)


if __name__ == "__main__":
    main()
