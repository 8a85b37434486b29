"""`ggt-hub publish`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ggt_hub.publishing.plan import Parcel
    from ggt_hub.publishing.push import Remote


def publish(
    names: Annotated[list[str] | None, typer.Argument(help="Only these repositories; all if none.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="What is published; hub.toml here, or else the package's own.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Where to; the manifest's if not given.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would go up; contact nothing.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say what differs on the Hub; exit code 1 if so.")
    ] = False,
    overwrite_others: Annotated[
        bool,
        typer.Option("--overwrite-others", help="Undo what others changed on the Hub; --check lists it."),
    ] = False,
) -> None:
    """Publish data sets, models, metrics and the demo to the Hub, each tagged with its version.

    May be interrupted and run again: what is there stays, what is missing is completed, a tag never moves. What
    others changed on the Hub since the last version is listed, and stays unless you say otherwise.
    """
    if dry_run and check:
        raise typer.BadParameter("--dry-run contacts nothing, --check asks the Hub: choose one")

    from ggt_hub.publishing.manifest import find_manifest
    from ggt_hub.publishing.plan import pack, survey

    manifest = manifest or find_manifest()
    if dry_run:
        _list(*survey(manifest, namespace, names))
    elif check:
        _check(pack(manifest, namespace, names))
    else:
        _publish(pack(manifest, namespace, names), overwrite_others)


def _list(parcels: list["Parcel"], problems: list[str]) -> None:
    for parcel in parcels:
        _show_files(parcel)
    for problem in problems:
        typer.secho(f"cannot be published: {problem}", fg="red")
    raise typer.Exit(1 if problems else 0)


def _show_files(parcel: "Parcel") -> None:
    size = sum(item.size for item in parcel.items)
    listing = parcel.listing
    typer.echo(f"{listing.kind} {parcel.repo_id} {listing.tag}: {len(parcel.items)} files, {size} bytes")
    for item in parcel.items:
        typer.echo(f"  {item.sha256}  {item.size:>12}  {item.path}")


def _check(parcels: list["Parcel"]) -> None:
    from huggingface_hub import HfApi

    from ggt_hub.publishing.plan import compare

    differs = False
    for parcel, remote in compare(parcels, HfApi()):
        lines = _words(parcel, remote)
        differs |= bool(lines)
        typer.echo(f"{parcel.repo_id} {parcel.listing.tag}: {'differs' if lines else 'is as here'}")
        for line in lines:
            typer.secho(f"  {line}", fg="yellow")
    raise typer.Exit(1 if differs else 0)


def _words(parcel: "Parcel", remote: "Remote") -> list[str]:
    """What differs at the tag or, where it is not set yet, on `main`."""
    if remote.commit is None:
        return ["there is no such repository yet"]
    missing_tag = [] if remote.from_tag is not None else [f"the tag {parcel.listing.tag} is not set"]
    difference = remote.from_main if remote.from_tag is None else remote.from_tag
    named = (("missing", difference.missing), ("other", difference.changed), ("surplus", difference.surplus))
    by_others = [f"by others {how}: {path}" for path, how in remote.by_others.items()]
    return missing_tag + [f"{word}: {path}" for word, paths in named for path in paths] + by_others


def _publish(parcels: list["Parcel"], overwrite_others: bool) -> None:
    from huggingface_hub import HfApi

    from ggt_hub.publishing.plan import publish as publish_parcels

    for parcel, is_new, proven in publish_parcels(parcels, HfApi(), overwrite_others=overwrite_others):
        typer.echo(f"{'published' if is_new else 'unchanged'}: {parcel.url}\n  {proven}")
