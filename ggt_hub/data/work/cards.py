"""The card of a folder of Parquet files: for `datasets`, for the Hub's viewer, and for people."""

from collections import Counter
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetInfo, Features
from datasets.info import DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from huggingface_hub import DatasetCardData

from ggt_hub.data.pairs import POINTER_COLUMNS
from ggt_hub.data.reading.parts import ALL
from ggt_hub.data.recognising.words import SPLITS
from ggt_hub.data.terms import NOTES, sources_of
from ggt_hub.data.work.card_file import update_card, write_given_card

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LIMITS = (
    "Pairs are as their authors made them; generated ground truth may invent detail that was never there."
)

_Configs = dict[str, dict[str, list[Path]]]


def write_card(
    folder: Path,
    card: Path | None = None,
    name: str | None = None,
    how: str | None = None,
    sheet: str = "",
    about: str | None = None,
    limits: str | None = None,
) -> None:
    """Write the card of `folder/data/CONFIG/SPLIT*.parquet`: pictures, or an index that points at them.

    Of a card that is there already only what ggt-hub generates is brought up to date: see `card_file.py`.

    Args:
        folder: the data; gets a `README.md`.
        card: a card whose text and header are taken over, but for configs and numbers, which are always those of
            the data. Without it a plain text is made.
        name: what the data set will be called; that of the folder if not given.
        how: how the damage was made, in Markdown; without it the pairs were exported.
        sheet: a picture in the folder that shows some of the pairs.
        about: what the data is, where it is neither pairs that were exported nor such that were made.
        limits: what is wrong with it, likewise.

    Raises:
        DatasetError: if the card that is there, or that was given, has a header that is no YAML.
    """
    name = name or folder.resolve().name
    configs = _find_configs(folder)
    first = next(path for splits in configs.values() for paths in splits.values() for path in paths)
    is_index = f"lq_{next(iter(POINTER_COLUMNS))}" in pq.read_schema(first).names
    if is_index and len(configs) > 1:
        configs = {ALL: _merged(configs), **configs}
    sources = sources_of(path for splits in configs.values() for paths in splits.values() for path in paths)
    notes = [NOTES[source] for source in sources if source in NOTES]
    title = " + ".join(note.title for note in notes) or name
    counts = {config: {s: _rows(paths) for s, paths in splits.items()} for config, splits in configs.items()}
    header = _header(folder, configs, counts, title, notes)
    if card is not None:
        write_given_card(folder, header, card)
        return
    text = _template().render(
        title=f"{title}, an index" if is_index else title,
        about=about or (_ABOUT_MADE if how else _ABOUT_INDEX if is_index else _ABOUT_PAIRS),
        how=how or (_HOW_INDEX if is_index else _HOW_PAIRS),
        sheet=sheet,
        has_quality="quality" in pq.read_schema(first).names and (folder / "quality.json").is_file(),
        has_tasks="tasks" in pq.read_schema(first).names,
        tasks=_tasks(path for splits in configs.values() for paths in splits.values() for path in paths),
        limits=limits or (_LIMITS_MADE if how else _LIMITS),
        counts=counts,
        load=f"NAMESPACE/{name}",
        first_split=next(iter(next(iter(configs.values())))),
        is_index=is_index,
        notes=notes,
    )
    unknown = [source for source in sources if source not in NOTES]
    update_card(folder, header, text, _YOURS.format(sources=", ".join(unknown)) if unknown else "")


_YOURS = """\
## Licence of the sources

The sources of these pairs ({sources}) are not known to the tool that wrote this card: state their licence here and
in the header before you share them, and whom to ask for removal."""

