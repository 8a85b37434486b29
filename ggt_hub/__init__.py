"""Real-world image restoration, native to the Hugging Face libraries.

Names are imported on first use, so `import ggt_hub` costs milliseconds and does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggt_hub.data.reading.iterate import iter_pairs
    from ggt_hub.data.reading.loading import (
        get_dataset_config_names,
        get_dataset_split_names,
        load_dataset,
        load_dataset_builder,
    )
    from ggt_hub.data.reading.registration import register_datasets, unregister_datasets
    from ggt_hub.images import read_image, write_image
    from ggt_hub.pipelines import RestorerPipeline

__version__ = "0.1.0"

_HOME = {
    "RestorerPipeline": "ggt_hub.pipelines",
    "get_dataset_config_names": "ggt_hub.data.reading.loading",
    "get_dataset_split_names": "ggt_hub.data.reading.loading",
    "iter_pairs": "ggt_hub.data.reading.iterate",
    "load_dataset": "ggt_hub.data.reading.loading",
    "load_dataset_builder": "ggt_hub.data.reading.loading",
    "read_image": "ggt_hub.images",
    "register_datasets": "ggt_hub.data.reading.registration",
    "unregister_datasets": "ggt_hub.data.reading.registration",
    "write_image": "ggt_hub.images",
}

__all__ = [
    "RestorerPipeline",
    "__version__",
    "get_dataset_config_names",
    "get_dataset_split_names",
    "iter_pairs",
    "load_dataset",
    "load_dataset_builder",
    "read_image",
    "register_datasets",
    "unregister_datasets",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ggt_hub' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
