"""The mixture: by shares, the same whatever came before, from stored pairs and from clean photographs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.reading import picture_sources as module
from ggt_hub.data.reading.mixture import Damage, Mixture
from ggt_hub.data.reading.picture_sources import open_source
from ggt_hub.degradations.presets import load_preset
from ggt_hub.errors import DatasetError
from ggt_hub.images import encode_image, read_image
from tests.photographs import photograph

NOISE = {"noise": Damage(1.0, load_preset("noise"))}
DAMAGE = NOISE | {"blur": Damage(3.0, load_preset("blur"))}


def png(pixels: np.ndarray) -> dict[str, object]:
    return {"bytes": encode_image(read_image(pixels), ".png").data, "path": None}


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    (tmp_path / "clean").mkdir()
    for side in (96, 128):
        Image.fromarray(photograph(side)).save(tmp_path / "clean" / f"{side}.png")
    return tmp_path / "clean"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Four pairs whose `lq` is the picture itself, inverted, as folders."""
    for side in ("lq", "gt"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
    for number in range(4):
        gt = photograph(64 + 8 * number)
        Image.fromarray(gt).save(tmp_path / f"pairs/gt/{number}.png")
        Image.fromarray(255 - gt).save(tmp_path / f"pairs/lq/{number}.png")
    return tmp_path / "pairs"


def mixed(*sources: tuple[Path, float], damage: dict[str, Damage] = DAMAGE, **settings: Any) -> Mixture:
    opened = [(open_source(source), share) for source, share in sources]
    return Mixture(opened, damage, **({"crop": 32, "seed": 0} | settings))


def test_an_example_is_the_same_whatever_came_before(clean: Path, pairs: Path) -> None:
    one, other = mixed((clean, 1), (pairs, 1)), mixed((clean, 1), (pairs, 1), cache_bytes=0)
    made = [one[number].cut() for number in range(40)]
    for number in (39, 0, 17):
        again = other[number].cut()
        assert all(np.array_equal(a, b) for a, b in zip(made[number], again, strict=True))
    assert len({lq.tobytes() for lq, _ in made}) == 40
    assert not np.array_equal(mixed((clean, 1), seed=1)[0].gt, mixed((clean, 1))[0].gt)


def test_shares_say_how_often(clean: Path, pairs: Path) -> None:
    """Within three deviations of 600 draws: 3 of 4 from the pairs, and of the rest 3 of 4 blurred."""
    mixture = mixed((clean, 1), (pairs, 3))
    counts = Counter(mixture[number].group for number in range(600))
    assert set(counts) == {"noise", "blur", str(pairs)} == set(mixture.groups) - {str(clean)}
    assert abs(counts[str(pairs)] - 450) < 3 * np.sqrt(600 * 0.75 * 0.25)
    assert abs(counts["blur"] - 112.5) < 3 * np.sqrt(600 * 0.1875 * 0.8125)


def test_both_sides_of_a_stored_pair_are_the_same_place(pairs: Path) -> None:
    mixture = mixed((pairs, 1), damage={})
    turned = set()
    for number in range(24):
        example = mixture[number]
        lq, gt = example.cut()
        assert lq.shape == gt.shape == (32, 32, 3)
        np.testing.assert_allclose(lq + gt, 1.0, atol=1e-6)
        assert (example.severities, example.task) == (None, "general")
        turned.add(
            tuple(np.argsort([c.mean() for c in (gt[:16, :16], gt[:16, 16:], gt[16:, :16], gt[16:, 16:])]))
        )
    assert len(turned) > 1


def test_pairs_of_two_sizes_are_cut_at_the_same_place(tmp_path: Path) -> None:
    lq = photograph(64)
    gt = lq.repeat(2, axis=0).repeat(2, axis=1)
    row = pair_row("a", png(lq), png(gt), source="x", task="haze")
    Dataset.from_list([row], features=PAIR_FEATURES).to_parquet(tmp_path / "train.parquet")
    example = mixed((tmp_path, 1), damage={})[3]
    small, large = example.cut()
    assert large.shape == (64, 64, 3)
    assert np.array_equal(large[::2, ::2], small)
    assert example.task == "haze"


def test_aligned_pictures_of_the_crop_s_size_are_used_whole_and_mirrored_alone(tmp_path: Path) -> None:
    for side in ("clean", "pairs/gt", "pairs/lq"):
        (tmp_path / side).mkdir(parents=True)
    whole = photograph(48)
    for name in ("clean/a.png", "pairs/gt/a.png"):
        Image.fromarray(whole).save(tmp_path / name)
    Image.fromarray(255 - whole).save(tmp_path / "pairs/lq/a.png")
    for source in ("clean", "pairs"):
        drawn = mixed((tmp_path / source, 1), crop=48, aligned=True)
        cut = [drawn[number].cut() for number in range(12)]
        seen = {np.rint(gt * 255).astype(np.uint8).tobytes() for _, gt in cut}
        assert seen == {whole.tobytes(), whole[:, ::-1].tobytes()}
    for lq, gt in cut:  # the last ones, of pairs
        np.testing.assert_allclose(lq, 1 - gt, atol=1e-6)


def test_a_row_without_lq_is_damaged_like_a_photograph(tmp_path: Path) -> None:
    rows = [pair_row("a", None, png(photograph(96)), source="x")]
    Dataset.from_list(rows, features=PAIR_FEATURES).to_parquet(tmp_path / "train.parquet")
    example = mixed((tmp_path, 1), damage=NOISE)[0]
    assert (example.group, example.task, list(example.severities)) == ("noise", "noise", ["noise"])
    assert np.abs(example.lq - example.gt).mean() > 1 / 255
    with pytest.raises(DatasetError, match="holds clean pictures, and no damage is given"):
        mixed((tmp_path, 1), damage={})[0]


def test_what_cannot_be_learned_is_skipped_and_told(clean: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "notes.txt"):
        (clean / name).write_bytes(b"\0\5\x16\7")
    (clean / "broken.png").write_bytes(b"no picture")
    Image.fromarray(photograph(20)).save(clean / "tiny.png")
    mixture = mixed((clean, 1))
    assert len(mixture.sources[0]) == 4
    with pytest.warns(UserWarning, match="that is skipped") as told:
        for number in range(60):
            mixture[number]
    assert sorted(Path(path).name for _, path in mixture.skipped) == ["broken.png", "tiny.png"]
    assert len(told) == 2
    for name in ("96.png", "128.png"):
        (clean / name).unlink()
    with pytest.raises(DatasetError, match=r"none of the 2 pictures of .*clean can"):
        mixed((clean, 1))[0]


def test_pairs_that_do_not_fit_or_lack_a_side_are_skipped(tmp_path: Path) -> None:
    rows = [
        pair_row("no gt", png(photograph(96)), None, source="x"),
        pair_row("odd", png(photograph(64)), png(photograph(96)), source="x"),
        pair_row("good", png(photograph(64)), png(photograph(64)), source="x"),
    ]
    Dataset.from_list(rows, features=PAIR_FEATURES).to_parquet(tmp_path / "train.parquet")
    mixture = mixed((tmp_path, 1), damage={})
    with pytest.warns(UserWarning):
        assert all(np.array_equal(mixture[n].lq, mixture[n].gt) for n in range(12))
    reasons = " ".join(mixture.skipped.values())
    assert "'no gt' has no ground truth" in reasons
    assert "'odd': the sides of gt (96x96) are not those of lq (64x64) times" in reasons


def test_skipped_pictures_are_listed_once_whoever_finds_them(clean: Path, tmp_path: Path) -> None:
    """Two mixtures are two processes, or a run that goes on; what a kill left of a line is not there."""
    (clean / "broken.png").write_bytes(b"no picture")
    Image.fromarray(photograph(20)).save(clean / "tiny.png")
    listed = tmp_path / "run/skipped.jsonl"
    for _ in range(2):
        mixture = mixed((clean, 1), skipped_in=listed)
        mixture.check()
        for number in range(40):
            mixture[number]
        told = [json.loads(line) for line in listed.read_text().splitlines()]
        assert {name: line[name] for line in told for name in ("source",)} == {"source": str(clean)}
        assert sorted(Path(line["row"]).name for line in told) == ["broken.png", "tiny.png"]
        reasons = {Path(line["row"]).name: line["reason"] for line in told}
        assert reasons["tiny.png"] == "20 pixels are fewer than a crop of 32"
        assert "not a picture in a known format" in reasons["broken.png"]
        listed.write_bytes(listed.read_bytes()[:-20])


def test_a_task_of_which_nothing_can_be_used_is_said_by_the_check(tmp_path: Path) -> None:
    sides = {"lq": png(photograph(64)), "gt": png(photograph(64))}
    small = {"lq": png(photograph(16)), "gt": png(photograph(16))}
    rows = [pair_row("a", **sides, source="x", task="rain"), pair_row("b", **small, source="x", task="haze")]
    Dataset.from_list(rows, features=PAIR_FEATURES).to_parquet(tmp_path / "train.parquet")
    sources = [(open_source(tmp_path), 1.0)]
    Mixture(sources, {}, crop=16, seed=0, balanced=True).check()
    with pytest.raises(
        DatasetError, match=r"none of the 1 pictures of .* such as b: 16 pixels are fewer than"
    ):
        Mixture(sources, {}, crop=32, seed=0, balanced=True).check()


def test_decoded_pictures_are_kept_up_to_a_bound(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    shown = module.shown_rgb
    monkeypatch.setattr(module, "shown_rgb", lambda path: read.append(path) or shown(path))
    larger = 128 * 128 * 3
    for cache_bytes, reads in ((2 * larger, 2), (larger, None), (larger - 1, None)):
        read.clear()
        mixture = mixed((clean, 1), cache_bytes=cache_bytes)
        for number in range(40):
            mixture[number]
        assert mixture._cache.currsize <= cache_bytes
        assert len(read) == reads if reads else 2 < len(read) < 40


def test_photographs_are_seen_as_they_are_shown(tmp_path: Path) -> None:
    """16-bit grey is not white, hidden colour is not learned."""
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "1.png")
    hidden = np.zeros((64, 64, 4), np.uint8)
    hidden[..., :3] = (255, 0, 255)
    hidden[16:48, 16:48] = (90, 120, 60, 255)
    Image.fromarray(hidden).save(tmp_path / "2.png")
    source = open_source(tmp_path)
    assert np.array_equal(source.load(0).gt[0, :, 1], np.arange(256))
    assert set(map(tuple, source.load(1).gt.reshape(-1, 3).tolist())) == {(255, 255, 255), (90, 120, 60)}


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "nowhere", "./nowhere", "nowhere"):
        with pytest.raises(DatasetError, match="no photographs under"):
            open_source(source)
    row = pair_row("a", png(photograph(64)), png(photograph(64)), source="x")
    for split in ("test", "validation"):
        Dataset.from_list([row], features=PAIR_FEATURES).to_parquet(tmp_path / f"empty/{split}.parquet")
    with pytest.raises(DatasetError, match="has no split train, only"):
        open_source(tmp_path / "empty")
    (tmp_path / "empty/test.parquet").unlink()
    assert len(open_source(tmp_path / "empty")) == 1


