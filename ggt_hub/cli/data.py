"""`ggt-hub data`: what can be done with pairs before a model sees them."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ggt_hub.cli.judging import takes_judge
from ggt_hub.cli.told import takes_told

if TYPE_CHECKING:
    from ggt_hub.data.recognising.told import Told
    from ggt_hub.vlm import Judge

app = typer.Typer(help="Look at, index, verify, export and preview data sets of pairs.", no_args_is_help=True)

_SHOWN = 5

Source = Annotated[
    str,
    typer.Argument(help="A name (see `list`), a dataset repository such as org/name, or a folder."),
]
Config = Annotated[str | None, typer.Option(help="A part of it, such as rain.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit; the newest if not given.")]
DataDir = Annotated[str | None, typer.Option(help="A copy on disk.")]


def _say_source(source: str) -> None:
    """A word that is no name of ours may be a folder here, or a repository: say which it was taken for."""
    from ggt_hub.data.reading.loading import SOURCES
    from ggt_hub.errors import did_you_mean

    if source not in SOURCES:
        kind = "the folder" if Path(source).expanduser().is_dir() else "the dataset repository"
        hint = did_you_mean(source, SOURCES) if "repository" in kind else ""
        typer.echo(f"source: {kind} {source}{hint}", err=True)


Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for what is made.")]
Workers = Annotated[int, typer.Option(help="Processes.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.command("list")
def list_sources(json: Json = False) -> None:
    """List the data sets that load by name."""
    from ggt_hub.data.reading.loading import SOURCES

    if json:
        found = {name: {"about": s.about, "is_released": s.is_released} for name, s in SOURCES.items()}
        typer.echo(json_module.dumps(found, indent=1))
        return
    for name, source in SOURCES.items():
        typer.echo(f"{name:<14} {source.about}{'' if source.is_released else ' (needs data_dir)'}")


@app.command()
@takes_told
def describe(
    source: Source,
    told: "Told",
    revision: Revision = None,
    json: Json = False,
) -> None:
    """Say what a repository or folder holds, without downloading it."""
    from ggt_hub.data.work.describing import describe_source

    _say_source(source)
    found = describe_source(source, revision, told)
    if json:
        typer.echo(json_module.dumps(found, indent=1, ensure_ascii=False))
        return
    typer.echo(
        f"{found['source']} at {found['version'][:8]}: {found['files']} files, {_size(found['bytes'])}"
    )
    for archive in found["archives"]:
        typer.echo(f"  {archive['path']}: {archive['members']} members, {_size(archive['bytes'])}")
        typer.echo(f"    {_counts(archive['folders'])}; {_counts(archive['endings'])}")
    if found["loose_files"]:
        typer.echo(f"  files by themselves: {_counts(found['loose_files'])}")
    for path in found["manifests"]:
        typer.echo(f"  manifest: {path}")
    for weights in found["weights"]:
        typer.echo(f"  weights: {weights['path']}, {_size(weights['bytes'])}")
    for title in ("refused", "problems", "unpaired"):
        for line in found.get(title, ()):
            typer.secho(f"  {title}: {line}", fg="yellow")
    if "why_not_paired" in found:
        typer.secho(f"not paired: {found['why_not_paired']}", fg="yellow")
        return
    if "lmdb" in found:
        typer.echo(f"LMDB: {', '.join(found['lmdb'])}")
        return
    if "tables" in found:
        _show_tables(found)
        return
    if not found["pictures"]:
        typer.echo("no pictures that can be read in place")
        return
    typer.echo(f"{found['pairs']} pairs, by {'; '.join(found['rules'])}")
    for example in found["examples"]:
        typer.echo(f"  lq {example['lq']}, gt {example['gt']}")
    for task, splits in found["tasks"].items():
        typer.echo(f"  {task}: {_counts(splits)}")
    sizes = found["sizes"]
    for side in ("lq", "gt"):
        if side in sizes:
            shown = ", ".join(f"{what} {w}x{h}" for what, (w, h) in sizes[side].items())
            typer.echo(f"  sizes of {sizes['looked_at']} {side}: {shown}")
    if sizes["scales"]:
        typer.echo(
            f"  gt is so many times as wide as lq: {_counts({f'{k:g}': v for k, v in sizes['scales'].items()})}"
        )


def _show_tables(found: dict[str, Any]) -> None:
    if "columns" not in found:
        typer.echo(f"{found['tables']} tables; `ggt-hub data verify` or `export` downloads and reads them")
        return
    typer.echo(f"{found['rows']} rows in {found['tables']} tables")
    typer.echo("  " + ", ".join(f"{part}: column {name}" for part, name in found["columns"].items() if name))
    if "tasks" in found:
        typer.echo(f"  tasks: {_counts(found['tasks'])}")
    if "quality" in found:
        quality = found["quality"]
        shown = ", ".join(f"{value:.3f}" for value in quality["quartiles"])
        typer.echo(f"  quality of {quality['known']} rows, least to greatest by quarters: {shown}")


@app.command()
@takes_told
def index(
    source: Source,
    told: "Told",
    output: Output,
    revision: Revision = None,
    data_dir: DataDir = None,
) -> None:
    """Write the index of a data set: rows that point at its pictures and hold none, with a card."""
    from ggt_hub.data.work.indexing import make_index

    _say_source(source)
    summary = make_index(source, output, revision=revision, data_dir=data_dir, told=told)
    rows = sum(count for splits in summary["rows"].values() for count in splits.values())
    typer.echo(f"{output}: {rows} pairs of {summary['repository']} at {summary['commit'][:8]}")
    for title in ("unpaired", "problems"):
        for line in summary[title]:
            typer.secho(f"  {title}: {line}", fg="yellow")


@app.command()
@takes_told
def verify(
    source: Source,
    told: "Told",
    config: Config = None,
    revision: Revision = None,
    data_dir: DataDir = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Keeps what was found.")] = Path("verified"),
    workers: Workers = 1,
    json: Json = False,
) -> None:
    """Check that every row decodes, that sizes agree and that no byte has changed; exit code 1 if not."""
    from ggt_hub.data.reading.opening import open_parts
    from ggt_hub.data.work.export import check_sums
    from ggt_hub.data.work.verify import overlaps
    from ggt_hub.data.work.verify import verify as verify_parts

    _say_source(source)
    splits, folder = open_parts(source, config, revision=revision, data_dir=data_dir, told=told)
    found = {split: verify_parts(parts, output / split, workers) for split, parts in splits.items()}
    shared = overlaps({split: output / split for split in splits}) if len(splits) > 1 else []
    changed = check_sums(folder) if folder else []
    is_good = not changed and all(result.is_good for result in found.values())
    if json:
        report: dict[str, Any] = {split: result.to_json() for split, result in found.items()}
        report |= {"changed_files": changed, "overlaps": shared}
        typer.echo(json_module.dumps(report, indent=1, ensure_ascii=False))
    else:
        for split, result in found.items():
            _show_verification(split, result)
        _show("overlap of splits", shared)
        for line in changed:
            typer.secho(f"  {line}", fg="red")
        typer.echo("all is well" if is_good else f"something is wrong; {output} keeps the details")
    raise typer.Exit(0 if is_good else 1)


def _show_verification(split: str, result: Any) -> None:
    typer.echo(f"{split}: {result.rows} pairs, {len(result.problems)} problems")
    if result.clean:
        typer.echo(f"  {result.clean} pictures are clean: there is nothing that damages them yet")
    if result.unhashed:
        typer.echo(f"  {result.unhashed} pictures have no hash: only that they decode was checked")
    for problem in result.problems:
        typer.secho(f"  {problem}", fg="red")
    _show("the same picture or id", [", ".join(_first(ids)) for ids in result.duplicates])
    _show("gt has the pixels of lq", result.equal)
    _show("alike", [" and ".join(ids) for ids in result.alike])


def _first(ids: list[str]) -> list[str]:
    return ids if len(ids) <= _SHOWN else [*ids[:_SHOWN], f"{len(ids) - _SHOWN} more"]


def _show(title: str, lines: list[str]) -> None:
    """The first few lines, and how many more there are."""
    for line in lines[:_SHOWN]:
        typer.secho(f"  {title}: {line}", fg="yellow")
    if len(lines) > _SHOWN:
        typer.secho(f"  {title}: {len(lines) - _SHOWN} more", fg="yellow")


@app.command()
@takes_told
def export(
    source: Source,
    told: "Told",
    output: Output,
    config: Config = None,
    revision: Revision = None,
    data_dir: DataDir = None,
    workers: Workers = 1,
    layout: Annotated[
        str,
        typer.Option(
            help="parquet, webdataset, lmdb, basicsr, jsonl, diffsynth or instructpix2pix; of the last three, "
            "pairs without a prompt get the fixed instruction for their task."
        ),
    ] = "parquet",
    shard_size: Annotated[int, typer.Option(help="Size of a file in MB, about.", min=1)] = 500,
) -> None:
    """Write a data set as Parquet that the stock library loads, or in another layout, byte for byte."""
    from ggt_hub.data.reading.opening import open_splits
    from ggt_hub.data.work.export import export as write_parquet
    from ggt_hub.data.work.indexing import check_apart

    check_apart(output, source, data_dir)
    _say_source(source)
    splits = open_splits(source, config, revision=revision, data_dir=data_dir, told=told)
    if layout != "parquet":
        from ggt_hub.data.work.layouts import write_layout
        from ggt_hub.pipelines.realrestorer import instruction

        count = write_layout(
            splits,
            output,
            layout,
            workers=workers,
            shard_bytes=shard_size * 1_000_000,
            instruct=instruction,
        )
        typer.echo(f"{output}: {count} pairs as {layout}")
        return
    reports = write_parquet(
        splits, output, config=config or "default", workers=workers, shard_bytes=shard_size * 1_000_000
    )
    rows, size = (sum(report[name] for report in reports) for name in ("rows", "size"))
    typer.echo(f"{output}: {rows} pairs in {len(reports)} files, {_size(size)}")


@app.command()
@takes_told
def preview(
    source: Source,
    told: "Told",
    output: Output,
    config: Config = None,
    split: Annotated[str | None, typer.Option(help="The first if not given.")] = None,
    revision: Revision = None,
    data_dir: DataDir = None,
    count: Annotated[int, typer.Option(help="How many pairs.", min=1)] = 24,
) -> None:
    """Put some pairs on one sheet, and into a small config named preview."""
    from ggt_hub.data.reading.opening import open_splits
    from ggt_hub.data.work.indexing import check_apart
    from ggt_hub.data.work.preview import preview as write_preview
    from ggt_hub.errors import DatasetError

    check_apart(output, source, data_dir)
    _say_source(source)
    splits = open_splits(source, config, revision=revision, data_dir=data_dir, told=told)
    name = split or next(iter(splits))
    if name not in splits:
        raise DatasetError(f"{source} has no split {name!r}; it has {', '.join(splits)}")
    typer.echo(str(write_preview(splits[name], output, count)))


@app.command()
@takes_judge
def make(
    preset: Annotated[str, typer.Argument(help="What damages: a name (see `degrade`), or a YAML file.")],
    clean: Annotated[
        str,
        typer.Option(help="Clean pictures: a folder, or a data set (of pairs: the ground truth)."),
    ],
    output: Output,
    judge: "Judge | None",
    per_task: Annotated[int | None, typer.Option(help="Pairs for each task of the preset.", min=1)] = None,
    count: Annotated[int | None, typer.Option(help="Pairs, where the preset is one chain.", min=1)] = None,
    task: Annotated[str | None, typer.Option(help="Only this task of the preset.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.", min=0)] = 0,
    severity: Annotated[float | None, typer.Option(help="0 to 1; drawn if not given.")] = None,
    format: Annotated[
        str, typer.Option(help="Of the low-quality pictures: png, webp (both lossless), jpeg:95 ...")
    ] = "png",
    filter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=LIMIT]",
            help="Leave clean pictures out: too-small, too-dark, too-blurred, near-duplicate; by a judge: "
            "watermark, low-quality.",
        ),
    ] = None,
    assets: Annotated[
        str | None, typer.Option(help="Folder or dataset of patterns, second pictures and clips.")
    ] = None,
    depth: Annotated[str | None, typer.Option(help="Hub id or folder of a network for depth.")] = None,
    masks: Annotated[str | None, typer.Option(help="Hub id or folder of a network for masks.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Folder of a network that blends, as `convert` writes it.")
    ] = None,
    workers: Workers = 1,
    engine: Annotated[str, typer.Option(help="Whose processes: local, datatrove or ray.")] = "local",
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Make one of N parts; each may run on a machine of its own.")
    ] = "1/1",
) -> None:
    """Make pairs of clean pictures: a data set that loads with the stock library, each row with its record."""
    from ggt_hub.data.reading.clean import find_clean
    from ggt_hub.data.work.filters import check_judge, choose, parse_filters
    from ggt_hub.data.work.indexing import check_apart
    from ggt_hub.data.work.make import Making, make_pairs, parse_format, want_for_tasks
    from ggt_hub.degradations import Assets, load_presets
    from ggt_hub.engines import check_engine
    from ggt_hub.errors import DatasetError

    presets, limits = load_presets(preset, task), parse_filters(filter or ())
    ending, quality = parse_format(format)
    if (per_task is None) == (count is None):
        raise DatasetError("say how many pairs to make, by --per-task or --count")
    if count is not None and len(presets) > 1:
        raise DatasetError(f"{preset} has {len(presets)} tasks: give --per-task in place of --count")
    part = _part(shard)
    check_judge(limits, judge)
    check_engine(engine)
    check_apart(output, clean)
    making = Making(
        severity, seed, ending, quality, Assets.open(assets, depth=depth, masks=masks, weights=weights or ())
    )
    pictures = find_clean(clean)
    left_out: dict[str, str] = {}
    if limits:
        pictures, left_out = choose(pictures, limits, output, workers=workers, judge=judge)
    wanted = want_for_tasks(pictures, presets, per_task or count or 0, seed)
    failed = make_pairs(wanted, making, output, workers=workers, part=part, engine=engine)
    for name, reason in (left_out | failed).items():
        typer.secho(f"left out: {name}: {reason}", fg="yellow", err=True)
    there = f", part {shard}" if part[1] > 1 else ""
    typer.echo(f"{output}: {len(wanted)} pairs of {len(pictures)} pictures{there}, {len(failed)} left out")
    raise typer.Exit(1 if failed else 0)


def _part(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise typer.BadParameter(f"{text!r}: write which part of how many, as in 1/4", param_hint="--shard")
    return int(number), int(parts)


@app.command("score-quality")
@takes_told
def score_quality(
    source: Source,
    told: "Told",
    output: Output,
    expert: Annotated[
        list[str] | None,
        typer.Option(help="A metric without reference, also pyiqa:NAME; piqe and brisque if none is given."),
    ] = None,
    scale: Annotated[
        Path | None, typer.Option(help="The quality.json of another data set, to be measured on its scale.")
    ] = None,
    config: Config = None,
    revision: Revision = None,
    data_dir: DataDir = None,
    workers: Workers = 1,
) -> None:
    """Write a copy of a data set, or of photographs, that says how good each ground truth is, 0 to 1."""
    from ggt_hub.data.work.indexing import check_apart
    from ggt_hub.data.work.score_quality import check_experts, open_scorable
    from ggt_hub.data.work.score_quality import score_quality as write_scored
    from ggt_hub.metrics.quality import FREE_EXPERTS, read_scale

    experts = expert or FREE_EXPERTS
    check_experts(experts)
    ends = read_scale(scale) if scale else None
    check_apart(output, source, data_dir)
    _say_source(source)
    parts = open_scorable(source, config, revision=revision, data_dir=data_dir, told=told)
    reports, unknown = write_scored(
        parts, output, config=config or "default", experts=experts, scale=ends, workers=workers
    )
    for name, reason in unknown.items():
        typer.secho(f"no quality: {name}: {reason}", fg="yellow", err=True)
    rows = sum(report["rows"] for report in reports)
    typer.echo(f"{output}: {rows} pairs, the quality of {rows - len(unknown)} by {', '.join(experts)}")
    raise typer.Exit(1 if unknown else 0)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="What `export`, `index` or `degrade --pairs` wrote.")],
    repository: Annotated[str, typer.Argument(help="Where to: namespace/name.")],
    private: Annotated[bool, typer.Option("--private", help="If the repository is new.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that the repository has with other content.")
    ] = False,
) -> None:
    """Bring a data set to the Hub: card and licence are checked before, what comes back is compared after.

    Nothing that the repository holds besides is touched.
    """
    from huggingface_hub import HfApi

    from ggt_hub.publishing.data_push import push_data

    commit, proven = push_data(folder, repository, HfApi(), private=private, overwrite=overwrite)
    typer.echo(f"{repository} at {commit[:8]}: {proven}")


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name or 'no ending'} {count}" for name, count in counts.items())
