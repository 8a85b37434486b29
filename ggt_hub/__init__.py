"""Real-world image restoration, native to the Hugging Face libraries.

Names are imported on first use, so `import ggt_hub` costs milliseconds and does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggt_hub.images import read_image, write_image
    from ggt_hub.pipelines import RestorerPipeline

__version__ = "0.1.0"

_HOME = {
    "RestorerPipeline": "ggt_hub.pipelines",
    "read_image": "ggt_hub.images",
    "write_image": "ggt_hub.images",
}

__all__ = ["RestorerPipeline", "__version__", "read_image", "write_image"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ggt_hub' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