_ABOUT_PAIRS = """\
Pairs of a low-quality picture and its ground truth, in Parquet, the picture files byte for byte as published."""
_ABOUT_MADE = """\
Pairs of a damaged picture and the clean one that it was made of, in Parquet."""
_LIMITS_MADE = "The damage is synthetic: a restorer that undoes it may meet other damage in real photographs."
_HOW_PAIRS = """\
Written by `ggt-hub data export`. No picture was re-encoded; `SHA256SUMS` covers the files, and the SHA-256 of each
picture stands in its row, so that `ggt-hub data verify` finds a single changed byte."""
_ABOUT_INDEX = """\
Rows that point at the pictures in the authors' own archives and hold none of them. The stock `datasets` library
reads them picture by picture, which is right for browsing; `ggt_hub.iter_pairs` reads the same rows at the speed
of decoding."""
_HOW_INDEX = """\
Written by `ggt-hub data index` from the central directories of the archives alone. `index.json` says which
repository and commit, how pictures were paired, and what could not be paired."""


def _find_configs(folder: Path) -> _Configs:
    """The files of each split of each config, splits in the usual order."""
    configs: _Configs = {}
    for path in sorted((folder / "data").glob("*/*.parquet")):
        if path.name.startswith(".") or not _holds_pairs(path):
            continue
        split = SPLITS.get(path.stem.split("-")[0], "train")
        configs.setdefault(path.parent.name, {}).setdefault(split, []).append(path)
    order = list(dict.fromkeys(SPLITS.values()))
    return {
        config: dict(sorted(splits.items(), key=lambda item: order.index(item[0])))
        for config, splits in configs.items()
    }


def _holds_pairs(path: Path) -> bool:
    """Whether a table is of the pair schema; others are not ours to describe."""
    try:
        return {"id", "lq", "gt", "source"} <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowInvalid):
        return False


def _tasks(paths: Iterable[Path]) -> dict[str, int]:
    """How many pairs there are of each task; those of unknown task are not counted."""
    columns = [pq.read_table(path, columns=["task"])["task"] for path in dict.fromkeys(paths)]
    counts = Counter(task.as_py() for column in columns for task in column)
    return {str(task): count for task, count in sorted(counts.items(), key=str) if task is not None}


def _merged(configs: _Configs) -> dict[str, list[Path]]:
    splits = dict.fromkeys(split for config in configs.values() for split in config)
    return {s: [path for config in configs.values() for path in config.get(s, [])] for s in splits}


def _rows(paths: list[Path]) -> int:
    return sum(pq.read_metadata(path).num_rows for path in paths)


def _header(
    folder: Path, configs: _Configs, counts: dict[str, dict[str, int]], title: str, notes: list[Any]
) -> DatasetCardData:
    """The YAML that the Hub and `datasets` read."""
    total = sum(max(counts.values(), key=lambda splits: sum(splits.values())).values())
    licences = sorted({note.licence for note in notes}) or ["unknown"]
    header = DatasetCardData(
        pretty_name=title,
        license=licences[0] if len(licences) == 1 else licences,
        task_categories=["image-to-image"],
        tags=["image-restoration", "paired-images"],
        size_categories=[next((name for limit, name in _SIZES if total < limit), "n>1M")],
    )
    header["configs"] = [
        {
            "config_name": config,
            **({"default": True} if config in (ALL, "default") else {}),
            "data_files": [
                {"split": split, "path": [path.relative_to(folder).as_posix() for path in paths]}
                for split, paths in splits.items()
            ],
        }
        for config, splits in configs.items()
    ]
    infos = {config: _info(config, splits, counts[config]) for config, splits in configs.items()}
    DatasetInfosDict(infos).to_dataset_card_data(header)
    return header


def _info(config: str, splits: dict[str, list[Path]], counts: dict[str, int]) -> DatasetInfo:
    paths = [path for files_of_split in splits.values() for path in files_of_split]
    sizes = {split: sum(path.stat().st_size for path in paths) for split, paths in splits.items()}
    return DatasetInfo(
        config_name=config,
        features=Features.from_arrow_schema(pq.read_schema(paths[0])),
        splits=SplitDict({s: SplitInfo(s, sizes[s], counts[s]) for s in splits}),
        download_size=sum(sizes.values()),
        dataset_size=sum(sizes.values()),
    )


def _template() -> jinja2.Template:
    source = (files("ggt_hub.data") / "card.md").read_text(encoding="utf-8")
    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(source)  # noqa: S701 - Markdown
