"""Recipes: whatever is wrong in one is said in one line, with the name of the field, before data are read."""

from pathlib import Path

import pytest

from ggt_hub.errors import GGTHubError
from ggt_hub.training import load_recipe

GOOD = """\
model: {channels: [8, 8, 8], blocks: [1, 1, 1], condition_width: 8}
images: nowhere
crop: 32
batch: 2
steps: 12
groups:
  noise: {share: 1, task: noise, steps: [{family: noise, sigma: [2, 60]}]}
"""
SLIPS = {
    "a word for a number": (GOOD + "learning_rate: 1e-3\n", r"learning_rate: .*not '1e-3' .*write 0\.001"),
    "no groups": (GOOD.split("groups")[0] + "groups: {}\n", "the field 'groups' names no kinds of samples"),
    "no stages": (GOOD + "stages: []\n", "stages must be a list of at least one"),
    "a stage that is a word": (GOOD + "stages: [x]\n", "stage 1: here belong fields"),
    "buckets of pictures that are turned": (GOOD + "buckets: [[64, 64]]\n", "say `aligned: true`"),
    "an odd bucket": (GOOD + "aligned: true\nbuckets: [[64, 60]]\n", r"buckets\[0\]\[1\]: .* of 8, not 60"),
    "a slip in a stage": (GOOD + "stages: [{}, {crop: 7}]\n", "stage 2: crop: .*not 7"),
    "a source without share": (GOOD.replace("images: nowhere", "data: {nowhere: 0}"), "data.nowhere.*not 0"),
    "an empty group": (GOOD.split("groups")[0] + "groups:\n  noise:\n", "group noise: here belong fields"),
    "no share": (GOOD.replace("share: 1, ", ""), "group noise: the field 'share' is missing"),
    "no share of anything": (GOOD.replace("share: 1", "share: 0"), "share: .*greater than 0, not 0"),
    "a number for a range": (GOOD.replace("[2, 60]", "25"), "noise: sigma: .*not 25"),
    "a range of words": (GOOD.replace("[2, 60]", "[1e1, 3e1]"), r"sigma\[0\]: .*not '1e1' .*write 10\.0"),
    "a range of three": (GOOD.replace("[2, 60]", "[1, 2, 3]"), r"noise: sigma.*not"),
    "a range without end": (GOOD.replace("[2, 60]", "[1, .inf]"), r"sigma: numbers must be finite"),
    "a word for a list": (GOOD.replace("[2, 60]", "[2, 60], kinds: gaussian"), "kinds: .*not 'gaussian'"),
    "an unknown kind": (
        GOOD.replace("[2, 60]", "[2, 60], kinds: [gauss]"),
        r"kinds\[0\]: .*'gaussian'.*not 'gauss'",
    ),
    "no kinds": (GOOD.replace("[2, 60]", "[2, 60], kinds: []"), "kinds must not be empty"),
    "no field of a family": (
        GOOD.replace("sigma", "sgima"),
        "noise: there is no field 'sgima', only sigma",
    ),
    "an unknown family": (
        GOOD.replace("family: noise", "family: fog"),
        "names the family 'fog': there are blur",
    ),
    "no family": (GOOD.replace("family: noise, ", ""), "names the family None"),
    "a step that is a word": (
        GOOD.replace("{family: noise, sigma: [2, 60]}", "noise"),
        "names the family",
    ),
    "steps that are none": (
        GOOD.replace("[{family: noise, sigma: [2, 60]}]", "3"),
        "steps must be a list, not 3",
    ),
    "a chance above one": (GOOD.replace("[2, 60]", "[2, 60], probability: 2"), "probability: .*not 2"),
    "an unknown task": (GOOD.replace("task: noise", "task: nose"), "unknown task 'nose'"),
    "an unknown preset": (GOOD.split("groups")[0] + "groups: {n: {share: 1, preset: nope}}", "named 'nope'"),
    "a preset and steps": (
        GOOD.replace("task: noise", "preset: noise, task: noise"),
        "either `preset`, or `task`",
    ),
    "a preset for several tasks": (
        GOOD.split("groups")[0] + "groups: {n: {share: 1, preset: realrestorer}}",
        "'realrestorer' is for several tasks: name one of blur",
    ),
    "a severity out of range": (GOOD.replace("share: 1", "share: 1, severity: [0, 2]"), "severity.*not 2"),
    "dark of no low light": (
        GOOD.replace("share: 1", "share: 1, dark: true"),
        "group noise: in place of `dark`",
    ),
    "an empty file": ("", "is empty"),
    "a list": ("- 1\n", "does not consist of"),
    "no YAML": ("a: [1\n", "cannot be read: .*expected"),
    "a crop that does not fit": (GOOD.replace("crop: 32", "crop: 30"), "crop: .*multiple of 8, not 30"),
    "a batch of nothing": (
        GOOD.replace("batch: 2", "batch: 0"),
        "batch: .*greater than or equal to 1, not 0",
    ),
    "half a step": (GOOD.replace("steps: 12", "steps: 1.5"), "steps: .*integer.*not 1.5"),
    "an unknown field": (
        GOOD + "learning_rat: 1.0\n",
        "there is no field 'learning_rat', only aligned, at_once",
    ),
    "no pictures": (GOOD.replace("images: nowhere\n", ""), "the field 'data' is missing"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_one_line_that_names_the_field(slip: str, tmp_path: Path) -> None:
    text, message = SLIPS[slip]
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(GGTHubError, match=message) as error:
        load_recipe(path)
    assert "\n" not in str(error.value)
    if "preset" not in slip or "steps" in slip:
        assert "r.yaml" in str(error.value)


def test_what_is_right_becomes_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD + "learning_rate: 1.0e-3\nema_decay: 0\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    (stage,) = recipe.stages
    assert (stage.data, stage.crop, stage.learning_rate) == ({"nowhere": 1.0}, 32, 0.001)
    assert (recipe.ema_decay, recipe.objective, recipe.settings) == (0.0, "compact", {})
    assert stage.groups["noise"].preset.steps[0].degradation.sigma == (2.0, 60.0)


def test_what_stands_outside_of_stages_counts_for_all(tmp_path: Path) -> None:
    text = (
        GOOD.replace("images: nowhere", "data: {a: 1, b: 0.5}")
        + "stages: [{steps: 3}, {crop: 64, data: c}]\n"
    )
    (tmp_path / "r.yaml").write_text(text)
    first, second = load_recipe(tmp_path / "r.yaml").stages
    assert (first.steps, first.crop, first.data) == (3, 32, {"a": 1.0, "b": 0.5})
    assert (second.steps, second.crop, second.data) == (12, 64, {"c": 1.0})
    assert first.groups["noise"].preset.steps == second.groups["noise"].preset.steps


def test_a_variant_stands_over_the_rest_field_by_field(tmp_path: Path) -> None:
    variants = "variants:\n  plain: {}\n  small: {crop: 16, model: {condition_width: 4}}\n"
    (tmp_path / "r.yaml").write_text(GOOD + variants)
    plain, small = (load_recipe(tmp_path / "r.yaml", name) for name in ("plain", "small"))
    assert plain == load_recipe(tmp_path / "r.yaml")  # the first
    assert (plain.model["condition_width"], plain.stages[0].crop) == (8, 32)
    assert small.model == plain.model | {"condition_width": 4}
    assert (small.stages[0].crop, small.stages[0].steps) == (16, 12)
    with pytest.raises(GGTHubError, match=r"no variant 'smal': there are plain, small .did you mean 'small'"):
        load_recipe(tmp_path / "r.yaml", "smal")
    with pytest.raises(GGTHubError, match="no variant 'paper': it has none"):
        load_recipe("compact", "paper")
    (tmp_path / "r.yaml").write_text(GOOD + "variants: {plain: 3}\n")
    with pytest.raises(GGTHubError, match="variants must name fields for each variant, not"):
        load_recipe(tmp_path / "r.yaml")


def test_settings_of_a_call_stand_over_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD + "settings: {hint: 0.5}\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.with_settings({"hint": 0.1}).settings == {"hint": 0.1}
    assert recipe.with_settings({}) == recipe


def test_hint_of_0_1_is_a_setting_of_the_objective(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD + "hint: 0.5\n")
    assert load_recipe(tmp_path / "r.yaml").settings == {"hint": 0.5}


def test_a_group_may_be_one_task_of_a_preset_between_two_severities(tmp_path: Path) -> None:
    group = "{share: 1, preset: realrestorer, task: haze, severity: [0.3, 0.7]}"
    (tmp_path / "r.yaml").write_text(GOOD.split("groups")[0] + f"groups: {{haze: {group}}}\n")
    damage = load_recipe(tmp_path / "r.yaml").stages[0].groups["haze"]
    assert (damage.preset.name, damage.preset.task, damage.severity) == ("realrestorer", "haze", (0.3, 0.7))
