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
    "no groups": (GOOD.split("groups")[0], "the field 'groups' is missing"),
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
    "an unknown field": (GOOD + "learning_rat: 1.0\n", "there is no field 'learning_rat', only model"),
    "no pictures": (GOOD.replace("images: nowhere\n", ""), "the field 'images' is missing"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_one_line_that_names_the_field(slip: str, tmp_path: Path) -> None:
    text, message = SLIPS[slip]
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(GGTHubError, match=message) as error:
        load_recipe(path)
    assert "\n" not in str(error.value)
    if slip not in ("an unknown preset",):
        assert "r.yaml" in str(error.value)


def test_what_is_right_becomes_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD + "learning_rate: 1.0e-3\nema_decay: 0\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert (recipe.images, recipe.crop, recipe.learning_rate, recipe.ema_decay) == (
        Path("nowhere"),
        32,
        0.001,
        0.0,
    )
    assert recipe.groups["noise"].preset.steps[0].degradation.sigma == (2.0, 60.0)
