"""The wheel carries what `ggt-hub publish` publishes; an editable install finds it in its checkout."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = ("dataset_scripts", "hub.toml", "model_cards", "spaces")


class PublishedSource(BuildHookInterface):
    """Adds these files and folders of the checkout to the package `ggt_hub.publishing`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """What hatchling calls before it builds: `version` is `standard` or `editable`."""
        if version == "standard":
            build_data["force_include"] |= {name: f"ggt_hub/publishing/source/{name}" for name in SOURCE}
