"""Publishing as a whole: everything is checked before anything is changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants

from ggt_hub.errors import PublishError
from ggt_hub.publishing.contents import Item, collect
from ggt_hub.publishing.manifest import Listing, read_manifest
from ggt_hub.publishing.proof import prove
from ggt_hub.publishing.push import Remote, ask_about_card, check_others, check_rights, check_tag, look, push
from ggt_hub.publishing.refusals import check


@dataclass(frozen=True)
class Parcel:
    """A repository that may be published: what the manifest says of it, its id on the Hub, its files."""

    listing: Listing
    repo_id: str
    items: list[Item]

    @property
    def url(self) -> str:
        """Its page, at its tag."""
        prefix = constants.REPO_TYPES_URL_PREFIXES.get(self.listing.repo_type, "")
        return f"{constants.ENDPOINT}/{prefix}{self.repo_id}/tree/{self.listing.tag}"


def pack(manifest_path: Path, namespace: str | None = None, names: list[str] | None = None) -> list[Parcel]:
    """Gather what the manifest names, as `survey` does.

    Raises:
        PublishError: naming everything that forbids to publish.
    """
    parcels, problems = survey(manifest_path, namespace, names)
    if problems:
        raise PublishError("this cannot be published:\n" + "\n".join(f"  {problem}" for problem in problems))
    return parcels


def survey(
    manifest_path: Path, namespace: str | None = None, names: list[str] | None = None
) -> tuple[list[Parcel], list[str]]:
    """Gather and check what the manifest names, without asking the Hub.

    Args:
        manifest_path: the file `hub.toml`.
        namespace: where to publish; None takes the manifest's.
        names: only these repositories; None or empty takes all.

    Returns:
        The repositories whose files are there, and everything that forbids to publish, one sentence each.

    Raises:
        PublishError: if the manifest itself is wrong.
    """
    manifest = read_manifest(manifest_path)
    namespace = namespace or manifest.namespace
    known = [listing.name for listing in manifest.listings]
    parcels, problems = [], []
    for listing in manifest.chosen(names or []):
        try:
            items = collect(listing, namespace, known, manifest.namespace)
        except PublishError as error:
            problems.append(str(error))
            continue
        problems += check(listing, items)
        parcels.append(Parcel(listing, f"{namespace}/{listing.name}", items))
    return parcels, problems


def compare(parcels: list[Parcel], api: HfApi) -> Iterator[tuple[Parcel, Remote]]:
    """Look at each repository on the Hub; changes nothing.

    Raises:
        PublishError: if the Hub does not answer.
    """
    for parcel in parcels:
        yield parcel, look(api, parcel.listing, parcel.repo_id, parcel.items)


def publish(
    parcels: list[Parcel], api: HfApi, *, overwrite_others: bool = False
) -> Iterator[tuple[Parcel, bool, str]]:
    """Publish, one repository after the other, then prove each.

    Nothing is changed before all are known to be possible: rights, cards, versions that are not taken, and no
    change of somebody else's that would be lost.

    Args:
        parcels: what to publish.
        api: the client, logged in.
        overwrite_others: undo what others changed on the Hub since we published last.

    Yields:
        The parcel, whether anything had to be done, and what was proven.

    Raises:
        PublishError: if something is refused, or a connection breaks; the next call goes on from there.
    """
    check_rights(api, parcels[0].repo_id.split("/")[0])
    for parcel in parcels:
        ask_about_card(parcel.listing, parcel.repo_id, parcel.items)
    states = list(compare(parcels, api))
    for parcel, remote in states:
        check_tag(parcel.listing, parcel.repo_id, remote)
        if not overwrite_others:
            check_others(parcel.repo_id, remote)
    done = [push(api, parcel.listing, parcel.repo_id, parcel.items, remote) for parcel, remote in states]
    for parcel, is_new in zip(parcels, done, strict=True):
        yield parcel, is_new, prove(parcel.listing, parcel.repo_id, parcel.items)
