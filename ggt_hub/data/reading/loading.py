"""`load_dataset` and its companions: the stock functions, and the names that ggt-hub adds to them."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from ggt_hub.data.guard import guard_uploads
from ggt_hub.data.sources.folder import PairFolder, holds_tables, is_pair_folder
from ggt_hub.data.sources.ggt_100k import GGT100K
from ggt_hub.data.sources.lmdbs import PairLmdb, holds_lmdb
from ggt_hub.data.sources.realir_bench import RealIRBench
from ggt_hub.data.sources.tables import PairTables
from ggt_hub.errors import DatasetError


@dataclass(frozen=True)
class Source:
    """A data set that can be loaded by name.

    Attributes:
        builder: what makes its rows.
        about: one line for people.
        is_released: whether its authors have published it; if not, `data_dir` must say where a copy is.
        instead: how to come by such data where they have not.
    """

    builder: type[datasets.DatasetBuilder]
    about: str
    is_released: bool = True
    instead: str = ""


SOURCES = {
    "ggt-100k": Source(GGT100K, "103,707 real photographs with generated ground truth (arXiv 2605.31039)"),
    "realir-bench": Source(RealIRBench, "464 real photographs of nine tasks, no ground truth (2603.25502)"),
    "pairs": Source(PairFolder, "pairs of your own, in the folder given by data_dir", is_released=False),
    "realrestorer": Source(
        PairFolder, "training pairs of RealRestorer (arXiv 2603.25502)", is_released=False
    ),
    "genir": Source(
        PairFolder,
        "DreamClear's million generated pictures (2410.18666), or one's own",
        is_released=False,
        instead="make some by `ggt-hub curate run genir`, or, ",
    ),
}


def find_builder(
    path: str, data_dir: str | None = None, data_files: Any = None
) -> tuple[type[datasets.DatasetBuilder], dict[str, Any]] | None:
    """Find what loads `path` here: a builder class and arguments for it; None if the stock library does.

    The names of `SOURCES` are never folders: `./pairs` is one. Any other word is a folder if there is one, as in
    the stock library.

    Raises:
        DatasetError: if the authors have not released that data set, and no `data_dir` is given.
    """
    if data_files is not None:
        return None
    entry = SOURCES.get(path)
    if entry is None:
        if Path(path).is_dir() and data_dir is None and is_pair_folder(path):
            return PairFolder, {"data_dir": str(path), "dataset_name": Path(path).resolve().name}
        return None
    if data_dir is None and not entry.is_released:
        here = f" (the folder here of that name is './{path}')" if Path(path).is_dir() else ""
        raise DatasetError(
            f"{path!r} ({entry.about}) is not published: {entry.instead}if you have such data, give its folder by "
            f"data_dir={here}"
        )
    builder = entry.builder
    if builder is PairFolder and data_dir is not None:
        builder = PairTables if holds_tables(data_dir) else PairLmdb if holds_lmdb(data_dir) else builder
    return builder, {"dataset_name": path, "data_dir": data_dir}


def load_dataset(path: str, *args: Any, **kwargs: Any) -> Any:
    """Load pairs by name or from a folder; any other name goes to `datasets.load_dataset` as it is.

    The arguments are those of `datasets.load_dataset`. For the names of `SOURCES` there are further ones:
    `max_pairs`, `validation` and `by_order` (see `indexed.IndexedConfig`).

    Example:
        load_dataset("ggt-100k", "rain", split="train", streaming=True)
        load_dataset("my/pairs", split="train")

    Raises:
        DatasetError: if the data cannot be read as pairs, or has not been released.
        HubError: if exactly the revision asked for cannot be had.
    """
    guard_uploads()
    call = _bind(datasets.load_dataset, path, args, kwargs)
    if path not in SOURCES and Path(path).is_dir() and call.get("revision") is not None:
        raise DatasetError(f"the folder {path} has no revisions: leave out revision=, or name a repository")
    if find_builder(path, call.get("data_dir"), call.get("data_files")) is None:
        return datasets.load_dataset(path, *args, **kwargs)
    after = {
        name: call.pop(name, None) for name in ("split", "num_proc", "verification_mode", "keep_in_memory")
    }
    streaming, _ = call.pop("streaming", False), call.pop("save_infos", False)
    builder = load_dataset_builder(**call)
    if str(call.get("download_mode")) in ("force_redownload", str(datasets.DownloadMode.FORCE_REDOWNLOAD)):
        builder.is_refreshed = True
    if streaming:
        return builder.as_streaming_dataset(split=after["split"])
    builder.download_and_prepare(
        download_mode=call.get("download_mode"),
        verification_mode=after["verification_mode"],
        num_proc=after["num_proc"],
    )
    return builder.as_dataset(split=after["split"], in_memory=bool(after["keep_in_memory"]))


def load_dataset_builder(path: str, *args: Any, **kwargs: Any) -> Any:
    """Make the builder of a data set without loading it; see `load_dataset`."""
    guard_uploads()
    call = _bind(datasets.load_dataset_builder, path, args, kwargs)
    found = find_builder(path, call.get("data_dir"), call.get("data_files"))
    if found is None:
        return datasets.load_dataset_builder(path, *args, **kwargs)
    builder, arguments = found
    for name in ("path", "data_dir", "data_files", "download_config", "download_mode", "trust_remote_code"):
        call.pop(name, None)
    name = call.pop("name", None)
    known = [config.name for config in builder.BUILDER_CONFIGS]
    if name not in (None, *known):
        raise DatasetError(f"{path!r} has no config {name!r}; it has {', '.join(known)}")
    return builder(config_name=name, **arguments, **call)


def get_dataset_config_names(path: str, *args: Any, **kwargs: Any) -> list[str]:
    """List the configs of a data set; see `load_dataset`."""
    call = _bind(datasets.get_dataset_config_names, path, args, kwargs)
    found = find_builder(path, call.get("data_dir"), call.get("data_files"))
    if found is None:
        return datasets.get_dataset_config_names(path, *args, **kwargs)
    return [config.name for config in found[0].BUILDER_CONFIGS]


def get_dataset_split_names(path: str, *args: Any, **kwargs: Any) -> list[str]:
    """List the splits of a config; see `load_dataset`."""
    call = _bind(datasets.get_dataset_split_names, path, args, kwargs)
    if find_builder(path, call.get("data_dir"), call.get("data_files")) is None:
        return datasets.get_dataset_split_names(path, *args, **kwargs)
    call["name"] = call.pop("config_name", None)
    builder = load_dataset_builder(**call)
    return [generator.name for generator in builder._split_generators(None)]


def _bind(
    function: Callable[..., Any], path: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Name the arguments of a call, further keyword arguments among them."""
    signature = inspect.signature(function)
    call = dict(signature.bind(path, *args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            call |= call.pop(parameter.name, {})
    return call
