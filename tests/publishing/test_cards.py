"""Cards: filled in from templates, and checked against what the Hub and people ask for."""

import pytest

from ggt_hub.errors import PublishError
from ggt_hub.publishing.cards import REQUIRED, check_card, render_card
from tests.publishing.trees import CARDS, card

VALUES = {"namespace": "org", "version": "1.0.0", "tag": "v1.0.0"}
KINDS = {"model": "model", "dataset": "dataset", "metric": "space", "demo": "space", "leaderboard": "static"}


def header(kind: str) -> str:
    return CARDS[KINDS[kind]].replace("configs: []", "configs: [{config_name: all}]")


def test_variables_are_filled_in_and_ids_moved():
    text = render_card(
        "{{ tag }} of ours/net, ours/net-2 and NAMESPACE/net", "net", VALUES, [("ours/net", "me/net")]
    )
    assert text == "v1.0.0 of me/net, ours/net-2 and me/net"


def test_a_variable_without_value_is_an_error():
    with pytest.raises(PublishError, match="the card of net cannot be filled in: 'psnr' is undefined"):
        render_card("{{ psnr }}", "net", VALUES)


@pytest.mark.parametrize("kind", REQUIRED)
def test_a_complete_card_has_no_problems(kind):
    assert check_card(kind, card("", "# Title\n", header(kind)), {"app.py", "index.html"}) == []


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in REQUIRED for field in REQUIRED[kind]])
def test_each_required_field_is_missed(kind, field):
    lines = [line for line in header(kind).splitlines(keepends=True) if not line.startswith(f"{field}:")]
    assert check_card(kind, card("", "# Title\n", "".join(lines)), {"app.py", "index.html"}) == [
        f"README.md says no {field}"
    ]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{{ psnr }}\n", "README.md has '{{ psnr }}' left over"),
        ("Results\n\nTABLE\n\nmore\n", "README.md has 'TABLE' left over"),
        ("TODO: more\n", "README.md has 'TODO' left over"),
        ("![A street](street.webp)\n", "README.md points to 'street.webp', which is not among the files"),
        ('<img alt="a" src="b.png">\n', "README.md points to 'b.png', which is not among the files"),
    ],
)
def test_what_is_left_over_or_points_nowhere_is_named(body, problem):
    assert check_card("model", card("model", body), set()) == [problem]


def test_pictures_that_are_there_links_and_code_pass():
    body = "![A](a.webp) [b](https://x.org/b) [c](#c)\n```\nTABLE\n```\n"
    assert check_card("model", card("model", body), {"a.webp"}) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("colorFrom: blue", "colorFrom: mauve", "README.md has colorFrom: mauve; the Hub knows red, yellow"),
        ("Mean difference", "x" * 61, "README.md has a short_description of more than 60 characters"),
        ("app_file: app.py", "app_file: main.py", "README.md names app_file 'main.py', which is not among"),
        ("license: mit", "license: other", "README.md has license: other, which needs license_name"),
        ("title: Demo", "title: [", "the header of README.md is not YAML"),
    ],
)
def test_the_rules_of_the_hub_are_kept(old, new, problem):
    (found,) = check_card("demo", card("space", "# Demo\n", header("demo").replace(old, new)), {"app.py"})
    assert found.startswith(problem)


def test_a_card_without_header_is_one_problem():
    assert check_card("model", "# Title\n", set()) == [
        "README.md has no header: it must begin with YAML between two lines of ---"
    ]


@pytest.mark.parametrize(
    ("kind", "line", "problem"),
    [
        ("dataset", "license: ccby4", "license: ccby4, which the Hub does not know"),
        ("model", "license: [mit, cc-by-5.0]", "license: cc-by-5.0, which the Hub does not know"),
        (
            "dataset",
            "language: no",
            'language: no (to YAML a truth value: write "no"), which is no ISO 639 code',
        ),
        ("dataset", "language: [en, english]", "language: english, which is no ISO 639 code"),
        (
            "dataset",
            "task_categories: [image-restoration]",
            "task_categories: image-restoration, which is no task",
        ),
        ("model", "pipeline_tag: image2image", "pipeline_tag: image2image, which is no task"),
        ("leaderboard", "sdk: gradio", "sdk: gradio; a leaderboard runs by static"),
        ("demo", "sdk: static", "sdk: static; a demo runs by gradio"),
        (
            "dataset",
            "configs: [{config_name: a, data_files: data/*.csv}]",
            "data_files 'data/*.csv', which match",
        ),
        (
            "dataset",
            "configs: [{config_name: a, data_files: [{split: train, path: [data/a/train-*, data/b.parquet]}]}]",
            "data_files 'data/b.parquet', which match none",
        ),
    ],
)
def test_what_the_hub_does_not_know_is_named(kind, line, problem):
    field = line.partition(":")[0]
    lines = [old for old in header(kind).splitlines() if not old.startswith(f"{field}:")]
    text = card("", "# Title\n", "\n".join([*lines, line]) + "\n")
    (found,) = check_card(kind, text, {"app.py", "index.html", "data/a/train-00000-of-00001.parquet"})
    assert problem in found


@pytest.mark.parametrize("line", ["language: [en, 'no', gsw, code]", "license: [cc-by-4.0, openrail++]"])
def test_what_the_hub_knows_passes(line):
    lines = [old for old in header("dataset").splitlines() if not old.startswith(line.partition(":")[0])]
    assert check_card("dataset", card("", "# T\n", "\n".join([*lines, line]) + "\n"), set()) == []
