"""One HTML file with everything in it: scores in tables, pictures under before/after sliders."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from ggt_hub.commit import commit_text
from ggt_hub.images import read_image
from ggt_hub.images.shown import shown_rgb

Cell = str | float | int | None

_THUMBNAIL, _GAP = 160, 2


@dataclass(frozen=True)
class Comparison:
    """A picture before and after, shown under a slider.

    Attributes:
        title: its heading.
        before: the picture on the left; anything that `read_image` takes (a path, PIL, array, Picture, ...).
        after: the picture on the right; shown at the size of the larger of the two.
        reference: the true picture, if there is one; a button shows it in place of `after`.
        caption: a sentence below the title.
        numbers: facts shown as name and value, such as `{"PSNR": "24.1 to 29.8 dB"}`.
        group: neighbouring comparisons of one group share a section with this heading.
    """

    title: str
    before: Any
    after: Any
    reference: Any = None
    caption: str = ""
    numbers: Mapping[str, Cell] = field(default_factory=dict)
    group: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; None and NaN are shown as a dash.

    Of all tables with a `choice` one is shown at a time, chosen by it from a list; without scripts all are.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    choice: str = ""


@dataclass(frozen=True)
class Sheet:
    """Many pictures, small, each before and after side by side.

    Attributes:
        title: its heading.
        pictures: before, after (as of `Comparison`), and a caption.
        note: a sentence below the heading.
    """

    title: str
    pictures: Sequence[tuple[Any, Any, str]]
    note: str = ""


def write_report(
    path: str | Path,
    *,
    title: str,
    items: Sequence[Comparison] = (),
    tables: Sequence[Table] = (),
    summary: str = "",
    figures: Sequence[str] = (),
    sheets: Sequence[Sheet] = (),
    max_side: int = 1024,
) -> Path:
    """Write a report as one HTML file that needs no other file and no network.

    All text is escaped. Pictures are reduced to `max_side` and embedded as JPEG of quality 90 in
    full colour resolution, 0.1 to 0.5 MB each at 1024 pixels; scores should be computed before, from the
    pictures themselves.

    Args:
        path: where to; the folder must exist. An existing file is replaced in one step.
        title: the page's heading.
        items: comparisons, in order.
        tables: shown above the comparisons.
        summary: a paragraph below the heading.
        figures: plots as SVG markup of our own making; embedded as they are, not escaped.
        sheets: contact sheets, above the comparisons.
        max_side: the longer side of embedded pictures, in pixels.

    Returns:
        The path written.

    Raises:
        ImageError: if a picture cannot be read.
        WriteError: if the file cannot be written.
    """
    cards = [_card(item, max_side) for item in items]
    groups = [(name, list(members)) for name, members in groupby(cards, key=lambda card: card["group"])]
    contacts = [
        (sheet, [(_pair_uri(*pair), caption) for *pair, caption in sheet.pictures]) for sheet in sheets
    ]
    page = _template().render(
        title=title, summary=summary, tables=tables, figures=figures, sheets=contacts, groups=groups
    )
    path = Path(path)
    commit_text(path.resolve(), page)
    return path


def format_cell(value: Cell) -> str:
    """A number with the digits that scores need, a dash for what is missing, text as it is.

    Example:
        >>> [format_cell(v) for v in (31.2345, 0.87654, 12, float("nan"), "psnr")]
        ['31.23', '0.8765', '12', '–', 'psnr']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = format_cell
    environment.tests["numeric"] = lambda value: value is None or isinstance(value, int | float)
    source = files("ggt_hub.reports") / "report.html"
    return environment.from_string(source.read_text(encoding="utf-8"))


def _card(item: Comparison, max_side: int) -> dict[str, Any]:
    pictures = {"before": item.before, "after": item.after, "reference": item.reference}
    shown = {name: _displayable(source) for name, source in pictures.items() if source is not None}
    width, height = max((picture.size for picture in shown.values()), key=lambda size: size[0] * size[1])
    scale = min(1.0, max_side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return {
        "title": item.title,
        "caption": item.caption,
        "numbers": item.numbers,
        "group": item.group,
        "width": size[0],
        "height": size[1],
        "pictures": {name: _data_uri(picture, size) for name, picture in shown.items()},
    }


def _displayable(source: Any) -> Image.Image:
    """An RGB picture with the profile that says which RGB; transparency is laid on white."""
    picture = read_image(source)
    image = Image.fromarray(shown_rgb(picture))
    if picture.icc and not picture.is_grey:
        image.info["icc_profile"] = picture.icc
    return image


def _pair_uri(before: Any, after: Any) -> str:
    """Two pictures side by side, as thumbnails of one size."""
    small = [_displayable(source) for source in (before, after)]
    for image in small:
        image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    width = max(image.width for image in small)
    pair = Image.new("RGB", (2 * width + _GAP, max(image.height for image in small)), "white")
    for place, image in enumerate(small):
        pair.paste(image, (place * (width + _GAP), 0))
    return _data_uri(pair, pair.size)


def _data_uri(image: Image.Image, size: tuple[int, int]) -> str:
    # A picture that was restored at twice the size is compared with its input blown up by the browser,
    # so only what is too large is resampled here.
    smaller = image.resize(size, Image.Resampling.LANCZOS) if image.width > size[0] else image
    buffer = io.BytesIO()
    # Full colour resolution: halved, as WebP and most JPEGs have it, colour noise would look restored.
    smaller.save(buffer, "JPEG", quality=90, subsampling=0, icc_profile=image.info.get("icc_profile"))
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
