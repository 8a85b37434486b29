"""What servers put where something else should stand."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from ggt_hub.vlm import Ledger, Reply
from ggt_hub.vlm.asking import entry_of
from ggt_hub.vlm.ledger import Receipt

ODD = (
    None,
    0,
    -1,
    1.5,
    10**30,
    True,
    "",
    "x",
    "é",
    "\ud800",
    [],
    {},
    [[]],
    [None],
    [{}],
    ["x"],
    {"a": {"b": [1]}},
)
"""Values; one of the texts is half a letter, which JSON may name and UTF-8 cannot."""


def spoilt(reply: Any) -> Iterator[tuple[str, str]]:
    """The text of a reply with something odd in each place, one at a time, and which place that is."""
    for path in _paths(reply):
        for value in ODD:
            changed = copy.deepcopy(reply)
            within = changed
            for name in path[:-1]:
                within = within[name]
            within[path[-1]] = value
            yield json.dumps(changed), f"{path}: {value!r}"


def keeps(ledger: Ledger, reply: Reply) -> bool:
    """Whether a ledger has kept a reply as it came."""
    ledger.claim("k")
    receipt = Receipt("billed", reply.cost, reply.usage, reply.request_id)
    ledger.end_request(
        ledger.begin_request("", None, None, key="k"), receipt, key="k", entry=entry_of(reply, None)
    )
    known = ledger.claim("k")
    ledger._connection.execute("DELETE FROM questions")
    return known == entry_of(reply, None)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield from _paths(one, (*path, name))
