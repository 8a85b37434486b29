"""`ggt-hub curate`: data sets that are made or chosen, stage by stage."""

import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggt_hub.cli.pages import Host, Open, Port, serve

if TYPE_CHECKING:
    from ggt_hub.curation.askers import Estimate
    from ggt_hub.curation.run import Count
    from ggt_hub.demo import Settings
    from ggt_hub.demo.visitors import Page
    from ggt_hub.vlm import Ledger

Set = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PLACE=VALUE", help="A value in place of the file's, such as models.vision.url=http://..."
    ),
]
MaxCalls = Annotated[
    int | None, typer.Option(min=0, help="Send at most so many requests to servers, in all runs.")
]
MaxCost = Annotated[float | None, typer.Option(min=0, help="Spend at most so much; the models need a price.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and ask nobody.")]
AskAgain = Annotated[bool, typer.Option("--ask-again", help="Also what was refused or possibly billed.")]
Batch = Annotated[
    bool, typer.Option("--batch", help="Ask generators in batches, at half the price; then `curate fetch`.")
]
AcceptTerms = Annotated[
    list[str] | None,
    typer.Option(metavar="PROVIDER", help="You have read and accept its terms; remembered in the ledger."),
]
LedgerFile = Annotated[Path | None, typer.Option(help="File of all replies; GGT_HUB_LEDGER or one a user.")]
Takedown = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Take the photographs of these ids and SHA-256, one in a line, out of --output, and end.",
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes of stages that neither ask nor learn.")]
Engine = Annotated[str, typer.Option(help="Whose processes: local, datatrove or ray.")]

app = typer.Typer(help="Make or choose data, stage by stage, safe to kill.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Make or choose data, stage by stage, safe to kill."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was sent is waited for


@app.command()
def run(
    preset: Annotated[
        str, typer.Argument(help="What is done: a preset (genir, ggt, harnessir, ...) or a YAML file.")
    ],
    source: Annotated[str, typer.Argument(help="Photographs: a folder, or a data set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run; resumes what it holds.")],
    set: Set = None,
    max_calls: MaxCalls = None,
    max_cost: MaxCost = None,
    dry_run: DryRun = False,
    ask_again: AskAgain = False,
    batch: Batch = False,
    accept_terms: AcceptTerms = None,
    takedown: Takedown = None,
    ledger: LedgerFile = None,
    workers: Workers = 1,
    engine: Engine = "local",
) -> None:
    """Run the stages of PRESET; what is done is not done again. Exit code 1 if rows are left for a later run."""
    from ggt_hub.curation.askers import bill, check_askers, estimate, open_askers
    from ggt_hub.curation.configuration import load_configuration
    from ggt_hub.curation.run import run as run_stages
    from ggt_hub.data.work.indexing import check_apart
    from ggt_hub.engines import check_engine

    if takedown is not None:
        _take_down(output, takedown, ledger)
        return
    configuration = load_configuration(preset, dict(map(_place_and_value, set or ())))
    check_engine(engine)
    check_apart(output, source)
    if dry_run:
        _show_estimates(estimate(configuration, source, batch=batch))
        return
    limits = {"max_calls": max_calls, "max_cost": max_cost}
    kept = _open_ledger(ledger, accept_terms)
    askers = open_askers(
        configuration,
        output,
        kept,
        ask_again=ask_again,
        batch=batch,
        **limits,  # type: ignore[arg-type]
    )
    for stage in configuration.stages:  # before a generator that runs here is downloaded
        stage.check()
    check_askers(askers)
    counts = run_stages(configuration, source, output, askers, workers=workers, engine=engine)
    for count in counts:
        _show(count)
    for line in bill(askers):
        typer.echo(line)
    if any("to be reviewed" in count.later for count in counts):
        typer.echo(f"some wait for people: ggt-hub curate review {output}")
    typer.echo(f"{output}: {counts[-1].kept} pictures")
    raise typer.Exit(1 if any(count.later for count in counts) else 0)


@app.command()
def fetch(
    run: Annotated[Path, typer.Argument(help="Folder of the run, or of a comparison.")],
    ledger: LedgerFile = None,
) -> None:
    """Bring what has come back of the batches of RUN; then do it again. Exit code 1 if some still wait."""
    from ggt_hub.curation.askers import fetch_batches
    from ggt_hub.vlm import Ledger, ledger_path

    kept = Ledger(ledger or ledger_path())
    found = fetch_batches(run, kept)
    for name, one in found.items():
        typer.echo(
            f"{name:<14} {one.answered} answered, {one.refused} refused, {one.free} not done and free again, "
            f"{one.waiting} waiting" + (f", {one.lost} lost and possibly billed" if one.lost else "")
        )
    if not found:
        typer.echo(f"{run} has no batches out" + "".join(f"; {one} has" for one in kept.purses_that_wait()))
    raise typer.Exit(1 if any(one.waiting for one in found.values()) else 0)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, done or not.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; RUN-report.html beside RUN.")
    ] = None,
    ledger: Annotated[Path | None, typer.Option(help="The ledger of the run, if not the user's.")] = None,
) -> None:
    """Write one HTML file: where every picture went and why, at what cost, with some of them to look at."""
    from ggt_hub.curation.report import report_run
    from ggt_hub.vlm import Ledger, ledger_path

    path = output or _report_beside(folder)
    typer.echo(str(report_run(folder, path, Ledger(ledger or ledger_path()))))


