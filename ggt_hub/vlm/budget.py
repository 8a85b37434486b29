"""What may be spent."""

import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from ggt_hub.errors import JudgeError
from ggt_hub.vlm.ledger import Entry, Ledger, Receipt
from ggt_hub.vlm.purses import keep_purse

_ROOM = 100_000_000
"""Bytes: of pictures that eight workers may be waiting for, and of the ledger's log of them."""


@dataclass
class Budget:
    """What may be spent; what was spent is in the ledger, so that it survives the end of a run.

    Attributes:
        max_calls: requests that may be made, failed ones and repeated ones included; None for any number.
        max_cost: what they may cost, in the currency of the prices; None for any amount.
        price_in: price of a million tokens asked.
        price_out: price of a million tokens answered.
        expected: what a request costs, where that is known before; what is in flight counts as much at least.
        ledger: where requests are counted; an `Asker` makes it the one that keeps the replies.
        purse: what the budget belongs to, such as a run.
        folder: of the run, which carries the purse's name from its first request on, see `purses`.
        alone: held by who asks before any price is known.
    """

    max_calls: int | None = None
    max_cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    expected: float = 0.0
    ledger: Ledger = field(default_factory=lambda: Ledger(":memory:"), repr=False)
    purse: str = ""
    folder: Path | None = None
    alone: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def calls(self) -> int:
        """Requests made."""
        return self.ledger.spent(self.purse)[0]

    @property
    def cost(self) -> float:
        """What they cost; those of which it is not known count as much as the dearest."""
        return self.ledger.spent(self.purse)[1]

    def hold(self) -> str:
        """The purse, whose name the folder of its run carries from now on."""
        if self.folder is not None:
            self.purse, self.folder = keep_purse(self.folder, self.purse), None
        return self.purse

    def begin(self, model: str, key: str | None = None) -> int:
        """Count a request that is about to be sent.

        Raises:
            JudgeError: if the budget does not allow it, or there is no room to keep the reply.
        """
        self._check_room()
        return self.ledger.begin_request(
            self.hold(), self.max_calls, self.max_cost, key=key, model=model, expected=self.expected
        )

    def end(self, request: int, receipt: Receipt, key: str | None = None, entry: Entry | None = None) -> None:
        """Note what became of it, and of the question that it asked."""
        self.ledger.end_request(request, receipt, key=key, entry=entry)

    def _check_room(self) -> None:
        """Refuse a full disk before anything is paid: a reply that cannot be kept is lost."""
        path = self.ledger.path
        if path == ":memory:" or (free := shutil.disk_usage(Path(path).absolute().parent).free) >= _ROOM:
            return
        raise JudgeError(
            f"the disk of the ledger {path} has {free / 1e6:.0f} MB left, and a reply that is paid must be kept: "
            f"make room for {_ROOM / 1e6:.0f} MB, or name another by --ledger or GGT_HUB_LEDGER"
        )

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """What a reply costs."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6
