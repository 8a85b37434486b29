"""`iter_pairs`: the same pixels from every kind of row, in order, resumable, what is wrong by its name."""

import gc
import io
import threading
import time

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from ggt_hub import iter_pairs, load_dataset
from ggt_hub.data.pairs import PAIR_FEATURES, PICTURES, pair_row
from ggt_hub.data.sources.ggt_100k import GGT100K, REPOSITORY
from ggt_hub.data.storage.fetch import Fetcher
from ggt_hub.errors import DatasetError, HubError
from tests.data_sets.layouts import picture, write_zip

COUNT = 150


def members(count: int = COUNT) -> dict[str, bytes]:
    sides = {"LQ": 0, "GT": 1000}
    return {f"{s}/haze/{n:03d}.png": picture(n + k) for s, k in sides.items() for n in range(count)}


def pixels(seed: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture(seed))))


@pytest.fixture
def archive(tmp_path):
    """One archive that holds all pairs."""
    write_zip(tmp_path / "data/GGT-100K/train/all.zip", members())
    return tmp_path / "data"


@pytest.fixture
def at_hub(hub, archive):
    hub.add("dataset", REPOSITORY, archive)
    return hub


def rows_with_bytes(count: int = COUNT) -> list[dict]:
    return [
        pair_row(
            f"{n:03d}",
            {"bytes": picture(n), "path": None},
            {"bytes": picture(n + 1000), "path": None},
            source="test",
        )
        for n in range(count)
    ]


def in_parquet(folder) -> str:
    datasets.Dataset.from_list(rows_with_bytes(), PAIR_FEATURES).to_parquet(
        folder / "x.parquet", batch_size=16
    )
    return str(folder / "x.parquet")


def local(archive, **options):
    return load_dataset(
        "ggt-100k", data_dir=str(archive), split="train", cache_dir=str(archive.parent / "cache"), **options
    )


