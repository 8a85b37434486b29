"""Networks that wait in main memory and come to the device while they run.

Weights do not change while a picture is restored, so nothing is copied back: a network leaves by being let go of.
What waits is pinned where the device is a GPU (55 GB/s on an H200, against 6.5 for pageable memory), and packed
into few large buffers, because PyTorch rounds each pinned tensor up to a power of two. A network that is too large
for the device keeps as many of its blocks there as fit; the others come one ahead of their turn.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

CHUNK = 2**31
"""Bytes of the buffers that hold what waits; a power of two, as PyTorch would make of it anyway."""

PASSING = 3
"""Blocks that are on the device in passing: one computes, one comes, one is not yet free."""

_ALIGN = 256


class Offload:
    """Brings networks to the device one at a time.

    Args:
        networks: by name; they are at rest from now on.
        device: where they run.
        room: bytes of weights that may be there at once, for each network; None for all of them.
    """

    def __init__(
        self, networks: dict[str, nn.Module], device: torch.device, room: dict[str, int | None]
    ) -> None:
        self.device = device
        self._running: _Network | None = None
        self._networks = [
            (network, _Network(network, device, room.get(name))) for name, network in networks.items()
        ]
        for network, weights in self._networks:
            add_hook_to_module(network, _Arrival(self, weights))

    def enter(self, network: "_Network") -> None:
        """Let go of the network that ran before, and bring this one."""
        if network is not self._running:
            self.leave()
            self._running = network
            network.arrive()

    def leave(self) -> None:
        """Let go of the network that is on the device."""
        if self._running is not None:
            self._running.depart()
            self._running = None

    def end(self) -> None:
        """Leave all networks as they wait, in main memory, and bring none of them any more."""
        self.leave()
        for network, weights in self._networks:
            remove_hook_from_module(network)
            weights.stream.end()


class _Arrival(ModelHook):
    """Before a network runs, it and what it is given come to the device."""

    def __init__(self, offload: Offload, network: "_Network") -> None:
        self.offload, self.network, self.execution_device = offload, network, offload.device

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self.offload.enter(self.network)
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)


class _Network:
    """The weights of a network: those that come and go with it, and those that come block by block."""

    def __init__(self, network: nn.Module, device: torch.device, room: int | None) -> None:
        self.network = network
        blocks = streamed_blocks(network, room)
        ours = {id(tensor) for block in blocks for tensor in _tensors([block])}
        tensors = _tensors([network])
        resting = dict(zip(map(id, tensors), rest(tensors, pinned=device.type == "cuda"), strict=True))
        self.whole = _Weights([tensor for tensor in tensors if id(tensor) not in ours], resting, device)
        self.stream = _Stream(
            [(block, _Weights(_tensors([block]), resting, device)) for block in blocks], device
        )

    def arrive(self) -> None:
        parts = [self.whole, *self.stream.weights]
        known = {id(tensor) for part in parts for tensor, _ in part.tensors}
        added = [tensor for tensor in _tensors([self.network]) if id(tensor) not in known]  # such as LoRAs
        self.whole.tensors += [(tensor, tensor.data) for tensor in added]
        self.whole.arrive()

    def depart(self) -> None:
        self.whole.depart()
        self.stream.depart()


class _Weights:
    """Some tensors of a network, and the copies of them that wait in main memory."""

    def __init__(self, tensors: list[Tensor], resting: dict[int, Tensor], device: torch.device) -> None:
        self.tensors = [(tensor, resting[id(tensor)]) for tensor in tensors]
        self.device = device
        self.depart()

    def arrive(self) -> None:
        self.tensors = [(tensor, _newest(tensor, waiting)) for tensor, waiting in self.tensors]
        for tensor, waiting in self.tensors:
            # A copy also where the device is the CPU: what runs is never what waits.
            tensor.data = waiting.to(self.device, non_blocking=True, copy=True)

    def depart(self) -> None:
        for tensor, waiting in self.tensors:
            tensor.data = waiting


class _Stream:
    """Blocks that come one ahead of their turn, and go after it."""

    def __init__(self, blocks: list[tuple[nn.Module, _Weights]], device: torch.device) -> None:
        self.weights = [weights for _, weights in blocks]
        self.copying = torch.cuda.Stream(device) if blocks and device.type == "cuda" else None
        self.device = device
        self.ready: dict[int, torch.cuda.Event | None] = {}
        self.hooks: list[RemovableHandle] = []
        for number, (block, _) in enumerate(blocks):
            self.hooks.append(block.register_forward_pre_hook(lambda *_, n=number: self._before(n)))
            self.hooks.append(block.register_forward_hook(lambda *_, n=number: self._after(n)))

    @torch.compiler.disable
    def _before(self, number: int) -> None:
        self._fetch(number)
        if (event := self.ready[number]) is not None:
            torch.cuda.current_stream(self.device).wait_event(event)
        self._fetch((number + 1) % len(self.weights))

    @torch.compiler.disable
    def _after(self, number: int) -> None:
        if len(self.weights) > 1:  # a single one may stay for the next pass
            self._drop(number)

    def _fetch(self, number: int) -> None:
        if number in self.ready:
            return
        if self.copying is None:
            self.weights[number].arrive()
            self.ready[number] = None
            return
        # What is freed by the computation may be overwritten by the copy only after the computation.
        self.copying.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.copying):
            self.weights[number].arrive()
        self.ready[number] = self.copying.record_event()

    def _drop(self, number: int) -> None:
        if self.ready.pop(number) is not None:
            for tensor, _ in self.weights[number].tensors:
                tensor.data.record_stream(torch.cuda.current_stream(self.device))
        self.weights[number].depart()

    def depart(self) -> None:
        for number in list(self.ready):
            self._drop(number)

    def end(self) -> None:
        self.depart()
        for hook in self.hooks:
            hook.remove()


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network in the order in which they run: all members of its outermost lists.

    One that runs them in another order than it holds them has `blocks_in_order`.
    """
    in_order = getattr(network, "blocks_in_order", None)
    if callable(in_order):
        return list(in_order())
    lists: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in lists):
            lists.append(name)
    return [block for name in lists for block in network.get_submodule(name).children()]


