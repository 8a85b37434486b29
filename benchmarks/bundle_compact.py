"""Put trained weights into the package, in half precision.

python benchmarks/bundle_compact.py runs/compact/model
"""

import sys

from ggt_hub.models import CompactRestorer
from ggt_hub.pipelines import CompactRestorerPipeline
from ggt_hub.pipelines.layouts import BUNDLED


def _arguments(network: CompactRestorer) -> dict:
    """What the network was made with, without the folder that it came from."""
    return {name: network.config[name] for name in ("channels", "blocks", "condition_width")}


def main() -> None:
    trained = CompactRestorer.from_pretrained(sys.argv[1])
    network = CompactRestorer(**_arguments(trained))
    network.load_state_dict(trained.state_dict())
    CompactRestorerPipeline(network.half()).save_pretrained(BUNDLED / "compact")


if __name__ == "__main__":
    main()
