"""How a quality prior attaches to a pipeline, and leaves again without a trace.

The module that it adds to has a *slot* from the beginning: a forward hook that does nothing while it is empty. So a
compiled network knows of it, and its files, its keys and its copies do not. The prior runs outside of the network,
once for a call, and what it gives lies in the slot meanwhile.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ggt_hub.converters.checkpoint import one_line
from ggt_hub.errors import RestorerError
from ggt_hub.hub import snapshot
from ggt_hub.models import QualityPrior
from ggt_hub.models.quality_prior import HOSTS, base_id, host_module, width_of
from ggt_hub.pipelines.description import Option, RestorerDescription

COMPONENT = "quality_prior"

QUALITY = Option(
    default=None,
    minimum=0,
    maximum=1,
    optional=True,
    help="how good the result should be, as the prior was trained; None leaves the prior out",
    slider=(0, 1, 0.05),
)


@dataclass(eq=False)
class Slot:
    """A forward hook that adds a vector to what a module gives, (B, width), while it has one.

    Attributes:
        e: (b, width), where b divides B: guidance runs a batch several times over. None adds nothing.
    """

    e: Tensor | None = None

    def __call__(self, _module: nn.Module, _args: Any, output: Tensor) -> Tensor | None:
        """As PyTorch calls it."""
        if self.e is None:
            return None
        times, rest = divmod(len(output), len(self.e))
        if rest:
            raise RestorerError(
                f"{len(self.e)} qualities for a batch of {len(output)}: give one, or one for each"
            )
        return output + self.e.to(output).repeat(times, 1)

    @contextmanager
    def filled(self, e: Tensor) -> Iterator[None]:
        """Have it add `e` meanwhile."""
        before, self.e = self.e, e
        try:
            yield
        finally:
            self.e = before


def find_slot(module: nn.Module) -> Slot | None:
    """The slot of a module, if it has one."""
    return next((hook for hook in module._forward_hooks.values() if isinstance(hook, Slot)), None)


def open_slot(module: nn.Module) -> Slot:
    """The slot of a module: the one that it has, or else a new one."""
    if (slot := find_slot(module)) is None:
        slot = Slot()
        module.register_forward_hook(slot)
    return slot


def close_slot(module: nn.Module) -> None:
    """Take the slot of a module away."""
    for key, hook in list(module._forward_hooks.items()):
        if isinstance(hook, Slot):
            del module._forward_hooks[key]


def with_quality(description: RestorerDescription, has_prior: bool) -> RestorerDescription:
    """The description of a restorer with the option `quality`, or without it."""
    options = {name: option for name, option in description.options.items() if name != "quality"}
    return replace(description, options=options | ({"quality": QUALITY} if has_prior else {}))


def check_quality(quality: Any, who: str) -> None:
    """Refuse what is no quality from 0 to 1, nor a list of such; None is no quality.

    Raises:
        RestorerError: for it.
    """
    for one in [] if quality is None else one_each(quality):
        is_number = isinstance(one, Real) and not isinstance(one, bool)
        if not is_number or not 0 <= float(one) <= 1:
            of_files = (
                "; it says how good the result should be, and not how much a JPEG or WebP file is compressed"
                if is_number and float(one) > 1
                else ""
            )
            raise RestorerError(f"quality is {one!r}: {who} takes {QUALITY}{of_files}")


def one_each(quality: Any, count: int | None = None) -> list[Any]:
    """A list as it is, a single quality as often as there are pictures; plain numbers for arrays.

    Raises:
        RestorerError: if a list has not `count` entries; None takes any.
    """
    told = quality.tolist() if hasattr(quality, "tolist") else quality
    if not isinstance(told, Sequence) or isinstance(told, str):
        return [told] * (count or 1)
    if count not in (None, len(told)):
        raise RestorerError(f"{len(told)} qualities for {count} pictures: give one each, or a single one")
    return list(told)


def check_fits(prior: QualityPrior, network: nn.Module, module: nn.Module) -> None:
    """Refuse a prior of another host.

    Raises:
        RestorerError: for a prior of another class of networks, another width, or other weights.
    """
    told, host = prior.config, type(getattr(network, "_orig_mod", network)).__name__
    if told.host != host:
        raise RestorerError(f"this quality prior is for a {told.host}, not for a {host}: load one for that")
    if told.width != (width := width_of(module)):
        raise RestorerError(
            f"this quality prior adds {told.width} numbers, {HOSTS[host]} of this {host} gives {width}: it belongs "
            "to another size of it"
        )
    if told.base is not None and (base := base_id(module)) not in (None, told.base):
        raise RestorerError(
            f"this quality prior was trained for other weights of a {host} ({told.base}, these are {base}): load "
            "those, or train a prior for these"
        )


def read_prior(source: str | Path, dtype: torch.dtype, **where: Any) -> QualityPrior:
    """A prior from a folder or an id on the Hub; where a whole restorer was saved, the one that it has.

    Args:
        source: of it.
        dtype: to load it in.
        **where: arguments of `ggt_hub.hub.snapshot`.

    Raises:
        HubError: if exactly this repository and revision cannot be had.
        RestorerError: if it is no prior, or damaged.
    """
    folder = Path(source).expanduser()
    if not folder.exists() and str(source).count("/") == 1 and not str(source).startswith((".", "~", "/")):
        folder = snapshot(str(source), **where)
    if (folder / COMPONENT).is_dir():
        folder = folder / COMPONENT
    if not (folder / QualityPrior.config_name).is_file():
        raise RestorerError(
            f"no quality prior at {str(source)!r}: give a folder or an id on the Hub that holds one"
        )
    try:
        named = QualityPrior.load_config(folder).get("_class_name")
        if named != QualityPrior.__name__:
            raise RestorerError(f"{source} holds a {named}, not a {QualityPrior.__name__}")
        prior, report = QualityPrior.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
    except RestorerError:
        raise
    except Exception as error:  # files of strangers break loaders in every way
        raise RestorerError(f"the quality prior in {folder} cannot be loaded: {one_line(error)}") from error
    if report["missing_keys"]:
        raise RestorerError(
            f"the quality prior in {folder} lacks {', '.join(sorted(report['missing_keys']))}"
        )
    return prior.eval()


@dataclass
class AttachedPrior:
    """A prior on a pipeline that is not ours.

    Attributes:
        prior: it.
        module: of the pipeline's transformer, whose output it adds to.
    """

    prior: QualityPrior
    module: nn.Module

    @torch.no_grad()
    def set(self, quality: Any) -> None:
        """Ask for a quality from the next call on; None leaves the prior out.

        Args:
            quality: 0..1; or a list, one for each result in the order of the transformer's batch. Guidance and
                further halves of a batch repeat it.

        Raises:
            RestorerError: for anything else.
        """
        check_quality(quality, "this prior")
        slot = open_slot(self.module)
        slot.e = (
            None if quality is None else self.prior(torch.tensor(one_each(quality), device=self.prior.device))
        )

    def remove(self) -> None:
        """Leave the transformer as it was."""
        close_slot(self.module)


def attach_quality_prior(pipe: Any, source: str | Path, **where: Any) -> AttachedPrior:
    """Attach a prior to a stock pipeline of diffusers; before its transformer is compiled, if it is.

    Restorers of ours have `load_quality_prior`.

    Args:
        pipe: with a transformer of one of the classes in `models.quality_prior.HOSTS`.
        source: folder or id on the Hub.
        **where: arguments of `ggt_hub.hub.snapshot`.

    Returns:
        The prior; nothing changes until its `set`.

    Raises:
        HubError: if exactly this repository and revision cannot be had.
        RestorerError: if there is no such transformer, it is compiled, or the prior is for another.
    """
    network: Any = getattr(pipe, "transformer", None)
    if hasattr(network, "_orig_mod") or getattr(network, "_compiled_call_impl", None) is not None:
        raise RestorerError("the transformer is compiled and would not notice the prior: attach it before")
    module, prior = host_module(network), read_prior(source, network.dtype, **where)
    check_fits(prior, network, module)
    open_slot(module)
    return AttachedPrior(prior, module)
