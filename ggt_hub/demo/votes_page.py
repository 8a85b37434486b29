"""The page on which people vote: two results of one picture side by side, whose is not said.

Generators that are compared and rows of a leaderboard are voted on here alike.
"""

from contextlib import AbstractContextManager
from typing import Any

from ggt_hub.demo.asking_page import Asked, build_asking_page
from ggt_hub.demo.looker import SCRIPT, side_by_side
from ggt_hub.demo.serving import serving_page
from ggt_hub.demo.settings import Settings
from ggt_hub.demo.visitors import Page
from ggt_hub.evaluation.votes import Duel, Preferred, Voting

_HEADER = """# Which is the better restoration?
Of the same scene: less damage, and nothing added, lost or changed."""

_HELP = """Wheel, double click or Z zoom in all three, dragging moves.
Votes are kept at once; go back to change one."""

_VOTES: dict[str, tuple[str, Preferred]] = {
    "arrowleft": ("Left", "left"),
    "t": ("Tie", "tie"),
    "arrowright": ("Right", "right"),
}


def serving_votes(voting: Voting, settings: Settings, **options: Any) -> AbstractContextManager[Page]:
    """Serve the page within a `with`, to as many voters as come; arguments as of `serving_review`."""

    def show(turn: Duel) -> str:
        left, photograph, right = voting.pictures(turn)
        return side_by_side([("left", left), ("photograph", photograph), ("right", right)])

    asked = Asked(voting, show, _HEADER, _HELP, _VOTES, back="b", on="n")
    return serving_page(lambda _: build_asking_page("ggt-hub votes", asked), settings, SCRIPT, **options)
