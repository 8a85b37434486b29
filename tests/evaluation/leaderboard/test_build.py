import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from ggt_hub import RestorerPipeline
from ggt_hub.cli import app
from ggt_hub.errors import EvaluationError
from ggt_hub.evaluation import load_suite, run_suite
from ggt_hub.evaluation.leaderboard import build_leaderboard
from ggt_hub.evaluation.results import read, summarise
from ggt_hub.evaluation.scoring import Scoring
from ggt_hub.evaluation.statistics import swap_test
from tests.metrics.golden import noisy
from tests.photographs import photograph


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Ten pairs of two tasks, and three runs over them."""
    folder = tmp_path_factory.mktemp("board")
    clean = photograph(128)
    for number in range(10):
        task = "noise" if number < 9 else "blur"
        for side, pixels in (("lq", noisy(clean, 40 if number < 9 else 15, seed=number)), ("gt", clean)):
            (folder / "data" / side / task).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number : number + 64, :64]).save(
                folder / "data" / side / task / f"{number}.png"
            )
    suite = load_suite(str(folder / "data"))
    for model in ("identity", "opencv:nlm", "gain"):
        name = model.replace(":", "-")
        run_suite(
            suite, RestorerPipeline.from_pretrained(model), folder / name, scoring=Scoring(("psnr", "ssim"))
        )
    return folder


@pytest.fixture
def board(place, tmp_path):
    """A copy that a test may change: `build(names)` builds from it."""
    shutil.copytree(place, tmp_path / "copy")
    folder = tmp_path / "copy"

    def build(*names):
        return build_leaderboard([folder / name for name in names], folder / "out", folder / "data")

    return folder, build


def change(run, edit):
    """Falsify the rows of a run as somebody would who knows the format."""
    rows = pq.read_table(run / "scores.parquet").to_pylist()
    edit(rows)
    pq.write_table(pa.Table.from_pylist(rows), run / "scores.parquet")
    return rows


def test_rows_are_ranked_tested_and_written_with_every_hash(board):
    folder, build = board
    content = build("identity", "opencv-nlm", "gain")
    assert content == json.loads((folder / "out/leaderboard.json").read_text())
    _, rows = read(folder / "opencv-nlm")
    entry = next(row for row in content["rows"] if row["label"] == "opencv:nlm")
    assert entry["pictures_sha256"] == {row["id"]: row["output_sha256"] for row in rows}
    assert entry["overall"]["psnr"]["mean"] == pytest.approx(np.mean([row["psnr"] for row in rows]))
    page = (folder / "out/index.html").read_text()
    first = page.split("<tbody>")[1]
    assert re.findall(r'scope="row">([^<]+)<', first.split("</tbody>")[0])[0] == "opencv:nlm"
    for task in ("all pictures", "noise", "blur"):
        assert f"<option>{task}</option>" in page
        assert f'data-choice="{task}"' in page
    above, here = (read(folder / name)[1] for name in ("opencv-nlm", "identity"))
    p = swap_test([row["psnr"] for row in above], [row["psnr"] for row in here])
    assert p < 0.05 / 4  # so it holds after the correction for four of them: two rows, two metrics
    assert "*" in first.split("</tbody>")[0]
    only_one = page.split('data-choice="blur"')[1].split("</tbody>")[0]
    assert "*" not in only_one  # of one picture nothing is clear
    card = yaml.safe_load((folder / "out/README.md").read_text().split("---")[1])
    assert (card["sdk"], card["app_file"]) == ("static", "index.html")
    assert (folder / "out/table.csv").read_text().startswith("model,psnr,psnr_low")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda rows: rows[2].update(psnr=rows[2]["psnr"] + 0.5),
            r"it says psnr .* of '.*', whose picture scores",
        ),
        (lambda rows: rows[0].update(psnr_before=9.0), "it says psnr_before 9"),
        (lambda rows: rows[3].update(output_sha256="0" * 64), "the result of .* has another hash"),
        (
            lambda rows: rows[3].update(task="blur"),
            "other pictures or tasks than the suite|are over different",
        ),
        (lambda rows: rows.pop(), "other pictures or tasks than the suite"),
        (lambda rows: rows[1].update(output_sha256=None), "says no hash of"),
        # The score is right, but is to stay out of the mean.
        (lambda rows: rows[0].update(psnr_status="no reference"), "what it says of psnr of .* is not so"),
    ],
)
def test_a_falsified_row_is_refused_by_name(board, edit, reason):
    folder, build = board
    rows = change(folder / "gain", edit)
    about = json.loads((folder / "gain/results.json").read_text())

    about |= summarise(rows) | {"pictures": len(rows)}  # the means agree with the falsified rows
    (folder / "gain/results.json").write_text(json.dumps(about))
    with pytest.raises(EvaluationError, match=rf"gain .*({reason})"):
        build("gain")
    assert not (folder / "out").exists()


def test_a_falsified_mean_or_picture_is_refused_by_name(board):
    folder, build = board
    about = json.loads((folder / "gain/results.json").read_text())
    about["tasks"]["noise"]["ssim"]["mean"] += 0.01
    (folder / "gain/results.json").write_text(json.dumps(about))
    with pytest.raises(EvaluationError, match=r"gain is falsified: it says ssim \(mean\) .* of noise"):
        build("identity", "gain")
    _, rows = read(folder / "identity")
    picture = folder / "identity/restored" / f"{rows[0]['id']}.png"
    Image.fromarray(photograph(64)).save(picture)
    with pytest.raises(EvaluationError, match=r"identity is falsified .* the result of"):
        build("identity")
    picture.unlink()
    with pytest.raises(EvaluationError, match="identity lacks the picture of"):
        build("identity")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda about: about["overall"].update(lpips=about["overall"]["psnr"]),
            r"it says lpips \(mean\) .* of all pictures, its rows give None",
        ),
        (lambda about: about["tasks"].update(rain=about["tasks"]["blur"]), "it says pictures .* of rain"),
        (lambda about: about["overall"]["ssim"].update(count=9), r"it says ssim \(count\) 9"),
        (lambda about: about.update(pictures=1000), r"it says pictures \(count\) 1000 of the run"),
        (lambda about: about["protocols"].update(psnr="dB; Y alone"), "states other protocols than this"),
    ],
)
def test_a_summary_that_says_more_than_its_rows_is_refused_even_of_a_known_row(board, edit, reason):
    folder, build = board
    build("gain")
    published = {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.is_file()}
    about = json.loads((folder / "gain/results.json").read_text())
    edit(about)
    (folder / "gain/results.json").write_text(json.dumps(about))
    with pytest.raises(EvaluationError, match=f"gain .*{reason}"):
        build("gain")
    assert {p.name: p.read_bytes() for p in (folder / "out").iterdir() if p.is_file()} == published


def test_a_published_row_that_is_falsified_later_is_refused_and_what_is_published_stays(board):
    folder, build = board
    build("identity", "gain")
    published = {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.is_file()}
    rows = change(folder / "gain", lambda rows: rows[4].update(ssim=rows[4]["ssim"] + 0.01))
    about = json.loads((folder / "gain/results.json").read_text())
    (folder / "gain/results.json").write_text(json.dumps(about | summarise(rows)))
    with pytest.raises(EvaluationError, match=f"gain is falsified: it says ssim .* of '{rows[4]['id']}'"):
        build("identity", "gain")
    assert {p.name: p.read_bytes() for p in (folder / "out").iterdir() if p.is_file()} == published


def test_what_rows_cannot_prove_is_not_shown(board):
    folder, build = board
    about = json.loads((folder / "gain/results.json").read_text())
    about["sets"]["ap"] = {"before": 0.2, "after": 0.4}
    about["directions"] |= {"ap": "higher", "psnr": "lower"}
    (folder / "gain/results.json").write_text(json.dumps(about))
    build("gain", "opencv-nlm")
    table = (folder / "out/table.md").read_text()
    assert "| ap" not in table
    assert table.startswith("| model | psnr ↑ |")


def test_distances_of_the_set_are_computed_again_shown_and_no_falsified_one_is(board, monkeypatch):
    """Also of a row that is known, for its scores of single pictures say nothing of them."""
    folder, build = board
    monkeypatch.setattr(
        "ggt_hub.metrics.of_sets.load_inception", lambda folder: lambda x: x[:, :, ::150, ::150].flatten(1)
    )
    suite = load_suite(str(folder / "data"))
    for model in ("identity", "gain"):
        pipe = RestorerPipeline.from_pretrained(model)
        run_suite(suite, pipe, folder / model, limit=3, scoring=Scoring(("psnr", "fid", "kid")))
    content = build("identity", "gain")
    told = {name: json.loads((folder / name / "results.json").read_text()) for name in ("identity", "gain")}
    assert {row["label"]: row["sets"] for row in content["rows"]} == {n: told[n]["sets"] for n in told}
    assert told["gain"]["sets"]["fid"]["after"] != told["gain"]["sets"]["fid"]["before"]
    page = (folder / "out/index.html").read_text()
    shown = page.split("<h2>Distances of the whole set")[1].split("</table>")[0]
    columns = ("model", "fid ↓", "fid before", "kid ↓", "kid before")
    assert re.findall(r'scope="col"[^>]*>([^<]+)<', shown)[:5] == [*columns]
    best = min(told, key=lambda name: told[name]["sets"]["fid"]["after"])
    assert re.findall(r'scope="row">([^<]+)<', shown)[0] == best
    about = told["gain"]
    about["sets"]["fid"]["after"] *= 0.99
    (folder / "gain/results.json").write_text(json.dumps(about))
    with pytest.raises(EvaluationError, match=r"gain is falsified: it says fid after .* its pictures give"):
        build("identity", "gain")


def test_unequal_protocols_and_pictures_are_refused(board):
    folder, build = board
    suite, gain = load_suite(str(folder / "data")), RestorerPipeline.from_pretrained("gain")
    run_suite(suite, gain, folder / "cropped", scoring=Scoring(("psnr", "ssim"), crop_border=2))
    run_suite(suite, gain, folder / "psnr", scoring=Scoring(("psnr",)))
    run_suite(suite, gain, folder / "part", scoring=Scoring(("psnr", "ssim")), limit=3)
    for name, reason in (("cropped", "crop_border"), ("psnr", "protocols"), ("part", "limit")):
        with pytest.raises(EvaluationError, match=f"{name} and identity do not belong .*{reason}"):
            build("identity", name)
    Image.fromarray(photograph(64)).save(folder / "data/gt/blur/9.png")
    run_suite(suite, gain, folder / "gain", scoring=Scoring(("psnr", "ssim")))
    with pytest.raises(EvaluationError, match="gain and identity are over different pictures"):
        build("identity", "gain")
    with pytest.raises(EvaluationError, match="identity is falsified or of other pictures: the reference of"):
        build("identity")


def test_the_history_grows_by_what_changed_and_known_rows_are_not_scored_again(board, monkeypatch):
    folder, build = board
    build("identity")
    build("identity")
    scored = []
    monkeypatch.setattr(
        "ggt_hub.evaluation.leaderboard.build.check_scores", lambda run, *further: scored.append(run.name)
    )
    build("identity", "gain")
    assert scored == ["gain"]
    history = json.loads((folder / "out/history.json").read_text())
    assert [list(one["means"]) for one in history] == [["identity"], ["identity", "gain"]]


def test_the_command_says_what_it_checked(board):
    folder, _ = board
    words = ["leaderboard", "build", folder / "gain", "--output", folder / "out"]
    outcome = CliRunner().invoke(app, [*map(str, words)])
    assert isinstance(outcome.exception, EvaluationError)
    assert "over a folder 'data': name it with --data" in str(outcome.exception)
    outcome = CliRunner().invoke(app, [*map(str, words), "--data", str(folder / "data")])
    assert "1 rows over 10 pictures, each score checked" in outcome.output
