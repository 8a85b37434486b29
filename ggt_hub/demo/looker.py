"""Pictures that one looks at closely: a slider over two, or several side by side, under one zoom.

`looker.html` is the script: wheel, double click and buttons zoom, dragging moves, in all pictures alike; it also
lets keys press the buttons of a page.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr

SCRIPT = Path(__file__).parent / "looker.html"

_TOOLS = """\
<div class="tools" role="group" aria-label="Zoom">
<button type="button" data-zoom="fit" title="Z">Fit</button>
<button type="button" data-zoom="1" title="Z">100 %</button>
<button type="button" data-zoom="2">200 %</button>
<button type="button" data-zoom="4">400 %</button>
</div>"""


def under_slider(before: bytes, after: bytes) -> str:
    """Markup of two pictures, PNG, under a before/after slider."""
    pictures = _image("before", before) + _image("after", after)
    handle = (
        '<div class="divider" role="slider" tabindex="0" aria-label="Boundary between before and after" '
        'aria-valuemin="0" aria-valuemax="100" aria-valuenow="50"></div>'
    )
    tags = '<span class="tag left">photograph</span><span class="tag right">candidate</span>'
    return f'<div class="looker slider"><div class="stage">{pictures}{handle}{tags}</div>{_TOOLS}</div>'


def side_by_side(pictures: Sequence[tuple[str, bytes]]) -> str:
    """Markup of pictures, PNG, each with a word, that move together."""
    frames = "".join(
        f'<div class="stage">{_image(word, data)}<span class="tag left">{escape(word)}</span></div>'
        for word, data in pictures
    )
    return f'<div class="looker side"><div class="frames">{frames}</div>{_TOOLS}</div>'


def words(text: str) -> str:
    """Markup of a sentence where there is no picture to look at."""
    return f'<div class="looker"><p class="words">{escape(text)}</p></div>'


def key_button(key: str, text: str) -> gr.Button:
    """A button that a key presses, too; it says which."""
    shown = {"arrowleft": "←", "arrowright": "→"}.get(key, key.upper())
    return gr.Button(f"{text} ({shown})", elem_id=f"key-{key}", min_width=90)


def _image(word: str, data: bytes) -> str:
    # Within the page: no address tells whose picture it is, and nothing is left behind.
    source = "data:image/png;base64," + base64.b64encode(data).decode()
    return f'<img class="{escape(word)}" alt="{escape(word)}" draggable="false" src="{source}">'
