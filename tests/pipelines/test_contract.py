"""What every restorer must do, tried on a small one of each kind (`tiny.TINY`)."""

import inspect
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ggt_hub import RestorerPipeline
from ggt_hub.cli.restore import call_arguments
from ggt_hub.errors import RestorerError, TaskError
from ggt_hub.pipelines import Finding, Option
from ggt_hub.pipelines.layouts import PIPELINES
from ggt_hub.pipelines.peers import BASELINES
from ggt_hub.tasks import TASKS
from tests.photographs import photograph
from tests.pipelines.tiny import TINY, Tiny


@pytest.fixture(scope="module", params=list(TINY))
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return TINY[request.param]


@pytest.fixture(scope="module")
def pipe(tiny: Tiny) -> RestorerPipeline:
    made = tiny.make()
    made.set_progress_bar_config(disable=True)
    return made


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def restored(pipe: Any, tiny: Tiny, picture: Any, **options: Any) -> np.ndarray:
    call = {"generator": seeded(), "output_type": "np", **tiny.quick, **options}
    return pipe(picture, **call).images[0]


def options_of(pipe: RestorerPipeline) -> list[tuple[str, Option]]:
    return list(pipe.description.options.items())


def test_every_restorer_of_the_package_is_tried() -> None:
    """Those that load by name, and the baselines."""
    made = {name: tiny.make() for name, tiny in TINY.items()}
    assert {type(pipe).__name__ for pipe in made.values()} >= set(PIPELINES)
    assert set(BASELINES) <= set(TINY)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (37, 53)])
def test_any_size_comes_back_times_the_factor(
    pipe: RestorerPipeline, tiny: Tiny, size: tuple[int, int]
) -> None:
    picture = np.resize(photograph(53), (size[1], size[0], 3))
    result, factor = restored(pipe, tiny, picture), pipe.description.upscales[0]
    assert result.shape == (factor * size[1], factor * size[0], 3)
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1


def test_a_list_gives_what_its_pictures_give_one_by_one(pipe: RestorerPipeline, tiny: Tiny) -> None:
    pictures = [photograph(40), photograph(48)[:37], photograph(40)[::-1].copy()]
    together = pipe(pictures, generator=[seeded(n) for n in range(3)], output_type="np", **tiny.quick).images
    assert len(together) == 3
    for number, (picture, image) in enumerate(zip(pictures, together, strict=True)):
        alone = restored(pipe, tiny, picture, generator=seeded(number))
        assert np.abs(alone - image).max() <= 1 / 255  # two that run together may differ in rounding


def test_the_same_seed_gives_the_same_bytes(pipe: RestorerPipeline, tiny: Tiny) -> None:
    first, second = (restored(pipe, tiny, photograph(40)) for _ in range(2))
    assert np.array_equal(first, second)
    with pytest.raises(RestorerError, match="2 generators for 1 pictures"):
        restored(pipe, tiny, photograph(40), generator=[seeded(), seeded()])


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "I;16"])
def test_grey_alpha_and_depth_are_kept(pipe: RestorerPipeline, tiny: Tiny, mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(photograph(40)[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(photograph(40)).convert(mode)
    result = restored(pipe, tiny, picture, output_type="pil")
    factor = pipe.description.upscales[0]
    assert (result.mode, result.size) == (mode, (factor * 40, factor * 40))


def test_output_types_hold_the_same_values(pipe: RestorerPipeline, tiny: Tiny) -> None:
    array, tensor, picture = (
        restored(pipe, tiny, photograph(40), output_type=kind) for kind in ("np", "pt", "pil")
    )
    assert np.array_equal(tensor.numpy().transpose(1, 2, 0), array)
    assert np.array_equal(np.asarray(picture), np.rint(array * 255).astype(np.uint8))
    as_tuple = pipe(photograph(40), generator=seeded(), output_type="np", return_dict=False, **tiny.quick)
    assert np.array_equal(as_tuple[0][0], array)


def test_tasks_are_those_of_the_description(pipe: RestorerPipeline, tiny: Tiny) -> None:
    with pytest.raises(TaskError, match="unknown task 'dust'"):
        restored(pipe, tiny, photograph(16), task="dust")
    known = pipe.description.tasks or TASKS
    for task in TASKS:
        if task in known:
            pipe.check_inputs(task=task, prompt=None, upscale=None, output_type="np", tile=None)
        else:
            with pytest.raises(TaskError, match=f"knows {', '.join(known)}"):
                restored(pipe, tiny, photograph(16), task=task)


def test_what_the_description_lacks_is_refused_with_what_there_is(pipe: RestorerPipeline, tiny: Tiny) -> None:
    description = pipe.description
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"upscale": 77}, f"it supports {', '.join(map(str, description.upscales))}"),
        ({"upscale": 0}, "cannot upscale by 0"),
        ({"output_type": "jpg"}, "choose one of pil, np, pt"),
        ({"tile": -16}, "tile"),
    ]
    if not description.takes_prompt:
        refusals.append(({"prompt": "sharper"}, "takes no prompt"))
    if description.tiling == "none":
        refusals.append(({"tile": 64}, "cannot work in tiles"))
    for arguments, message in refusals:
        with pytest.raises(RestorerError, match=message):
            restored(pipe, tiny, photograph(16), **arguments)
    known = ", ".join(f"{name} ({option})" for name, option in options_of(pipe)) or "none"
    with pytest.raises(RestorerError) as caught:
        pipe.check_inputs(task=None, prompt=None, upscale=None, output_type="np", tile=None, sharpness=1)
    assert str(caught.value) == f"{type(pipe).__name__} has no option 'sharpness': it has {known}"