@app.command()
def review(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, done or waiting.")],
    double: Annotated[
        float, typer.Option(min=0, max=1, help="Share of candidates that at least two reviewers see.")
    ] = 0.05,
    again: Annotated[
        float, typer.Option(min=0, max=1, help="Share that the same reviewer sees once more, at the end.")
    ] = 0.0,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    open: Open = False,
) -> None:
    """Label the candidates of RUN in the browser, alone or with others; labels are kept in RUN/labels.jsonl."""

    def start(settings: "Settings", **options: Any) -> "AbstractContextManager[Page]":
        from ggt_hub.curation.review import Review, Shares
        from ggt_hub.demo.review_page import serving_review

        return serving_review(Review(folder, Shares(double, again)), settings, **options)

    serve(start, host, port, open)


@app.command()
def calibrate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    labels: Annotated[
        Path | None, typer.Argument(help="Lines of JSON with id and label; RUN/labels.jsonl.")
    ] = None,
    lost: Annotated[
        float, typer.Option(min=0, max=1, help="Share of candidates to keep that a limit may refuse.")
    ] = 0.02,
) -> None:
    """Try the limits of a run on labels of people: precision and recall, and limits that suit them better."""
    from ggt_hub.curation.calibration import calibrate as try_limits
    from ggt_hub.curation.labels import LABELS

    found = try_limits(folder, labels or folder / LABELS, lost)
    for one in found.limits:
        typer.echo(one.in_words())
    for name, score in (("as it is", found.now), ("with these", found.then)):
        typer.echo(f"{name}: {score.in_words()}")
    for one in found.limits:
        if one.then != one.now:
            typer.echo(f"--set {one.place}={one.then:g}")


