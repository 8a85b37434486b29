"""`register_datasets`: the stock `datasets.load_dataset` learns the names of ggt-hub."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import datasets.inspect
import datasets.load
from datasets.load import DatasetModule

from ggt_hub.data.guard import guard_uploads
from ggt_hub.data.reading.loading import find_builder
from ggt_hub.data.sources.versions import code_hash

logger = logging.getLogger(__name__)

# `datasets` has no hook for loaders. Both modules look names up with this function, of which we rely on:
_RESOLVER = "dataset_module_factory"
_PARAMETERS = ["path", "revision", "download_config", "download_mode", "data_dir", "data_files", "cache_dir"]
_OURS = "_ggt_hub"
_MODULES = (datasets.load, datasets.inspect)


def register_datasets() -> bool:
    """Make `datasets.load_dataset("ggt-100k")` and the like do what `ggt_hub.load_dataset` does.

    Only the names that ggt-hub adds are answered here; `unregister_datasets` undoes it.

    Returns:
        Whether it worked. A version of `datasets` that looks names up otherwise is left alone, with a warning.
    """
    stock: Any = getattr(datasets.load, _RESOLVER, None)
    if getattr(stock, _OURS, False):
        return True
    if (
        hasattr(stock, "__wrapped__")
        or not _is_known(stock)
        or any(getattr(module, _RESOLVER, None) is not stock for module in _MODULES)
    ):
        logger.warning(
            "datasets %s looks names up in a way that ggt-hub does not know, or somebody has changed how: "
            "it was left as it is, use ggt_hub.load_dataset",
            datasets.__version__,
        )
        return False
    guard_uploads()
    for module in _MODULES:
        setattr(module, _RESOLVER, _with_our_names(stock))
    return True


def unregister_datasets() -> None:
    """Undo `register_datasets`."""
    for module in _MODULES:
        resolver = getattr(module, _RESOLVER)
        if getattr(resolver, _OURS, False):
            setattr(module, _RESOLVER, resolver.__wrapped__)


def _is_known(resolver: Any) -> bool:
    if not callable(resolver):
        return False
    parameters = list(inspect.signature(resolver).parameters.values())
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD] == _PARAMETERS


def _with_our_names(stock: Callable[..., DatasetModule]) -> Callable[..., DatasetModule]:
    @functools.wraps(stock)
    def resolve(path: str, *args: Any, **kwargs: Any) -> DatasetModule:
        call = inspect.signature(stock).bind(path, *args, **kwargs).arguments
        found = find_builder(path, call.get("data_dir"), call.get("data_files"))
        if found is None:
            return stock(path, *args, **kwargs)
        builder, arguments = found
        arguments = {name: value for name, value in arguments.items() if value is not None}
        arguments["revision"] = call.get("revision")
        return DatasetModule(builder.__module__, code_hash(), arguments)

    setattr(resolve, _OURS, True)
    return resolve
