"""Pictures and clips from a folder: chosen by a draw, named by hash, and asked for again on replay."""

import hashlib
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from ggt_hub.degradations import NOTHING, Assets, degrade, degrade_pair, replay
from ggt_hub.degradations.base import to_float, to_uint8
from ggt_hub.degradations.blend import screen
from ggt_hub.degradations.light import to_display, to_light
from ggt_hub.degradations.presets import parse_preset
from ggt_hub.errors import DegradationError
from ggt_hub.images import read_image
from ggt_hub.scenes import KINDS
from tests.photographs import photograph

PHOTO = photograph(64)


def noise_picture(seed: int, shape: tuple[int, ...] = (40, 50, 3)) -> np.ndarray:
    return default_rng(seed).integers(0, 120, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of each kind, one of them deeper down, and a clip of six frames."""
    for number, kind in enumerate(kind for kind in KINDS if kind != "clips"):
        (tmp_path / kind / "more").mkdir(parents=True)
        Image.fromarray(noise_picture(2 * number)).save(tmp_path / kind / "a.png")
        Image.fromarray(noise_picture(2 * number + 1)).save(tmp_path / kind / "more/b.PNG")
    (tmp_path / "clips").mkdir()
    frames = [Image.fromarray(np.roll(PHOTO, 3 * n, axis=1)) for n in range(6)]
    frames[0].save(
        tmp_path / "clips/move.webp", save_all=True, append_images=frames[1:], lossless=True, duration=40
    )
    return tmp_path


def only(family: str, kind: str | None = None) -> dict:
    return {"task": "general", "steps": [{"family": family} | ({"kinds": [kind]} if kind else {})]}


USERS = [
    ("haze", "fog", "fog", "textures"),
    ("rain", "streaks", "rain", "pattern"),
    ("snow", None, "snow", "pattern"),
    ("flare", "glare", "flare", "pattern"),
    ("moire", "pattern", "moire", "patterns"),
    ("reflection", "focused", "pictures", "picture"),
    ("blur", "frames", "clips", "clip"),
]


@pytest.mark.parametrize(("family", "kind", "assets", "parameter"), USERS)
def test_the_record_names_what_was_used_and_replays_with_it_alone(
    family, kind, assets, parameter, folder
) -> None:
    preset, opened = parse_preset("x", only(family, kind)), Assets.open(folder)
    for seed in range(40):
        damaged, record = degrade(PHOTO, preset, severity=0.7, seed=seed, assets=opened)
        step = record["steps"][0]
        if parameter in step:
            break
    named = step[parameter][0] if isinstance(step[parameter], list) else step[parameter]
    path = folder / assets / named["name"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == named["sha256"]
    record = json.loads(json.dumps(record))
    assert np.array_equal(replay(PHOTO, record, assets=Assets.open(folder)), damaged)
    with pytest.raises(
        DegradationError, match=rf"used {named['name']} \(SHA-256 {named['sha256']}\).*no assets are"
    ):
        replay(PHOTO, record)
    moved = path.rename(path.with_name("renamed" + path.suffix))
    path.write_bytes(b"another file by its name")
    assert np.array_equal(replay(PHOTO, record, assets=opened_again(folder)), damaged)
    moved.unlink()
    (path.parent / f"other{path.suffix}").write_bytes(b"another file")
    with pytest.raises(DegradationError, match=f"SHA-256 {named['sha256']}.*it is not in"):
        replay(PHOTO, record, assets=opened_again(folder))


def opened_again(folder: Path) -> Assets:
    """Another process: nothing is remembered of what the folder held."""
    from ggt_hub.scenes import assets

    assets._files.cache_clear()
    return Assets.open(folder)


def test_without_assets_records_are_those_of_no_assets() -> None:
    for family, kind, _, parameter in USERS:
        _, record = degrade(PHOTO, parse_preset("x", only(family, kind)), severity=0.7, assets=NOTHING)
        assert parameter not in record["steps"][0]


def test_every_texture_of_fog_is_used_in_its_turn(folder: Path) -> None:
    """One to ten of them, no more than there are; screened with each other, then with the picture."""
    preset, opened = parse_preset("x", only("haze", "fog")), Assets.open(folder)
    counts = set()
    for seed in range(20):
        damaged, record = degrade(PHOTO, preset, severity=1.0, seed=seed, assets=opened)
        textures = record["steps"][0]["textures"]
        counts.add(len(textures))
        light = np.zeros((64, 64, 3), np.float32)
        for named in textures:
            texture = to_float(np.asarray(Image.open(folder / "fog" / named["name"])))
            light = screen(light, cv2.resize(texture, (64, 64)))
        expected = screen(to_float(PHOTO), light, 0.6)
        assert np.abs(damaged.astype(int) - to_uint8(expected)).max() <= 1
    assert counts == {1, 2}


def test_flares_are_flipped_as_the_record_says(folder: Path) -> None:
    preset, opened, flips = parse_preset("x", only("flare")), Assets.open(folder), set()
    for seed in range(40):
        damaged, record = degrade(PHOTO, preset, severity=0.5, seed=seed, assets=opened)
        step = record["steps"][0]
        if "pattern" not in step:
            continue
        pattern = to_float(np.asarray(Image.open(folder / "flare" / step["pattern"]["name"])))
        pattern = cv2.resize(pattern, (64, 64))
        across, down = step["flips"]
        pattern = pattern[:, ::-1] if across else pattern
        pattern = pattern[::-1] if down else pattern
        light = to_light(to_float(PHOTO)) + np.float32(step["strength"]) * to_light(
            np.ascontiguousarray(pattern)
        )
        assert np.abs(damaged.astype(int) - to_uint8(to_display(light))).max() <= 1
        flips.add((across, down))
    assert len(flips) == 4


def test_a_clip_gives_both_sides(folder: Path) -> None:
    """The mean light of the frames that the record counts, and the middle one of them."""
    preset = parse_preset(
        "x", {"task": "blur", "steps": [{"family": "blur", "kinds": ["frames"], "frames": [3, 3]}]}
    )
    lq, gt, record = degrade_pair(read_image(PHOTO), preset, seed=2, assets=Assets.open(folder))
    first = int(record["steps"][0]["start"] * 3)
    frames = [to_float(np.roll(PHOTO, 3 * n, axis=1)) for n in range(first, first + 3)]
    assert np.array_equal(gt.pixels, to_uint8(frames[1]))
    mean = to_display(sum(to_light(frame) for frame in frames) / np.float32(3))
    assert np.abs(lq.pixels.astype(int) - to_uint8(mean)).max() <= 1


def test_after_a_clip_the_scene_is_that_of_its_frame(folder: Path) -> None:
    """Haze after the frames of a clip lies by the depth of what they show."""
    steps = [
        {"family": "blur", "kinds": ["frames"], "frames": [1, 1]},
        {"family": "haze", "kinds": ["depth"]},
    ]
    preset = parse_preset("x", {"task": "general", "steps": steps})
    black = np.zeros((64, 64, 3), np.uint8)
    lq, gt, record = degrade_pair(read_image(black), preset, severity=0.5, assets=Assets.open(folder))
    hazy = replay(gt, {"steps": record["steps"][1:]})
    assert np.array_equal(lq.pixels, hazy.pixels)


def test_frames_of_another_shape_cover_the_picture(folder: Path) -> None:
    wide = np.zeros((30, 64, 3), np.uint8)
    wide[:, 17:47] = 200  # the middle, which is what a square shows of it
    frames = [Image.fromarray(wide + np.uint8(n)) for n in range(3)]
    frames[0].save(folder / "clips/move.webp", save_all=True, append_images=frames[1:], lossless=True)
    preset = parse_preset(
        "x", {"task": "blur", "steps": [{"family": "blur", "kinds": ["frames"], "frames": [1, 1]}]}
    )
    _, gt, _ = degrade_pair(read_image(PHOTO), preset, assets=opened_again(folder))
    assert gt.size == (64, 64)
    assert gt.pixels[:, 2:-2].min() >= 200


def test_films_are_read_in_their_colours(tmp_path: Path) -> None:
    from ggt_hub.scenes.clips import read_clip

    path = tmp_path / "red.avi"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in (60, 160, 240):
        film.write(np.full((48, 64, 3), (0, 0, level), np.uint8))  # OpenCV's order: blue, green, red
    film.release()
    frames = read_clip(path)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    for frame, level in zip(frames, (60, 160, 240), strict=True):
        assert np.abs(frame.astype(int) - (level, 0, 0)).max() < 8  # JPEG


def test_no_more_frames_are_held_than_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ggt_hub.scenes import clips

    monkeypatch.setattr(clips, "MAX_FRAMES", 4)
    clips.read_clip.cache_clear()
    frames = clips.read_clip(folder / "clips/move.webp")
    assert [np.array_equal(frame, np.roll(PHOTO, 3 * n, axis=1)) for n, frame in enumerate(frames)] == [
        True
    ] * 4
    clips.read_clip.cache_clear()


@pytest.mark.parametrize("name", ["broken.mp4", "broken.gif", "still.png"])
def test_a_clip_that_cannot_be_decoded_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    path = tmp_path / "clips" / name
    path.write_bytes(b"no clip at all")
    if name == "still.png":
        Image.fromarray(PHOTO).save(path)
    preset = parse_preset("x", only("blur", "frames"))
    with pytest.raises(
        DegradationError, match=rf"clip .*{name} has [01] frames that can be decoded.*replace it"
    ):
        degrade(PHOTO, preset, assets=Assets.open(tmp_path))


def test_an_unreadable_texture_is_named(tmp_path: Path) -> None:
    (tmp_path / "fog").mkdir()
    (tmp_path / "fog/broken.png").write_bytes(b"no picture")
    with pytest.raises(DegradationError, match=r"asset .*broken\.png cannot be read: .*replace or remove it"):
        degrade(PHOTO, parse_preset("x", only("haze", "fog")), assets=Assets.open(tmp_path))


def test_folders_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DegradationError, match=r"has no folder of assets: put .* into subfolders named clips, flare"
    ):
        Assets.open(tmp_path)
    (tmp_path / "fog").mkdir()
    with pytest.raises(DegradationError, match=r"fog holds no picture \(\.avif, \.bmp"):
        Assets.open(tmp_path)
    (tmp_path / "clips").mkdir()
    with pytest.raises(DegradationError, match=r"clips holds no clip \(\.avi, \.gif"):
        Assets.open(tmp_path)
    with pytest.raises(DegradationError, match="'no/such folder' are neither a folder nor a dataset"):
        Assets.open("no/such folder")


def test_textures_of_any_sort_become_colours(tmp_path: Path) -> None:
    """Grey, of 16 bits, and with transparency, which is laid on white."""
    (tmp_path / "fog").mkdir()
    grey = np.full((4, 4), 100, np.uint8)
    deep = np.full((4, 4), 100 * 257, np.uint16)
    clear = np.dstack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 155, np.uint8)])
    for name, pixels in (("grey", grey), ("deep", deep), ("clear", clear)):
        Image.fromarray(pixels).save(tmp_path / f"fog/{name}.png")
    opened = Assets.open(tmp_path)
    for named in opened.pick(default_rng(0), "fog", 3, 3):
        found = opened.picture("fog", named)
        assert found.shape == (4, 4, 3)
        assert np.abs(found - 100 / 255).max() < 1e-6, named


def test_a_choice_takes_each_file_as_often_and_none_twice(folder: Path) -> None:
    opened, rng = Assets.open(folder), default_rng(0)
    picked = [opened.pick(rng, "rain")[0]["name"] for _ in range(400)]
    assert set(picked) == {"a.png", "more/b.PNG"}
    assert picked.count("a.png") == pytest.approx(200, abs=40)
    assert len({named["sha256"] for named in opened.pick(rng, "rain", 2, 2)}) == 2
    state = rng.bit_generator.state
    assert NOTHING.pick(rng, "rain") == []
    assert rng.bit_generator.state == state


def test_identity_holds_all_that_is_used(folder: Path) -> None:
    told = Assets.open(folder).identity
    assert set(told) == set(KINDS)
    assert len(told["fog"]) == 2
    assert json.loads(json.dumps(told)) == told
    Image.fromarray(noise_picture(99)).save(folder / "fog/a.png")
    assert Assets.open(folder).identity["fog"] != told["fog"]
    assert NOTHING.identity == {}


def test_assets_go_to_other_processes(folder: Path) -> None:
    again = pickle.loads(pickle.dumps(Assets.open(folder)))
    assert again.identity == Assets.open(folder).identity
