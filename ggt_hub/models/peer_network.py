"""Architectures of others, as spandrel has them, to be trained here."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor


class PeerNetwork(ModelMixin, ConfigMixin):
    """A network of one of spandrel's architectures that keeps the size of a picture.

    The names of its tensors have the prefix `module.`, which spandrel takes off: what `save_pretrained` writes is a
    checkpoint that it knows.

    Args:
        architecture: a module of `spandrel.architectures` and the class of that name in it, such as "NAFNet".
        arguments: of that class.

    Raises:
        ValueError: if spandrel is not installed, has no such architecture, or that does not take the arguments.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, architecture: str, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        try:
            found = getattr(import_module(f"spandrel.architectures.{architecture}"), architecture)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"spandrel has no architecture {architecture!r}, or is not installed: pip install 'ggt-hub[peers]'"
            ) from error
        try:
            self.module = found(**(arguments or {}))
        except TypeError as error:
            raise ValueError(f"{architecture} does not take these arguments: {error}") from error

    def forward(self, lq: Tensor) -> Tensor:
        """Restore pictures (B, 3, H, W), 0..1, of sizes that the architecture takes."""
        return self.module(lq)