def test_the_severity_of_a_chain_is_drawn_between_its_limits(clean: Path) -> None:
    damage = {"noise": Damage(1.0, load_preset("noise"), (0.4, 0.6))}
    mixture = mixed((clean, 1), damage=damage)
    said = [mixture[number].severities["noise"] for number in range(60)]
    free = [mixed((clean, 1), damage=NOISE)[number].severities["noise"] for number in range(60)]
    assert max(said) < 0.75 and max(free) > 0.8  # a severity of 1 is a sigma of 60, and 50 is called 1


def test_tasks_of_pairs_are_drawn_equally_however_many_there_are(tmp_path: Path) -> None:
    """Within three deviations of 300 draws; without it, by numbers."""
    sides = {"lq": png(photograph(64)), "gt": png(photograph(64))}
    tasks = ["rain", *["haze"] * 9]
    rows = [
        pair_row(str(number), **sides, source="x", task=task) | {"task": task}
        for number, task in enumerate(tasks)
    ]
    Dataset.from_list(rows, features=PAIR_FEATURES).to_parquet(tmp_path / "train.parquet")
    source = open_source(tmp_path)
    assert not source.is_clean and source.by_task == {"rain": [0], "haze": [*range(1, 10)]}
    for balanced, share in ((True, 0.5), (False, 0.1)):
        mixture = Mixture([(source, 1)], {}, crop=32, seed=0, balanced=balanced)
        rain = sum(mixture[number].task == "rain" for number in range(300))
        assert abs(rain - 300 * share) < 3 * np.sqrt(300 * share * (1 - share))


