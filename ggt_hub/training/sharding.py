"""Weights divided among processes (FSDP2): each keeps a part of all, and gathers a block while that computes."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed.checkpoint as dcp
from accelerate.utils import broadcast, send_to_device
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.distributed import broadcast_object_list, get_rank, get_world_size
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from ggt_hub.errors import TrainingError

Role = Literal["shares", "leads", "follows"]
"""What a process does of work that is for all: its share, all of it, or its part of what the first one computes."""


def shard(network: ModelMixin, device: torch.device) -> None:
    """Divide a network's weights among all processes, block by block, in place; its parameters are new ones then.

    What is learned is that of the first process; what is frozen must be the same in all.

    Args:
        network: whose class names its blocks (`_no_split_modules`).
        device: of this process, to which its part goes.
    """
    for weight in network.parameters():
        if weight.requires_grad:
            weight.data.copy_(broadcast(weight.data.to(device)))
    # Nothing is changed in place of what the blocks of diffusers give.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (get_world_size(),))
    for part in network.modules():
        if type(part).__name__ in (network._no_split_modules or ()):
            fully_shard(part, mesh=mesh)
    fully_shard(network, mesh=mesh)


def gather(network: ModelMixin) -> ModelMixin | None:
    """The network with whole weights, in main memory of the first process, None in others; called by all."""
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    tensors = get_model_state_dict(network, options=whole)
    if not tensors:
        return None
    kind: Any = next(kind for kind in type(network).__mro__ if not issubclass(kind, FSDPModule))
    with torch.device("meta"):
        copy = kind.from_config(network.config)
    copy.load_state_dict(tensors, assign=True)
    return copy


@contextmanager
def led(network: nn.Module) -> Iterator[Role]:
    """Have all processes compute a divided network whenever the first one does, which is free in what it does else.

    Others come in when the first one is done; called by all.
    """
    if get_rank() == 0:
        hook = network.register_forward_pre_hook(_call_others, prepend=True, with_kwargs=True)
        try:
            yield "leads"
        finally:
            hook.remove()
            broadcast_object_list([None])
        return
    device = next(network.parameters()).device
    with torch.no_grad():
        while (call := _told()) is not None:
            arguments, named = send_to_device(call, device)
            network(*arguments, **named)
    yield "follows"


def _call_others(_network: nn.Module, arguments: Any, named: Any) -> None:
    broadcast_object_list([send_to_device((arguments, named), torch.device("cpu"))])


def _told() -> Any:
    told = [None]
    broadcast_object_list(told)
    return told[0]


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process may have a part or a summand; called by all."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@dataclass(frozen=True)
class Shards:
    """All that a run with divided weights has learned, each process its part. Any number of processes reads it."""

    network: ModelMixin
    optimisers: Sequence[torch.optim.Optimizer]
    ema: EMAModel

    def save(self, folder: Path) -> None:
        """Write it; called by all processes, which need the same file system."""
        dcp.save(self._state(), checkpoint_id=folder)

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote; called by all processes.

        Raises:
            TrainingError: in all of them if one cannot read it.
        """
        state = self._state()
        # Weights that a stage freezes have no moments there, and need none before the next stage.
        planner = DefaultLoadPlanner(allow_partial_load=True)
        try:
            dcp.load(state, checkpoint_id=folder, planner=planner)
        except CheckpointException as error:  # which is no Exception
            process, (reason, _) = next(iter(error.failures.items()))
            raise TrainingError(f"process {process} cannot read its part: {reason}") from error
        set_optimizer_state_dict(self.network, self.optimisers, state["moments"])
        self.ema.load_state_dict(state["average"])

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "moments": get_optimizer_state_dict(self.network, self.optimisers),
            "average": self.ema.state_dict(),
        }
