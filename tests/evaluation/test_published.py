import math

import pytest

from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation.published import list_published, load_published, published_table
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


def test_a_table_is_shown_only_where_judge_protocol_and_rubric_agree(monkeypatch):
    # The rubric of the paper is not the published code's, by which we ask.
    assert published_table("realrestorer-realir-bench", JUDGE) is None
    about, rows = load_published("realrestorer-realir-bench")
    about["rubric_sha256"] = JUDGE["rubric_sha256"]
    monkeypatch.setattr("ggt_hub.evaluation.published.load_published", lambda name: (about, rows))
    table = published_table("realrestorer-realir-bench", JUDGE)
    assert table.title.startswith("Quoted:")
    assert ["RealRestorer", "all", 0.445, 1.312, 0.146] in table.rows
    for key, other in (("protocol", "realir-code"), ("judge", "other"), ("rubric_sha256", "0")):
        assert published_table("realrestorer-realir-bench", JUDGE | {key: other}) is None
    assert published_table("realrestorer-foundir", None) is None
    about["rubric_sha256"] = None
    assert published_table("realrestorer-realir-bench", JUDGE | {"rubric_sha256": None}) is None
    assert published_table(None, JUDGE) is None
