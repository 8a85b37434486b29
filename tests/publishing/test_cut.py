"""The connection is cut at any request of a publication, in any of three ways; the next call completes it."""

import pytest

from ggt_hub.errors import PublishError
from ggt_hub.publishing.plan import pack, publish
from tests.publishing.test_plan import KINDS, ONCE, history
from tests.publishing.trees import whole

POINTS = [*(("push", share / 19) for share in range(20)), *(("proof", share / 4) for share in range(4))]
WAYS = ("before", "during", "after")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return whole(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def counted():
    """How many requests the two parts of an uncut publication take; filled in by the first test."""
    return {}


def consistent(api) -> None:
    """Whatever is tagged is whole: no tag names a commit that lacks a file."""
    for name, kind in KINDS.items():
        if not api.repo_exists(f"org/{name}", repo_type=kind):
            continue
        for tag in api.list_repo_refs(f"org/{name}", repo_type=kind).tags:
            files = api.list_repo_files(f"org/{name}", repo_type=kind, revision=tag.name)
            assert len(files) > 1


def test_an_uncut_publication_is_counted(api, hub, path, counted):
    list(publish(pack(path), api))
    changes = [n for n, request in enumerate(hub.requests) if request.method in ("POST", "PUT")]
    counted["push"] = range(changes[-1] + 1)
    counted["proof"] = range(changes[-1] + 1, len(hub.requests))
    assert len(counted["push"]) > 20


@pytest.mark.parametrize("number", range(len(POINTS)))
def test_a_cut_publication_is_completed_by_the_next_call(api, hub, path, counted, number):
    part, share = POINTS[number]
    requests = counted[part]
    hub.cut_after(requests[int(share * (len(requests) - 1))], WAYS[number % len(WAYS)])
    with pytest.raises(PublishError):
        list(publish(pack(path), api))
    hub.mend()
    consistent(api)
    results = list(publish(pack(path), api))
    assert history(api) == ONCE
    assert [parcel.listing.name for parcel, *_ in results] == list(KINDS)


def test_large_files_that_arrived_are_not_sent_again(api, hub, path):
    hub.break_next("/api/models/org/net/commit", status=403, method="POST")
    with pytest.raises(PublishError):
        list(publish(pack(path, names=["net"]), api))
    sent = len(hub.asked("Upload=", "PUT"))
    list(publish(pack(path, names=["net"]), api))
    assert sent == 1
    assert len(hub.asked("Upload=", "PUT")) == sent