KINDS = {
    "archive": lambda folder: local(folder),
    "archive, streaming": lambda folder: local(folder, streaming=True),
    "parquet": lambda folder: datasets.Dataset.from_parquet(in_parquet(folder)),
    "parquet, streaming": lambda folder: datasets.load_dataset(
        "parquet", data_files=in_parquet(folder), split="train", streaming=True
    ),
    "memory": lambda folder: datasets.Dataset.from_list(rows_with_bytes(), PAIR_FEATURES),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_row_gives_the_same_pixels_in_order(kind, archive):
    count = 0
    for number, pair in enumerate(iter_pairs(KINDS[kind](archive))):
        assert pair["id"].endswith(f"{number:03d}")
        assert pair["lq"].dtype == np.uint8
        assert np.array_equal(pair["lq"], pixels(number))
        assert np.array_equal(pair["gt"], pixels(number + 1000))
        count += 1
    assert count == COUNT


def test_files_in_a_folder_and_a_missing_ground_truth(tmp_path):
    (tmp_path / "lq.png").write_bytes(picture(1))
    row = pair_row("a", {"bytes": None, "path": str(tmp_path / "lq.png")}, None, source="test")
    (pair,) = iter_pairs(datasets.Dataset.from_list([row], PAIR_FEATURES))
    assert np.array_equal(pair["lq"], pixels(1))
    assert pair["gt"] is None


def test_sixteen_bits_grey_and_orientation_become_upright_rgb(tmp_path):
    grey = np.arange(6, dtype=np.uint16).reshape(2, 3) * 10_000
    turned = Image.fromarray(np.dstack([np.arange(6, dtype=np.uint8).reshape(2, 3)] * 3))
    exif = turned.getexif()
    exif[0x0112] = 6
    first, second = io.BytesIO(), io.BytesIO()
    Image.fromarray(grey).save(first, "PNG")
    turned.save(second, "PNG", exif=exif)
    pictures = [{"bytes": data.getvalue(), "path": None} for data in (first, second)]
    (pair,) = iter_pairs(datasets.Dataset.from_list([pair_row("a", *pictures, source="test")], PAIR_FEATURES))
    assert pair["lq"][..., 0].tolist() == np.rint(grey / 257).astype(int).tolist()
    assert pair["lq"].shape == (2, 3, 3)
    assert pair["gt"][..., 0].tolist() == [[3, 0], [4, 1], [5, 2]]


def test_requests_are_few_and_in_parallel(at_hub, tmp_path):
    rows = load_dataset("ggt-100k", split="train", streaming=True)
    asked = len(at_hub.requests)
    assert len(list(iter_pairs(rows))) == COUNT
    ranges = [request for request in at_hub.requests[asked:] if request.range]
    windows = -(-COUNT // 32)
    assert len(ranges) <= 2 * windows + 2
    assert len([request for request in at_hub.requests[asked:] if request.method == "HEAD"]) <= 1


@pytest.mark.parametrize(
    ("kind", "seed"),
    # Shuffled Parquet streams of the stock library sleep for five seconds whenever they end: left out.
    [
        ("archive", None),
        ("archive", 7),
        ("archive, streaming", None),
        ("archive, streaming", 7),
        ("parquet, streaming", None),
    ],
)
def test_resuming_goes_on_with_the_very_next_pair(kind, seed, archive):
    every = [pair["id"] for pair in iter_pairs(KINDS[kind](archive), seed=seed)]
    assert sorted(every) == sorted(pair["id"] for pair in iter_pairs(KINDS[kind](archive)))
    for done in (0, 1, 32, 100, COUNT):
        first = iter_pairs(KINDS[kind](archive), seed=seed)
        start = [next(first)["id"] for _ in range(done)]
        second = iter_pairs(KINDS[kind](archive), seed=seed)
        second.load_state_dict(first.state_dict())
        assert start + [pair["id"] for pair in second] == every


def test_decoding_in_threads_changes_nothing(archive):
    def same(pair, other):
        return pair["id"] == other["id"] and all(np.array_equal(pair[side], other[side]) for side in PICTURES)

    one = list(iter_pairs(local(archive), seed=5))
    three = iter_pairs(local(archive), seed=5, workers=3)
    start = [next(three) for _ in range(40)]
    rest = iter_pairs(local(archive), seed=5, workers=3)
    rest.load_state_dict(
        three.state_dict()
    )  # not after what has been decoded ahead, but after what was given
    assert len(one) == COUNT
    assert all(map(same, one, [*start, *rest]))


@pytest.mark.parametrize("kind", ["archive", "archive, streaming"])
def test_shuffling_is_reproducible_and_differs_between_epochs(kind, archive):
    def ids(**options):
        return [pair["id"] for pair in iter_pairs(KINDS[kind](archive), **options)]

    first = ids(seed=1)
    assert first == ids(seed=1) != ids(seed=1, epoch=1)
    assert first != ids(seed=2) != ids()
    assert sorted(first) == ids()


def test_shuffling_keeps_ranges_together(at_hub):
    rows = load_dataset("ggt-100k", split="train", streaming=True)
    asked = len(at_hub.requests)
    assert len(list(iter_pairs(rows, seed=3))) == COUNT
    assert len([request for request in at_hub.requests[asked:] if request.range]) <= 2 * 5 + 4


@pytest.mark.parametrize("kind", ["archive", "archive, streaming", "hub"])
def test_workers_share_the_rows_out(kind, archive, at_hub):
    load = KINDS.get(kind, lambda _: load_dataset("ggt-100k", split="train", streaming=True))
    next(iter_pairs(load(archive)))  # what is open here is open in the workers too

    class Pairs(torch.utils.data.IterableDataset):
        def __iter__(self):
            return (pair["id"] for pair in iter_pairs(load(archive)))

    loader = torch.utils.data.DataLoader(Pairs(), batch_size=None, num_workers=2)
    ids = list(loader)
    assert len(ids) == len(set(ids)) == COUNT


def test_a_damaged_picture_is_named_and_can_be_skipped(archive, caplog):
    path = archive / "GGT-100K/train/all.zip"
    data = bytearray(path.read_bytes())
    data[data.index(picture(17)) + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        DatasetError, match=r"lq of 'GGT-100K/train/all/haze/017': .*LQ/haze/017\.png: .*CRC-32"
    ):
        list(iter_pairs(local(archive)))
    for workers in (1, 2):
        caplog.clear()
        assert len(list(iter_pairs(local(archive), workers=workers, skip_bad=True))) == COUNT - 1
        assert "017" in caplog.text


def test_an_undecodable_picture_is_named(tmp_path):
    row = pair_row("broken", {"bytes": picture(1)[:50], "path": None}, None, source="test")
    with pytest.raises(DatasetError, match="lq of 'broken'"):
        list(iter_pairs(datasets.Dataset.from_list([row], PAIR_FEATURES)))


def test_cut_connections_expired_links_and_busy_servers_cost_no_pair(at_hub, tmp_path, monkeypatch):
    monkeypatch.setattr("ggt_hub.data.storage.ranges.PAUSES", (0.0, 0.01, 0.01, 0.01, 0.01))
    rows = load_dataset("ggt-100k", split="train", streaming=True)
    at_hub.break_next("Signature", drop_after=5000, times=2)
    at_hub.break_next("Signature", status=500)
    at_hub.break_next("Signature", status=429)
    at_hub.expire_links()
    found = list(iter_pairs(rows))
    assert [np.array_equal(pair["lq"], pixels(n)) for n, pair in enumerate(found)] == [True] * COUNT
    statuses = {request.status for request in at_hub.asked("Signature")}
    assert {206, 403, 429, 500} <= statuses


def test_wrong_bytes_of_the_right_size_are_found(at_hub):
    rows = load_dataset("ggt-100k", split="train", streaming=True)
    at_hub.break_next("Signature", flip_byte=True)
    with pytest.raises(DatasetError, match=r"\.png: "):
        list(iter_pairs(rows))


def test_a_server_that_stays_away_is_an_error(at_hub, monkeypatch):
    monkeypatch.setattr("ggt_hub.data.storage.ranges.PAUSES", (0.0, 0.001, 0.001, 0.001, 0.001))
    rows = load_dataset("ggt-100k", split="train", streaming=True)
    at_hub.break_next("Signature", status=503, times=1000)
    with pytest.raises(HubError, match=r"cannot be had \(status 503\)"):
        list(iter_pairs(rows))


def test_a_gated_repository_opens_with_a_token(hub, archive, tmp_path):
    hub.add("dataset", REPOSITORY, archive, gated=True)
    hub.members.add("hf_member")
    builder = GGT100K(token="hf_member", cache_dir=str(tmp_path / "cache"))
    rows = builder.as_streaming_dataset(split="train")
    assert len(list(iter_pairs(rows, token="hf_member"))) == COUNT
    assert not [r for r in hub.requests if r.host == "store" and "hf_member" in r.path]
    with pytest.raises(HubError, match="gated"):
        list(iter_pairs(rows, token=False))


def test_rows_that_hold_nothing_but_addresses_are_read_as_well(archive, at_hub):
    rows = load_dataset("ggt-100k", split="train").select_columns(["id", "lq", "gt"])
    asked = len(at_hub.requests)
    assert [np.array_equal(pair["lq"], pixels(n)) for n, pair in enumerate(iter_pairs(rows))] == [
        True
    ] * COUNT
    assert len([request for request in at_hub.requests[asked:] if request.range]) <= 20
    row = pair_row("a", {"bytes": None, "path": f"zip://x.png::{archive}/absent.zip"}, None, source="test")
    with pytest.raises(
        DatasetError, match=r"lq of 'a': zip://x\.png::.*absent\.zip: there is no such archive"
    ):
        list(iter_pairs(datasets.Dataset.from_list([row], PAIR_FEATURES)))


def test_an_iterator_that_is_given_up_takes_no_lock_and_leaves_no_threads(archive, monkeypatch):
    """The garbage collector may end it in the thread that holds the pool's lock: that hung for ever."""

    def forbidden(*_arguments, **_options):
        raise AssertionError("a pool was shut down, which takes its lock")

    dataset, before = local(archive), set(threading.enumerate())
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor.shutdown", forbidden)
    for workers in (1, 2):
        begun = iter(iter_pairs(dataset, workers=workers, window=4))
        next(begun)
        rows = begun._rows
        del begun
        rows.close()
    fetcher = Fetcher()
    with fetcher._pool._shutdown_lock:  # as in the middle of handing work to the pool
        fetcher.__exit__()
    del rows, fetcher
    names = ("fetch", "ahead", "decode")
    for _ in range(100):
        gc.collect()  # a thread that was at work still leaves what it held to the collector
        left = [one.name for one in {*threading.enumerate()} - before if one.name.startswith(names)]
        if not left:
            break
        time.sleep(0.1)
    assert not left
