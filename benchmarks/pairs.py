"""How fast pairs come, as shares of the decode limit: the same bytes, already in memory, decoded and nothing else.

    python benchmarks/pairs.py

All contenders run in one process, in turns, on the same pictures (JPEG of quality 90, cut from the sample
photographs of the package). Machines change their speed from second to second: so the limit is measured anew before
each turn of each contender, and what counts is the median of these shares. The Hub is the local one of the tests,
in a process of its own, without delay and with 20 ms for each response. Shares are given twice: of wall time, and
of processor time over all threads of the process. Two decoding threads may come to twice the limit, which is that
of one core. The rows on a DataLoader say what one and two processes of torch give, when they send the batches of
crops that training wants, and when they send whole pictures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "pairs.json"
REPOSITORY = "VCLab-PolyU/GGT-100K"
DELAY = 0.02
SERVER = """
import sys
from tests.servers.local_hub import LocalHub
with LocalHub() as hub:
    hub.add("dataset", sys.argv[1], sys.argv[2])
    print(hub.url, flush=True)
    for line in sys.stdin:
        hub.faults.delay_each = float(line)
        print(len(hub.requests), flush=True)
"""

LIMIT = "decode limit"
CROP, BATCH = 256, 16

Way = Callable[[], Iterable[Any]]
Speed = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 512])
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = {size: Path(folder, str(size)) for size in arguments.sizes}
        for size, path in data.items():
            write_archive(path / "GGT-100K/train/all.zip", make_pictures(size, 2 * arguments.pairs))
        with served(Path(folder)) as set_delay:
            os.environ["HF_HOME"] = f"{folder}/home"
            results = {
                size: measure(path, arguments.pairs, arguments.rounds, set_delay)
                for size, path in data.items()
            }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    show(results)


def show(results: dict[int, dict[str, Speed]]) -> None:
    """Print pairs per second, and shares of the limit, as a Markdown table."""
    titles = " | ".join(f"{size}x{size}: pairs/s | of the limit | by processor time" for size in results)
    print(f"| way | {titles} |\n| --- |" + " ---: | ---: | ---: |" * len(results))
    for way in next(iter(results.values())):
        cells = (_cells(**speeds[way]) for speeds in results.values())
        print(f"| {way} | {' | '.join(cells)} |")


def _cells(pairs_per_second: float, wall: float, processor: float | None = None) -> str:
    return f"{pairs_per_second:.1f} | {wall:.2f} | {'' if processor is None else f'{processor:.2f}'}"


def make_pictures(size: int, count: int) -> list[bytes]:
    """Square cuts of the sample photographs, each another, as JPEG."""
    paths = sorted((ROOT / "ggt_hub" / "samples").glob("*.jpg"))
    photographs = [cv2.imread(str(path)) for path in paths]
    choose = np.random.default_rng(0)
    pictures = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = int(min(photograph.shape[:2]) * choose.uniform(0.7, 1))
        top, left = (int(choose.integers(0, length - side + 1)) for length in photograph.shape[:2])
        cut = cv2.resize(
            photograph[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_CUBIC
        )
        noisy = np.clip(cut + choose.normal(0, 4, cut.shape), 0, 255).astype(np.uint8)
        pictures.append(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return pictures


def write_archive(path: Path, pictures: list[bytes]) -> None:
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number, data in enumerate(pictures):
            archive.writestr(f"{('LQ', 'GT')[number % 2]}/{number // 2:05d}.jpg", data)


@contextmanager
def served(folder: Path) -> Iterator[Callable[[float], int]]:
    """Run the local Hub in a process of its own; gives what sets its delay and returns its count of requests."""
    command = [sys.executable, "-c", SERVER, REPOSITORY, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin and server.stdout
        os.environ["HF_ENDPOINT"] = server.stdout.readline().strip()

        def set_delay(seconds: float) -> int:
            server.stdin.write(f"{seconds}\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        yield set_delay
        server.stdin.close()


def measure(data: Path, count: int, rounds: int, set_delay: Callable[[float], int]) -> dict[str, Speed]:
    """Pairs per second of every way, and its shares of the limit just before: medians of the rounds."""
    ways = contenders(data, set_delay)
    speeds: dict[str, list[Speed]] = {name: [] for name in ways}
    for way in ways.values():
        timed(way, count)  # once for nothing, to open files and connections
    for _ in range(rounds):
        for name, way in ways.items():
            limit, reached = timed(ways[LIMIT], count), timed(way, count)
            shares = {clock: limit[clock] / reached[clock] for clock in reached}
            speeds[name].append({"pairs_per_second": count / reached["wall"]} | shares)
    before = set_delay(0)
    list(ways["iter_pairs, streamed from the Hub"]())
    print(f"{data.name}: {(set_delay(0) - before) / (2 * count):.3f} requests a picture", file=sys.stderr)
    for sent, side, batch in (("batches of crops", CROP, BATCH), ("whole pictures", int(data.name), 1)):
        for workers in (1, 2):
            found = speeds[f"DataLoader of {workers}, {sent}"] = []
            for _ in range(rounds):
                limit = count / timed(ways[LIMIT], count)["wall"]
                rate = with_workers(data, workers, side, batch)
                found.append({"pairs_per_second": rate, "wall": rate / limit})
    return {name: {key: median(s[key] for s in found) for key in found[0]} for name, found in speeds.items()}


def timed(way: Way, count: int) -> Speed:
    """Seconds by the clock on the wall, and by that of the processor over all threads."""
    wall, processor = time.perf_counter(), time.process_time()
    seen = sum(1 for _ in way())
    spent = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    if seen != count:
        raise RuntimeError(f"{seen} of {count} pairs came")
    return spent


def contenders(data: Path, set_delay: Callable[[float], int]) -> dict[str, Way]:
    """Every way to the same pairs. The clients are imported here, when the address of the Hub is known."""
    import datasets

    from ggt_hub import iter_pairs
    from ggt_hub.data.sources.ggt_100k import GGT100K
    from ggt_hub.data.work.export import export

    datasets.disable_progress_bars()
    local = GGT100K(data_dir=str(data))
    local.download_and_prepare()
    index = local.as_dataset(split="train")
    export({"train": index}, data / "parquet")
    table = datasets.load_dataset("parquet", data_files=f"{data}/parquet/data/**/*.parquet", split="train")
    raw = table.cast_column("lq", datasets.Image(decode=False)).cast_column(
        "gt", datasets.Image(decode=False)
    )
    remote = GGT100K(folder=f"{data.name}/GGT-100K").as_streaming_dataset(split="train")
    in_memory = [(row["lq"]["bytes"], row["gt"]["bytes"]) for row in raw]
    return {
        LIMIT: lambda: ((decoded(lq), decoded(gt)) for lq, gt in in_memory),
        "iter_pairs, local Parquet": partial(iter_pairs, table),
        "iter_pairs, local Parquet, 2 threads": partial(iter_pairs, table, workers=2),
        "datasets default": lambda: ((np.asarray(row["lq"]), np.asarray(row["gt"])) for row in table),
        "datasets decode=False + OpenCV": lambda: (
            (opencv(row["lq"]["bytes"]), opencv(row["gt"]["bytes"])) for row in raw
        ),
        **webdataset(data, in_memory),
        "iter_pairs, local zip": partial(iter_pairs, index),
        "iter_pairs, streamed from the Hub": lambda: after(set_delay, 0, iter_pairs(remote)),
        "iter_pairs, streamed, 20 ms a response": lambda: after(set_delay, DELAY, iter_pairs(remote)),
    }


def decoded(data: bytes) -> np.ndarray:
    """What `iter_pairs` decodes with."""
    from ggt_hub.images import read_image

    return read_image(data).pixels


def opencv(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def after(set_delay: Callable[[float], int], seconds: float, pairs: Iterable[Any]) -> Iterator[Any]:
    set_delay(seconds)
    yield from pairs


def webdataset(data: Path, pairs: list[tuple[bytes, bytes]]) -> dict[str, Way]:
    """The default image path of webdataset, where that is installed."""
    try:
        import webdataset as wds
    except ImportError:
        print("webdataset is not installed: left out", file=sys.stderr)
        return {}
    path = data / "pairs.tar"
    if not path.exists():
        with wds.TarWriter(str(path)) as writer:
            for number, (lq, gt) in enumerate(pairs):
                writer.write({"__key__": f"{number:05d}", "lq.jpg": lq, "gt.jpg": gt})
    return {"webdataset default": lambda: wds.WebDataset(str(path), shardshuffle=False).decode("rgb8")}


def with_workers(data: Path, workers: int, side: int, batch: int) -> float:
    """Pairs of crops per second through a torch DataLoader, counted from the first batch of each worker on."""
    import datasets
    import torch

    from ggt_hub import iter_pairs

    table = datasets.load_dataset("parquet", data_files=f"{data}/parquet/data/**/*.parquet", split="train")
    repeated = datasets.concatenate_datasets([table] * 2)

    class Pairs(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            cv2.setNumThreads(1)
            return ((crop(pair["lq"]), crop(pair["gt"])) for pair in iter_pairs(repeated))

    def crop(image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(image[-side:, -side:])

    pairs = iter(torch.utils.data.DataLoader(Pairs(), batch, num_workers=workers))
    for _ in range(workers):
        next(pairs)
    started, seen = time.perf_counter(), sum(len(lq) for lq, _ in pairs)
    return seen / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
