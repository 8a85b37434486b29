"""Whether the parts of a restorer belong together."""

from collections.abc import Iterable
from typing import Any

from ggt_hub.errors import RestorerError

Meeting = tuple[str, Any, str, Any]
"""Where two parts meet: what the one gives, and what the other takes, each after its name."""


def check_parts(meetings: Iterable[Meeting]) -> None:
    """Refuse parts that do not belong together, before one of them stumbles in the middle of a call.

    Raises:
        RestorerError: naming two sizes that should be equal.
    """
    for what, found, where, wanted in meetings:
        if found != wanted:
            raise RestorerError(
                f"these parts do not belong together: {what} is {found}, {where} {wanted}; take all parts from "
                "one release, or write the layout again"
            )
