"""40 of 40 records of every family and every preset: the same bytes, whatever came before and in which process."""

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ggt_hub.degradations import FAMILIES, Preset, degrade, replay
from ggt_hub.degradations.chains import Step
from ggt_hub.degradations.versions import versions
from tests.degradations.tiny import PRESETS
from tests.photographs import photograph

RECORDS = 40
CLEAN = photograph(48)

Job = tuple[str, dict[str, Any]]


def of_kind(name: str, number: int) -> Preset:
    """A preset; of a family its kinds in turn, as presets of their own."""
    preset = PRESETS[name]
    if name not in FAMILIES:
        return preset
    family: Any = FAMILIES[name].alone()
    kinds = getattr(family, "kinds", ())
    if kinds:
        family = replace(family, kinds=(kinds[number % len(kinds)],))
    return Preset(name, preset.task, (Step(degradation=family),))


def pixels(name: str, record: dict[str, Any]) -> tuple[str, str]:
    return name, hashlib.sha256(replay(CLEAN, record).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[dict[str, Any], str]]:
    """Records and hashes of what was made, one after the other."""
    done = {}
    for name in PRESETS:
        for number in range(RECORDS):
            damaged, record = degrade(CLEAN, of_kind(name, number), seed=number)
            as_read = json.loads(json.dumps(record))
            done[f"{name} {number}"] = as_read, hashlib.sha256(damaged.tobytes()).hexdigest()
    return done


def test_all_records_give_the_same_bytes_in_any_order(made: dict[str, tuple[dict[str, Any], str]]) -> None:
    names = [*made]
    shuffled = [names[place] for place in np.random.default_rng(0).permutation(len(names))]
    apart = [name for name in shuffled if pixels(name, made[name][0])[1] != made[name][1]]
    assert apart == []


def test_some_of_each_give_the_same_bytes_in_another_process(
    made: dict[str, tuple[dict[str, Any], str]],
) -> None:
    names = [name for name in reversed(made) if int(name.rpartition(" ")[2]) % 10 == 3]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = dict(pool.map(pixels, names, [made[name][0] for name in names], chunksize=16))
    assert found == {name: made[name][1] for name in names}


def test_the_record_names_the_versions(made: dict[str, tuple[dict[str, Any], str]]) -> None:
    record = made["noise 0"][0]
    assert record["versions"] == versions()
    assert {"numpy", "opencv", "pillow", "libjpeg"} <= set(versions())
    assert versions()["numpy"] == np.__version__


def test_other_versions_are_told_once(recwarn: pytest.WarningsRecorder) -> None:
    damaged, record = degrade(CLEAN, "noise")
    replay(CLEAN, record)
    replay(CLEAN, {"steps": record["steps"]})  # 0.1 named none
    assert len(recwarn) == 0
    record["versions"] |= {"numpy": "1.0-test", "opencv": "3.0-test"}
    with pytest.warns(
        UserWarning, match=r"made with numpy 1\.0-test, not .*, opencv 3\.0-test, not .*: values may"
    ):
        assert np.array_equal(replay(CLEAN, record), damaged)
    recwarn.clear()
    replay(CLEAN, record)
    assert len(recwarn) == 0


RECORDED = json.loads((Path(__file__).parent / "recorded_presets.json").read_text())
"""Of published presets, each task: the first digits of the hash of what seeds 0 and 1 make of a photograph."""


@pytest.mark.skipif(
    RECORDED["versions"] != versions(),
    reason=f"bytes are promised for {RECORDED['versions']}, not {versions()}",
)
@pytest.mark.parametrize("name", RECORDED["pictures"])
def test_published_presets_give_the_bytes_that_they_gave(name: str) -> None:
    made = [degrade(photograph(64), PRESETS[name], seed=seed)[0].tobytes() for seed in (0, 1)]
    assert [hashlib.sha256(pixels).hexdigest()[:16] for pixels in made] == RECORDED["pictures"][name]