def test_options_are_keywords_of_the_call_with_the_stated_default(pipe: RestorerPipeline, tiny: Tiny) -> None:
    parameters = inspect.signature(type(pipe).__call__).parameters
    open_to_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    for name, option in options_of(pipe):
        assert open_to_all or parameters[name].default == option.default, name
        if name in parameters:
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    given = {name: option.default for name, option in options_of(pipe) if name not in tiny.quick}
    assert np.array_equal(restored(pipe, tiny, photograph(40), **given), restored(pipe, tiny, photograph(40)))


def test_options_out_of_range_are_refused_with_the_range(pipe: RestorerPipeline, tiny: Tiny) -> None:
    for name, option in options_of(pipe):
        wrong: list[Any] = ["banana", True, float("nan")]
        wrong += [] if option.minimum is None else [option.minimum - 1]
        wrong += [] if option.maximum is None else [option.maximum + 1]
        wrong += [option.default + 0.5] if option.whole else []
        wrong += [] if option.optional else [None]
        for value in wrong:
            with pytest.raises(RestorerError) as caught:
                restored(pipe, tiny, photograph(16), **{name: value})
            said = f"{name} is {value!r}: {type(pipe).__name__} takes {option}"
            assert str(caught.value).split("; ")[0] == said


def test_options_are_understood_on_the_command_line(pipe: RestorerPipeline) -> None:
    for name, option in options_of(pipe):
        values: list[Any] = [*option.choices, option.default]
        values += [] if option.minimum is None or name == "quality" else [option.minimum]
        for value in values:
            written = "null" if value is None else str(value)
            assert call_arguments(pipe, {}, [f"{name}={written}"])[name] == value, name


def test_the_description_fits_together_and_is_frozen(pipe: RestorerPipeline) -> None:
    description = pipe.description
    assert description.upscales and all(type(factor) is int for factor in description.upscales)
    assert description.precisions[0] == "float32"
    assert set(description.tasks) <= set(TASKS)
    if description.tile is not None:
        assert description.sizes.side(description.tile) == description.tile > 2 * description.overlap
        assert description.tiling == "external"
    for name, option in options_of(pipe):
        assert option.help, name
        assert option.fits(option.default), name
        for value in option.choices or (option.slider or ())[:2]:
            assert option.fits(value), name
    with pytest.raises(FrozenInstanceError):
        description.tile = 5


def test_networks_see_only_sizes_that_the_rule_allows(pipe: RestorerPipeline, tiny: Tiny) -> None:
    if tiny.entry is None:
        pytest.skip("there is no network")
    rule, seen = pipe.description.sizes, []
    handle = tiny.entry(pipe).register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2:]))
    tile = rule.side(64)
    try:
        for picture, options in (
            (photograph(1), {}),
            (photograph(53)[:37], {}),
            (photograph(150)[:70], {"tile": tile}),
        ):
            before = len(seen)
            if "tile" not in options or pipe.description.tiling != "none":
                restored(pipe, tiny, picture, **options)
                assert len(seen) > before
    finally:
        handle.remove()
    assert all(rule.side(side) == side for sides in seen for side in sides), seen


def test_findings_are_one_list_for_each_picture(pipe: RestorerPipeline, tiny: Tiny) -> None:
    result = pipe([photograph(40), photograph(48)], generator=seeded(), **tiny.quick)
    if result.findings is None:
        return
    assert len(result.findings) == 2
    names = [[finding.name for finding in findings] for findings in result.findings]
    assert names[0] == names[1] and len(set(names[0])) == len(names[0]) > 0
    for finding in (finding for findings in result.findings for finding in findings):
        assert type(finding) is Finding
        assert np.isfinite(finding.value)
        assert isinstance(finding.unit, str) and isinstance(finding.words, str)


def test_saving_and_loading_is_exact_or_refused(pipe: RestorerPipeline, tiny: Tiny, tmp_path: Path) -> None:
    if type(pipe).__name__ not in PIPELINES:
        with pytest.raises(RestorerError, match="not ours to save"):
            pipe.save_pretrained(tmp_path / "saved")
        assert not (tmp_path / "saved").exists()
        return
    pipe.save_pretrained(tmp_path / "saved")
    loaded = RestorerPipeline.from_pretrained(tmp_path / "saved")
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded) is type(pipe)
    assert np.array_equal(restored(loaded, tiny, photograph(40)), restored(pipe, tiny, photograph(40)))


def test_memory_is_planned_within_the_budget_or_not_at_all(pipe: RestorerPipeline) -> None:
    try:
        plan = pipe.plan_memory(10**12)
    except RestorerError as error:
        assert "has no memory plan, since its memory is not measured" in str(error)
        return
    networks = {name for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    assert set(pipe.description.phases.values()) <= networks
    assert pipe.plan_memory(plan.device).device <= plan.device
    with pytest.raises(RestorerError, match=r"does not fit into 0\.0 GB: it needs"):
        pipe.plan_memory(10**3)
