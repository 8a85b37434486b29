import math

import pytest

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation import load_suite
from ggt_hub.evaluation.published import list_published, load_published, published_table
from ggt_hub.evaluation.suite import Suite
from ggt_hub.vlm.protocols import MODEL, published_rubric

JUDGE = {
    "judge": MODEL,
    "protocol": "realir-paper",
    "aggregate": "product of means",
    "rubric_sha256": published_rubric().sha256_of_user_utf8,
}


def test_every_table_states_its_source_and_protocol():
    for name in list_published():
        about, rows = load_published(name)
        assert about["source"]
        assert "protocol" in about
        assert len({tuple(row) for row in rows}) == 1
        assert all(value for row in rows for value in row.values())
    with pytest.raises(EvaluationError, match="no published table 'x'"):
        load_published("x")


def test_the_printed_fs_is_the_product_of_the_printed_means():
    rows = load_published("realrestorer-realir-bench")[1]
    assert len(rows) == 8 * 10
    ours = [row for row in rows if row["method"] == "RealRestorer"]
    for row in ours:  # printed with three digits
        lps, rs, fs = (float(row[key]) for key in ("LPS", "RS", "FS"))
        assert math.isclose(fs, 0.2 * (1 - lps) * rs, abs_tol=1.1e-3)


def suite_of(published):
    return Suite("own", "Own", (), "memory", published=published)


def test_a_table_is_shown_only_where_judge_protocol_and_rubric_agree(monkeypatch):
    def shown(judge):
        return published_table(suite_of("realrestorer-realir-bench"), {"judge": judge, "protocols": {}})

    # The rubric of the paper is not the published code's, by which we ask.
    assert shown(JUDGE) is None
    about, rows = load_published("realrestorer-realir-bench")
    about["rubric_sha256"] = JUDGE["rubric_sha256"]
    monkeypatch.setattr("ggt_hub.evaluation.published.load_published", lambda name: (about, rows))
    table = shown(JUDGE)
    assert table.title.startswith("Quoted:")
    assert ["RealRestorer", "all", 0.445, 1.312, 0.146] in table.rows
    for key, other in (("protocol", "realir-code"), ("judge", "other"), ("rubric_sha256", "0")):
        assert shown(JUDGE | {key: other}) is None
    assert shown(None) is None
    about["rubric_sha256"] = None
    assert shown(JUDGE | {"rubric_sha256": None}) is None
    assert published_table(suite_of(None), {"judge": JUDGE, "protocols": {}}) is None


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("div2k-val", ["DreamClear", 18.69, 3.2126]),
        ("realsr", ["DreamClear", 22.56, 4.4381]),
        ("drealsr", ["DreamClear", 24.48, 4.6295]),
        ("reallq250", ["DreamClear", 3.5556]),  # which has no references
    ],
)
def test_the_numbers_of_dreamclear_stand_beside_their_own_set_alone(name, row, tmp_path):
    suite = load_suite(name, tmp_path)
    table = published_table(suite, {"judge": None, "protocols": {"psnr-ycbcr": "", "niqe": "", "psnr": ""}})
    assert table.title.startswith("Quoted:")
    assert table.columns == (["method", "NIQE"] if len(row) == 2 else ["method", "PSNR", "NIQE"])
    assert len(table.rows) == 11
    assert table.rows[-1] == row
    assert published_table(suite, {"judge": None, "protocols": {"psnr": ""}}) is None  # another PSNR


def test_each_suite_of_dreamclear_has_the_metrics_that_its_table_holds(tmp_path):
    about, rows = load_published("dreamclear")
    for name in ("div2k-val", "realsr", "drealsr", "reallq250"):
        suite = load_suite(name, tmp_path)
        printed = {row["metric"] for row in rows if row["set"] == suite.published_set}
        assert {about["metrics"][metric] for metric in printed} == set(suite.metrics)