def test_tasks_are_drawn_equally_across_sources_and_shares_count_among_those_that_have_one(
    tmp_path: Path,
) -> None:
    """Rain in both at 3 to 1, haze and noise in the second: each third of 600 draws within three deviations."""
    sides = {"lq": png(photograph(64)), "gt": png(photograph(64))}
    for name, tasks in (("a", ["rain"]), ("b", ["rain", "haze", "noise"])):
        rows = [pair_row(task, **sides, source="x", task=task) for task in tasks]
        (tmp_path / name).mkdir()
        Dataset.from_list(rows, features=PAIR_FEATURES).to_parquet(tmp_path / name / "train.parquet")
    opened = [(open_source(tmp_path / "a"), 3.0), (open_source(tmp_path / "b"), 1.0)]
    mixture = Mixture(opened, {}, crop=32, seed=0, balanced=True)
    told = {source.name: chance for source, chance in mixture.source_chances()}
    wanted = {str(tmp_path / "a"): 0.25, str(tmp_path / "b"): 0.75}
    assert told == pytest.approx(wanted)
    drawn = [mixture[number] for number in range(600)]
    for chance, share in (
        (1 / 3, sum(one.task == "rain" for one in drawn) / 600),
        (1 / 3, sum(one.task == "haze" for one in drawn) / 600),
        (0.25, sum(one.source == str(tmp_path / "a") for one in drawn) / 600),
    ):
        assert abs(share - chance) < 3 * np.sqrt(chance * (1 - chance) / 600)


def test_augmentation_damages_lq_by_chance_and_gt_never(pairs: Path) -> None:
    source = open_source(pairs)
    plain = Mixture([(source, 1)], {}, crop=32, seed=0, aligned=True)
    harm = Damage(0.25, load_preset("noise"))
    harmed = Mixture([(source, 1)], {}, crop=32, seed=0, aligned=True, augmentation=harm)
    changed = 0
    for number in range(200):
        one, other = plain[number], harmed[number]
        assert np.array_equal(one.gt, other.gt)
        changed += not np.array_equal(one.lq, other.lq)
    assert abs(changed - 50) < 3 * np.sqrt(200 * 0.25 * 0.75)
