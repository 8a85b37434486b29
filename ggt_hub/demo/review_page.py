"""The page on which people label the candidates of a run: a slider, a few keys, and nothing that gives hints.

It shows neither what was measured nor a prompt, a verdict or who has drawn a candidate.
"""

from contextlib import AbstractContextManager
from typing import Any

from ggt_hub.curation.review import Look, Review, Verdict
from ggt_hub.demo.asking_page import Asked, build_asking_page
from ggt_hub.demo.looker import SCRIPT, under_slider
from ggt_hub.demo.serving import serving_page
from ggt_hub.demo.settings import Settings
from ggt_hub.demo.visitors import Page

_HEADER = """# Is this the photograph, restored?
Keep what could be the truth: the damage is gone, and nothing was added, lost or changed."""

_HELP = """Drag the slider, or hold X to see the photograph alone. Wheel, double click or Z zoom, dragging moves.
Labels are kept at once; go back to change one."""

_LABELS: dict[str, tuple[str, Verdict]] = {
    "k": ("Keep", ("keep", "")),
    "d": ("Damage left", ("refuse", "D")),
    "f": ("Unfaithful", ("refuse", "F")),
    "b": ("Both", ("refuse", "DF")),
    "r": ("Other", ("refuse", "")),
    "u": ("Unsure", ("unsure", "")),
}


def serving_review(review: Review, settings: Settings, **options: Any) -> AbstractContextManager[Page]:
    """Serve the page within a `with`, to as many reviewers as come.

    Args:
        review: what is shown and said.
        settings: by which names the server may be called.
        **options: `server_name`, `server_port`, `inbrowser` and others of `gradio.Blocks.launch`.
    """

    def show(turn: Look) -> str:
        return under_slider(*review.pictures(turn))

    asked = Asked(review, show, _HEADER, _HELP, _LABELS, back="arrowleft", on="arrowright")
    return serving_page(lambda _: build_asking_page("ggt-hub review", asked), settings, SCRIPT, **options)
