"""Training of other people's architectures: what a comparison on one's own data needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from torch import Tensor

from ggt_hub.errors import TrainingError
from ggt_hub.models.peer_network import PeerNetwork
from ggt_hub.pipelines import RestorerPipeline
from ggt_hub.pipelines.peers import SpandrelPipeline
from ggt_hub.training.objectives.base import Loss, Objective, building
from ggt_hub.training.objectives.compact import gain, squared_error
from ggt_hub.training.objectives.told import prepare


class PeerObjective(Objective):
    """The mean absolute error, by which most of them were trained."""

    network: PeerNetwork

    def __init__(self, network: PeerNetwork) -> None:
        super().__init__()
        self.network, self.prepare = network, prepare

    @classmethod
    def build(cls, model: dict[str, Any], settings: dict[str, Any]) -> Self:
        """From arguments of `PeerNetwork`; there are no settings."""
        if settings:
            raise TrainingError(f"the peer objective has no settings, such as {', '.join(settings)}")
        with building(model):
            return cls(PeerNetwork(**model))

    @contextmanager
    def restoring(self) -> Iterator[RestorerPipeline]:
        """See `Objective.restoring`; spandrel knows what is exported again by its tensors."""
        with TemporaryDirectory() as folder:
            self.export(Path(folder))
            pipe = SpandrelPipeline.from_file(Path(folder, SAFETENSORS_WEIGHTS_NAME))
        yield pipe.to(self.network.device)

    def forward(self, batch: dict[str, Tensor]) -> Loss:
        """The loss of a batch, see `prepare`."""
        lq, gt = batch["lq"], batch["gt"]
        restored = self.network(lq).float()
        return Loss((restored - gt).abs().mean(), gain(squared_error(lq, gt), squared_error(restored, gt)))