@app.command()
def compare(
    preset: Annotated[str, typer.Argument(help="Generators and stages: a YAML file, ggt, or harnessir.")],
    source: Annotated[str, typer.Argument(help="Photographs: a folder, or a data set.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the comparison; resumes what it holds.")
    ],
    set: Set = None,
    max_calls: MaxCalls = None,
    max_cost: MaxCost = None,
    dry_run: DryRun = False,
    ask_again: AskAgain = False,
    batch: Batch = False,
    accept_terms: AcceptTerms = None,
    takedown: Takedown = None,
    ledger: LedgerFile = None,
    workers: Workers = 1,
    engine: Engine = "local",
) -> None:
    """Compare the generators of PRESET, with fixed and adaptive prompts. Exit code 1 if some candidates wait."""
    from ggt_hub.commit import check_results
    from ggt_hub.curation.askers import bill, check_askers, open_askers
    from ggt_hub.curation.comparing import asking, entrants, estimate_entrants, run_entrants
    from ggt_hub.curation.comparison import REPORT, write_comparison
    from ggt_hub.curation.configuration import load_configuration
    from ggt_hub.data.work.indexing import check_apart
    from ggt_hub.engines import check_engine

    if takedown is not None:
        _take_down(output, takedown, ledger)
        return
    configuration = load_configuration(preset, dict(map(_place_and_value, set or ())))
    found = entrants(configuration, output)
    check_engine(engine)
    check_apart(output, source)
    check_results(output, [REPORT])
    if dry_run:
        _show_estimates(estimate_entrants(found, source, batch=batch))
        return
    kept = _open_ledger(ledger, accept_terms)
    askers = open_askers(
        asking(configuration),
        output,
        kept,
        max_calls=max_calls,
        max_cost=max_cost,
        ask_again=ask_again,
        batch=batch,
    )
    check_askers(askers)
    waiting = run_entrants(found, source, askers, workers=workers, engine=engine)
    for one in write_comparison(found, output, askers, kept):
        df = "not judged" if one.df is None else f"DF {one.df[0]:.1f}"
        typer.echo(f"{one.label:<24} {one.drawn.passed} of {one.drawn.came} drawn, {df}, {one.pairs} pairs")
    for line in bill(askers):
        typer.echo(line)
    typer.echo(str((output / REPORT).resolve()))
    raise typer.Exit(1 if waiting else 0)


@app.command()
def vote(
    folder: Annotated[Path, typer.Argument(metavar="COMPARISON", help="Folder that compare wrote.")],
    host: Host = "127.0.0.1",
    port: Port = 7860,
    open: Open = False,
) -> None:
    """Vote in the browser on pairs of candidates, blind; votes are kept in COMPARISON/votes.jsonl."""

    def start(settings: "Settings", **options: Any) -> "AbstractContextManager[Page]":
        from ggt_hub.curation.comparison import open_comparison
        from ggt_hub.demo.votes_page import serving_votes

        return serving_votes(open_comparison(folder), settings, **options)

    serve(start, host, port, open)


def _open_ledger(path: Path | None, accepted: list[str] | None) -> "Ledger":
    """The ledger, in which it stands from now on whose terms are accepted."""
    from ggt_hub.curation.generators import accept_terms
    from ggt_hub.vlm import Ledger, ledger_path

    ledger = Ledger(path or ledger_path())
    for provider in accepted or ():
        accept_terms(ledger, provider)
    return ledger


def _show_estimates(found: "list[Estimate]") -> None:
    for one in found:
        cost = f"about {one.cost:g}" if one.cost else "no price"
        typer.echo(f"{one.stage:<14} {one.model}: at most {one.questions} questions, {cost}")


def _report_beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.resolve().name}-report.html")


def _take_down(output: Path, listed: Path, ledger: Path | None) -> None:
    from ggt_hub.curation.report import report_run
    from ggt_hub.curation.takedown import take_down
    from ggt_hub.vlm import Ledger, ledger_path

    gone = take_down(output, listed)
    for name in gone.unknown:
        typer.echo(f"{name}: nothing of this run")
    typer.echo(f"{output}: {len(gone.photographs)} photographs and {gone.pairs} pairs have left")
    place = ledger or ledger_path()
    if (beside := _report_beside(output)).is_file():
        typer.echo(f"{report_run(output, beside, Ledger(place))}: written again without them")
    typer.echo(f"elsewhere they stay: in exports, copies and other reports, and in the ledger, {place}")
    raise typer.Exit(1 if gone.unknown else 0)


def _show(count: "Count") -> None:
    reasons = [f"{reason} {number}" for reason, number in count.dropped.items()]
    reasons += [f"later: {reason} {number}" for reason, number in count.later.items()]
    typer.echo(f"{count.stage:<14} {count.rows} in, {count.kept} kept" + "".join(f"; {r}" for r in reasons))


def _place_and_value(text: str) -> tuple[str, str]:
    place, equals, value = text.partition("=")
    if not (place and equals):
        raise typer.BadParameter(f"{text!r}: write PLACE=VALUE", param_hint="--set")
    return place, value
