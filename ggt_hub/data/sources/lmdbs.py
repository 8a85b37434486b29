"""LMDB as BasicSR keeps pictures in it: one environment for each side, `meta_info.txt` beside the data."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.builder import Key

from ggt_hub.data.pairs import PAIR_FEATURES, pair_row
from ggt_hub.data.recognising.pairing import pair_up
from ggt_hub.data.sources.versions import with_version
from ggt_hub.data.storage.archives import Member
from ggt_hub.data.storage.trees import File, local_tree
from ggt_hub.errors import DatasetError
from ggt_hub.images import read_image

DATA, META = "data.mdb", "meta_info.txt"
_SUFFIX = ".lmdb"
_MAP_SIZE = 2**40  # of the address space, not of the disk
_ROWS_AT_ONCE = 16


def write(folder: Path, pictures: Iterable[tuple[str, bytes]]) -> None:
    """Write an environment: keys are names without ending, values the files as they are.

    Raises:
        DatasetError: if the package lmdb is not installed, or two pictures have one name.
    """
    lines = []
    with (
        _lmdb().open(str(folder), map_size=_MAP_SIZE, lock=False) as environment,
        environment.begin(write=True) as all_,
    ):
        for name, data in pictures:
            if not all_.put(name.encode(), data, overwrite=False):
                raise DatasetError(
                    f"two pictures have the name {name!r} in {folder.name}: give them other ids"
                )
            width, height = read_image(data, name=name).size
            lines.append(f"{name}.png ({height},{width},3) 1\n")
    (folder / META).write_text("".join(lines), encoding="utf-8")


def find(folder: str | Path) -> list[Path]:
    """The environments below a folder, or the folder itself if it is one."""
    return sorted(path.parent for path in Path(folder).rglob(DATA) if path.parent.suffix == _SUFFIX)


class PairLmdb(datasets.ArrowBasedBuilder):
    """Pairs in LMDB; sides and splits are told by the names of the environments (`train_lq.lmdb`)."""

    BUILDER_CONFIGS = (datasets.BuilderConfig(name="default", version="1.0.0"),)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        version = with_version("pairs", None, kwargs)
        version["config_id"] = version.pop("revision")
        super().__init__(*args, **version)

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=PAIR_FEATURES)

    def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
        root = Path(self.config.data_dir)
        members = [
            Member(
                f"{path.relative_to(root).as_posix().removesuffix(_SUFFIX)}/{key}",
                key,
                File(str(path), 0, str(path)),
            )
            for path in find(root)
            for key in _keys(path)
        ]
        splits: dict[str, list[tuple[str, ...]]] = {}
        for pair in pair_up(members).pairs:
            gt = (pair.gt.file.uri, pair.gt.name) if pair.gt else ()
            splits.setdefault(pair.split, []).append((pair.key, pair.lq.file.uri, pair.lq.name, *gt))
        return [
            datasets.SplitGenerator(name=name, gen_kwargs={"pairs": pairs}) for name, pairs in splits.items()
        ]

    def _generate_tables(self, pairs: list[tuple[str, ...]]) -> Iterator[tuple[Key, pa.Table]]:
        for start in range(0, len(pairs), _ROWS_AT_ONCE):
            rows = []
            for key, *places in pairs[start : start + _ROWS_AT_ONCE]:
                lq, *gt = (_value(*places[n : n + 2]) for n in range(0, len(places), 2))
                rows.append(
                    pair_row(key, _picture(lq), _picture(gt[0]) if gt else None, source=self.dataset_name)
                )
            yield Key(0, start), pa.Table.from_pylist(rows, PAIR_FEATURES.arrow_schema)


def _picture(data: bytes) -> dict[str, Any]:
    return {"bytes": data, "path": None}


def _keys(path: Path) -> list[str]:
    with _opened(path) as environment, environment.begin() as reading:
        return [key.decode() for key in reading.cursor().iternext(values=False)]


def _value(path: str, key: str) -> bytes:
    with _opened(Path(path)) as environment, environment.begin() as reading:
        return reading.get(key.encode())


def _opened(path: Path) -> Any:
    lmdb = _lmdb()
    try:
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DatasetError(f"{path} cannot be read as LMDB: {error}") from error


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise DatasetError("LMDB needs the package lmdb: pip install 'ggt-hub[lmdb]'") from error
    return lmdb


def holds_lmdb(folder: str | Path) -> bool:
    """Whether a folder holds LMDB environments."""
    return any(file.path.endswith(f"{_SUFFIX}/{DATA}") for file in local_tree(folder).files)
