"""The protocol of ten baselines: its rows, and the table that is made of them."""

import yaml

from benchmarks.ten_baselines import PROTOCOL, shown
from ggt_hub.training import load_recipe

ROWS = yaml.safe_load(PROTOCOL.read_text(encoding="utf-8"))["rows"]


def test_it_has_ten_rows_of_four_families_two_of_them_the_papers() -> None:
    assert len({row["name"] for row in ROWS}) == len(ROWS) == 10
    assert {row["name"] for row in ROWS if row["chosen"] == "paper"} == {"FoundIR", "Qwen-Image-Edit"}
    assert {row["family"] for row in ROWS} == {"CNN", "Transformer", "all-in-one", "generative"}


def test_what_is_run_here_has_a_recipe() -> None:
    here = {row["family"]: row["here"] for row in ROWS if "here" in row}
    assert here.keys() >= {"CNN", "Transformer", "all-in-one"}
    for name in here.values():
        recipe = load_recipe("compact") if name == "compact" else load_recipe("peer", variant=name)
        assert recipe.model


def test_the_table_shows_means_spreads_and_gaps() -> None:
    lines = shown(ROWS, {"compact": {"as_is": [2.5], "existing": [1.0, 1.5], "generated": [2.0, 4.0]}})
    (found,) = [line for line in lines.splitlines() if line.startswith("| compact")]
    cells = [cell.strip() for cell in found.split("|")[1:-1]]
    assert cells[3:6] == ["+2.50", "+1.25 (+1.00 to +1.50)", "+3.00 (+2.00 to +4.00)"]
    (other,) = [line for line in lines.splitlines() if line.startswith("| FoundIR")]
    assert [cell.strip() for cell in other.split("|")[4:7]] == ["–"] * 3
