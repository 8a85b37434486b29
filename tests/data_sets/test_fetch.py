"""Many members at once: each is there when its own bytes are, and one that is not keeps nobody waiting."""

import pytest

from ggt_hub.data.storage import ranges
from ggt_hub.data.storage.archives import list_members
from ggt_hub.data.storage.fetch import Fetcher, Wanted
from ggt_hub.data.storage.trees import hub_tree
from ggt_hub.errors import DatasetError, HubError
from tests.data_sets.layouts import picture, write_zip

COUNT = 12


@pytest.fixture
def members(hub, tmp_path, monkeypatch):
    """Twelve pictures in one archive on the local Hub."""
    monkeypatch.setattr(ranges, "PAUSES", (0.0, 0.001))
    write_zip(tmp_path / "a.zip", {f"{n}.png": picture(n) for n in range(COUNT)})
    (archive,) = hub_tree("org/data", hub.add("dataset", "org/data", tmp_path)).files
    return [Wanted(m.file.uri, m.name, m.place) for m in list_members(archive)[0]]


def results(members):
    with Fetcher() as fetcher:
        return [future.result(timeout=30) for future in fetcher.fetch(members)]


def test_neighbours_come_in_one_request_in_the_order_asked_for(hub, members):
    before = len(hub.asked("Signature"))
    order = [7, 0, 11, 3]
    assert results([members[n] for n in order]) == [picture(n) for n in order]
    assert len(hub.asked("Signature")) == before + 1


def test_what_arrived_before_a_server_went_silent_is_there(hub, members):
    arrives = members[5].place.offset + 10 - members[0].place.offset
    hub.break_next("Signature", drop_after=arrives)
    hub.break_next("Signature", status=503, times=1000)
    found = results(members)
    assert found[:5] == [picture(n) for n in range(5)]
    assert {(type(error), "status 503" in str(error)) for error in found[5:]} == {(HubError, True)}


def test_a_damaged_member_costs_its_neighbours_nothing(members):
    wrong = members[4]._replace(place=members[4].place._replace(crc32=1))
    found = results([*members[:4], wrong, *members[5:]])
    assert isinstance(found[4], DatasetError)
    assert "a.zip::4.png: size or CRC-32 differ" in str(found[4])
    assert found[:4] + found[5:] == [picture(n) for n in range(COUNT) if n != 4]


def test_what_nobody_foresaw_reaches_whoever_waits(members, monkeypatch):
    monkeypatch.setattr("ggt_hub.data.storage.fetch.unpack", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        results(members)
