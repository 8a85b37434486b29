import hashlib
import json
from importlib.resources import files

import numpy as np

from ggt_hub.metrics import psnr
from ggt_hub.samples import load_samples

FOLDER = files("ggt_hub.samples")
FREE = {"public domain", "CC0 1.0", "CC BY 2.0", "no known copyright restrictions"}


def test_every_picture_that_ships_states_its_author_and_a_licence_that_allows_it():
    entries = json.loads((FOLDER / "samples.json").read_text())
    pictures = [path for path in FOLDER.iterdir() if path.name.endswith((".jpg", ".png"))]
    assert sorted(entry["file"] for entry in entries) == sorted(path.name for path in pictures)
    assert all(entry["author"] and entry["source"] and entry["licence"] in FREE for entry in entries)
    assert sum(len(path.read_bytes()) for path in pictures) < 3_000_000


def test_the_damage_of_the_samples_is_the_same_in_every_version():
    """By hash, with the versions of the libraries that constraints.txt names."""
    hashes = {
        s.name: hashlib.sha256(np.asarray(s.image).tobytes()).hexdigest()[:12]
        for s in load_samples()
        if s.clean
    }
    assert hashes == {
        "astronaut": "43cdaf650854",
        "china": "3839228e2a5a",
        "chelsea": "61b149294712",
        "coffee": "2bbce3139e5d",
        "flower": "65f085234b32",
        "rocket": "f10de527e396",
    }


def test_samples_are_visibly_damaged_and_the_same_at_every_call():
    first, second = load_samples(), load_samples()
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
    damaged = [sample for sample in first if sample.clean is not None]
    assert {sample.task for sample in damaged} >= {"noise", "compression", "blur", "low_light", "general"}
    assert all(psnr(np.asarray(s.image), np.asarray(s.clean))[0] < 35 for s in damaged)
    assert len(damaged) < len(first)  # some are poor by nature
