"""Put trained weights into the package, in half precision: restorer, told parts, detector and quality prior.

python benchmarks/bundle_compact.py runs/wide/model --parts runs/haze/model --parts runs/rain/model --rank 7 \
    --detector runs/detector/model --prior runs/dial/model
"""

import argparse
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor

from ggt_hub.models import CompactRestorer, Detector, QualityPrior, ToldParts
from ggt_hub.pipelines import CompactRestorerPipeline
from ggt_hub.pipelines.layouts import BUNDLED


def arguments_of(network: ModelMixin, *names: str) -> dict:
    """What a network was made with, without the folder that it came from."""
    return {name: network.config[name] for name in names}


def cut(tensors: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Adapters brought to a smaller rank: of each product the largest singular values are kept."""
    smaller = dict(tensors)
    for name, up in tensors.items():
        if ".up." in name and up.shape[1] > rank:
            down = name.replace(".up.", ".down.")
            u, s, v = torch.linalg.svd(up.float() @ tensors[down].float(), full_matrices=False)
            root = s[:rank].sqrt()
            smaller |= {name: u[:, :rank] * root, down: root[:, None] * v[:rank]}
    return smaller


def merged(folders: list[Path], restorer: CompactRestorer, rank: int) -> ToldParts | None:
    """All parts as one network, with adapters of at most this rank."""
    trained = [ToldParts.from_pretrained(folder) for folder in folders]
    if not trained:
        return None
    ranks = {task: min(own, rank) for parts in trained for task, own in parts.config["ranks"].items()}
    together = ToldParts(
        ranks=ranks, **arguments_of(restorer, "channels", "blocks"), width=trained[0].config["width"]
    )
    together.load_state_dict(
        cut({name: tensor for parts in trained for name, tensor in parts.state_dict().items()}, rank)
    )
    return together.half()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("restorer", type=Path)
    parser.add_argument("--parts", type=Path, action="append", default=[])
    parser.add_argument("--rank", type=int, default=8, help="of adapters at most; what is more is cut off")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--prior", type=Path)
    parser.add_argument("--caution", type=float, default=0.8, help="so that about one in twenty is an alarm")
    given = parser.parse_args()
    trained = CompactRestorer.from_pretrained(given.restorer)
    restorer = CompactRestorer(**arguments_of(trained, "channels", "blocks", "condition_width"))
    restorer.load_state_dict(trained.state_dict())
    detector = None
    if given.detector:
        judge = Detector.from_pretrained(given.detector)
        detector = Detector(**arguments_of(judge, "channels", "width", "eye_channels"), caution=given.caution)
        detector.load_state_dict(judge.state_dict())
        detector = detector.half()
    prior = None
    if given.prior:
        dial = QualityPrior.from_pretrained(given.prior)
        prior = QualityPrior(
            **arguments_of(dial, "host", "width", "base", "bins", "rank", "channels", "blocks")
        )
        prior.load_state_dict(dial.state_dict())
        prior = prior.half()
    parts = merged(given.parts, trained, given.rank)
    pipe = CompactRestorerPipeline(restorer.half(), parts, detector, prior)
    pipe.save_pretrained(BUNDLED / "compact")


if __name__ == "__main__":
    main()
