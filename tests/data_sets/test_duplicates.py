"""Pictures that are alike, and pairs that are none: found within a split and between splits."""

import io

import cv2
import numpy as np
from PIL import Image

from ggt_hub.data.reading.opening import open_parts
from ggt_hub.data.work.duplicates import DISTANCE, near, perceptual_hash
from ggt_hub.data.work.verify import overlaps, verify
from tests.cli.test_data import run
from tests.photographs import photograph


def encoded(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def scene(seed):
    """A smooth picture that no other seed's resembles."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)


def test_the_hash_stays_through_small_changes_and_differs_between_pictures():
    whole = photograph(128)
    changed = (
        np.asarray(Image.open(io.BytesIO(encoded(whole, "JPEG", quality=40)))),
        cv2.resize(whole, (64, 64), interpolation=cv2.INTER_AREA),
        np.clip(whole.astype(int) + 10, 0, 255).astype(np.uint8),
    )
    hashes = [perceptual_hash(picture) for picture in (whole, *changed)]
    assert all((hashes[0] ^ other).bit_count() <= DISTANCE for other in hashes[1:])
    assert near([perceptual_hash(scene(seed)) for seed in range(200)]) == []
    assert perceptual_hash(np.full((32, 32, 3), 90, np.uint8)) is None


def test_near_finds_exactly_the_pairs_within_the_distance():
    rng = np.random.default_rng(0)
    hashes = [int(value) for value in rng.integers(0, 2**63, 300)]
    for n, flips in enumerate((0, 1, 2, 3, 4, 5)):
        bits = rng.choice(64, flips, replace=False)
        hashes.append(hashes[n] ^ sum(1 << int(bit) for bit in bits))
    hashes[7] = None
    wanted = [(a, b) for a in range(306) for b in range(a + 1, 306) if None not in (hashes[a], hashes[b])
              and (hashes[a] ^ hashes[b]).bit_count() <= 3]  # fmt: skip
    assert near(hashes) == wanted
    assert {(n, 300 + n) for n in range(4)} == set(wanted)
    assert near([]) == near([None]) == near([5]) == []


def folder(tmp_path, splits):
    for split, rows in splits.items():
        for number, (lq, gt) in enumerate(rows):
            for side, data in (("lq", lq), ("gt", gt)):
                path = tmp_path / "set" / split / side / f"{split}{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    return tmp_path / "set"


def test_verify_flags_what_is_equal_alike_and_shared_between_splits(tmp_path):
    scenes = [encoded(scene(seed)) for seed in range(6)]
    twin = encoded(scene(1), "JPEG", quality=60)
    rows = {
        "train": [
            (encoded(scene(10)), scenes[0]),
            (encoded(scene(11)), scenes[1]),
            (encoded(scene(12)), twin),
        ],
        "test": [(scenes[3], encoded(scene(3))), (encoded(scene(14)), scenes[0])],
    }
    parts, _ = open_parts(str(folder(tmp_path, rows)))
    found = {split: verify(of_split, tmp_path / "v" / split) for split, of_split in parts.items()}
    assert found["train"].alike == [("train/train1", "train/train2")]
    assert (found["train"].equal, found["test"].equal) == ([], ["test/test0"])
    assert all(result.is_good for result in found.values())
    assert overlaps({split: tmp_path / "v" / split for split in parts}) == [
        "test/test1 of test and train/train0 of train share a file"
    ] or overlaps({split: tmp_path / "v" / split for split in parts}) == [
        "train/train0 of train and test/test1 of test share a file"
    ]
    text = run("verify", tmp_path / "set", "-o", tmp_path / "w")
    for line in (
        "alike: train/train1 and train/train2",
        "gt has the pixels of lq: test/test0",
        "share a file",
    ):
        assert line in text


def test_many_duplicates_are_summed_up(tmp_path):
    same = encoded(scene(0))
    rows = {"train": [(same, encoded(scene(100 + n))) for n in range(12)]}
    text = run("verify", folder(tmp_path, rows), "-o", tmp_path / "w", code=1)
    (line,) = [line for line in text.splitlines() if "the same picture or id" in line]
    assert line.endswith("7 more")
