"""Where the networks behind the perceptual metrics get their weights: a folder, or the Hub at first use.

Nothing is bundled. A folder given as `weights` must hold the files under the names by which their authors
publish them, as `METRICS[name].weights` lists them; otherwise they are downloaded once and cached.
"""

from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch

from ggt_hub.errors import HubError, MetricUnavailableError
from ggt_hub.hub import snapshot

_TORCHVISION = "https://download.pytorch.org/models/"
_SERVERS = {
    "alexnet": _TORCHVISION,
    "vgg16": _TORCHVISION,
    "pt_inception": "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
}
_ON_THE_HUB = "chaofengc/IQA-PyTorch-Weights"

StateDict = dict[str, torch.Tensor]


@cache
def load_weights(name: str, folder: Path | None) -> StateDict:
    """Read a published weights file.

    Backbones (`alexnet-...`, `vgg16-...`) are torchvision's and come from PyTorch's server, Inception v3 from
    pytorch-fid's releases, the small heads on top from the Hub. Files are read without executing pickled code.

    Raises:
        MetricUnavailableError: if the file is not in the folder, cannot be downloaded, or is damaged.
    """
    try:
        if folder is not None:
            return _read(folder / name)
        if server := _SERVERS.get(name.partition("-")[0]):
            return torch.hub.load_state_dict_from_url(
                server + name, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
        return _read(snapshot(_ON_THE_HUB, allow_patterns=[name]) / name)
    except (HubError, OSError, URLError, RuntimeError, UnpicklingError) as error:
        where = f"the folder {folder}" if folder else "the network"
        reason = " ".join(str(error).split())[:160]
        raise MetricUnavailableError(
            f"the weights {name} cannot be had from {where} ({reason}): put the file into a folder and name it "
            "with --weights"
        ) from error


def _read(path: Path) -> StateDict:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("params", state)