def streamed_blocks(network: nn.Module, room: int | None) -> list[nn.Module]:
    """The blocks that cannot stay within `room` bytes beside the rest and those that come and go.

    They are spread evenly, so that copying one overlaps with computing those between.
    """
    blocks = blocks_of(network)
    total, largest = size_of([network]), max((size_of([block]) for block in blocks), default=0)
    if room is None or total <= room or not blocks:
        return []
    each = max(sum(size_of([block]) for block in blocks) // len(blocks), 1)
    streamed = min(len(blocks), max(2, -(-(total + PASSING * largest - room) // each)))
    while True:  # blocks differ in size, so count what really stays
        chosen = [blocks[index * len(blocks) // streamed] for index in range(streamed)]
        if streamed == len(blocks) or total - size_of(chosen) + PASSING * largest <= room:
            return chosen
        streamed += 1


def size_of(modules: Iterable[nn.Module]) -> int:
    """Bytes of parameters and buffers."""
    return sum(tensor.nbytes for tensor in _tensors(modules))


def rest(tensors: Sequence[Tensor], pinned: bool) -> list[Tensor]:
    """Copies of tensors in main memory, packed into buffers of `CHUNK` bytes and one smaller one."""
    copies: list[Tensor] = [tensor.data for tensor in tensors]
    # What a quantiser made is more than numbers: it waits as it is.
    sizes = [_aligned(copy.nbytes) if type(copy) is Tensor else 0 for copy in copies]
    for members in pack(sizes, CHUNK):
        held = sum(sizes[number] for number in members)
        buffer = torch.empty(held, dtype=torch.uint8, pin_memory=pinned)
        start = 0
        for number in members:
            given = tensors[number].data
            view = buffer[start : start + given.nbytes].view(given.dtype).view(given.shape)
            copies[number] = view.copy_(given)
            start += sizes[number]
    return copies


def pack(sizes: Sequence[int], chunk: int) -> list[list[int]]:
    """Which sizes share a buffer of at most `chunk` bytes, the largest first; larger ones have one each."""
    bins: list[tuple[int, list[int]]] = []
    for number in sorted((n for n, size in enumerate(sizes) if size), key=lambda n: -sizes[n]):
        for index, (used, members) in enumerate(bins):
            if used + sizes[number] <= chunk:
                bins[index] = used + sizes[number], [*members, number]
                break
        else:
            bins.append((sizes[number], [number]))
    return [members for _, members in bins]


def _tensors(modules: Iterable[nn.Module]) -> list[Tensor]:
    return [
        tensor
        for module in modules
        for tensors in (module.parameters(), module.buffers())
        for tensor in tensors
    ]


def _newest(tensor: Tensor, waiting: Tensor) -> Tensor:
    """What waits, or what somebody put in its place meanwhile, such as a fused LoRA."""
    same = type(waiting) is not Tensor or tensor.data_ptr() == waiting.data_ptr()
    return waiting if same else tensor.data.cpu()


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def pinned_size(size: int) -> int:
    """Bytes of main memory that pinning `size` bytes of weights takes: whole buffers, and a power of two."""
    whole, left = divmod(size, CHUNK)
    return whole * CHUNK + (1 << (left - 1).bit_length() if left else 0)
