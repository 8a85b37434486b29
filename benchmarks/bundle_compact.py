"""Put trained weights into the package, in half precision: the restorer, its told parts, and the detector.

python benchmarks/bundle_compact.py runs/wide/model --parts runs/haze/model --parts runs/rain/model \
    --detector runs/detector/model
"""

import argparse
from pathlib import Path

from ggt_hub.models import CompactRestorer, Detector, ToldParts
from ggt_hub.pipelines import CompactRestorerPipeline
from ggt_hub.pipelines.layouts import BUNDLED


def arguments_of(network: CompactRestorer, *names: str) -> dict:
    """What a network was made with, without the folder that it came from."""
    return {name: network.config[name] for name in names}


def merged(folders: list[Path], restorer: CompactRestorer) -> ToldParts | None:
    """All parts as one network."""
    trained = [ToldParts.from_pretrained(folder) for folder in folders]
    if not trained:
        return None
    ranks = {task: rank for parts in trained for task, rank in parts.config["ranks"].items()}
    together = ToldParts(
        ranks=ranks, **arguments_of(restorer, "channels", "blocks"), width=trained[0].config["width"]
    )
    together.load_state_dict(
        {name: tensor for parts in trained for name, tensor in parts.state_dict().items()}
    )
    return together.half()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("restorer", type=Path)
    parser.add_argument("--parts", type=Path, action="append", default=[])
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--caution", type=float, default=0.8, help="so that about one in twenty is an alarm")
    given = parser.parse_args()
    trained = CompactRestorer.from_pretrained(given.restorer)
    restorer = CompactRestorer(**arguments_of(trained, "channels", "blocks", "condition_width"))
    restorer.load_state_dict(trained.state_dict())
    detector = None
    if given.detector:
        judge = Detector.from_pretrained(given.detector)
        detector = Detector(**arguments_of(judge, "channels", "width"), caution=given.caution)
        detector.load_state_dict(judge.state_dict())
        detector = detector.half()
    pipe = CompactRestorerPipeline(restorer.half(), merged(given.parts, trained), detector)
    pipe.save_pretrained(BUNDLED / "compact")


if __name__ == "__main__":
    main()
