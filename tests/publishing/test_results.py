"""Results of bench runs in the repository of a model."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from ggt_hub.commit import commit_json
from ggt_hub.errors import PublishError
from ggt_hub.evaluation.results import summarise
from ggt_hub.publishing.plan import pack
from tests.publishing.trees import card, manifest, write

ROWS = [
    {"id": "1", "task": "rain", "error": None, "psnr": 30.0, "psnr_status": "scored"},
    {"id": "2", "task": "rain", "error": None, "psnr": 30.0, "psnr_status": "scored"},
    {"id": "3", "task": "haze", "error": None, "psnr": 24.0, "psnr_status": "scored"},
]


@pytest.fixture
def tree(tmp_path):
    """A card that shows the table of a run."""
    run = tmp_path / "run"
    commit_json(run / "results.json", summarise(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), run / "scores.parquet")
    entries = [EvalResultEntry("org/bench", "psnr", 28.0, dataset_revision="a" * 40)]
    write(run / ".eval_results/bench.yaml", yaml.safe_dump(eval_result_entries_to_yaml(entries)))
    write(tmp_path / "net.md", card("model", "{{ results }}\n"))
    path = manifest(tmp_path, net={"kind": "model", "card": "net.md"})
    return write(path, path.read_text() + 'results = ["run"]\n')


def test_the_table_stands_in_the_card_and_the_entries_beside_it(tree):
    (parcel,) = pack(tree)
    assert [item.path for item in parcel.items] == ["README.md", ".eval_results/bench.yaml"]
    lines = parcel.items[0].source.decode().splitlines()
    assert lines[-5:-3] == ["|  | pictures | psnr |", "| --- | --- | --- |"]
    assert lines[-2:] == ["| rain | 2 of 2 | 30 (30 to 30) |", "| haze | 1 of 1 | 24 |"]


def test_a_run_that_is_not_there_is_an_error(tree):
    (tree.parent / "run/results.json").unlink()
    with pytest.raises(
        PublishError, match=r"net: there are no results in .*: name the --output folder of a bench run"
    ):
        pack(tree)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {value: 1}", r"bench\.yaml is not a list of results"),
        ("- {dataset: {id: local, task_id: psnr}, value: 1}", "names 'local', which is no id on the Hub"),
    ],
)
def test_entries_that_the_hub_would_not_understand_are_refused(tree, text, problem):
    write(tree.parent / "run/.eval_results/bench.yaml", text)
    with pytest.raises(PublishError, match=problem):
        pack(tree)
