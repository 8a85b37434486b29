"""The contract of all restorers: `RestorerPipeline.from_pretrained(x)` and `pipe(image, ...)`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.utils import BaseOutput
from numpy.typing import NDArray

import ggt_hub.models  # diffusers finds component classes only in modules that are imported already
from ggt_hub.converters.checkpoint import Checkpoint, one_line
from ggt_hub.errors import GGTHubError, RestorerError
from ggt_hub.hub import snapshot
from ggt_hub.images import Picture, fill_hidden, is_panorama, read_image, unwrapped, wrapped
from ggt_hub.models import QualityPrior
from ggt_hub.pipelines.description import RestorerDescription
from ggt_hub.pipelines.findings import Finding
from ggt_hub.pipelines.layouts import WHERE, find
from ggt_hub.pipelines.placement import Plan
from ggt_hub.pipelines.quality import (
    COMPONENT,
    check_fits,
    check_quality,
    one_each,
    open_slot,
    read_prior,
    with_quality,
)
from ggt_hub.tasks import TASKS, check_task

if TYPE_CHECKING:
    from ggt_hub.pipelines.offload import Offload

OUTPUT_TYPES = ("pil", "np", "pt")

_WRAP = 64  # columns of a panorama that are repeated: what the networks see at once, and a multiple of their grids


@dataclass
class RestorerPipelineOutput(BaseOutput):
    """What a call returns.

    Attributes:
        images: one restored picture for each that was given, in order: PIL; or with `output_type="np"` float32
            arrays (height, width, 3), 0..1; or with `"pt"` float32 tensors (3, height, width), 0..1. Always a
            list, since pictures may differ in size. None where a callback ended the call before it was restored.
        findings: for restorers that judge the damage themselves, what was found in each picture, in the order of
            `images`; else None.
    """

    images: list[Any]
    findings: list[list[Finding]] | None = None


class RestorerPipeline(DiffusionPipeline):
    """Base class of all restorers, and the way to load any of them.

    A subclass sets `description` and implements `__call__(image, *, task=None, prompt=None, upscale=None,
    generator=None, output_type="pil", return_dict=True, ...)` from the methods below, in their order; one that
    works on one picture after another inherits that from `PictureByPicture`.
    """

    description: ClassVar[RestorerDescription] = RestorerDescription()
    quality_prior: QualityPrior | None = None
    _quality: Any = None
    offload: "Offload | None" = None
    """What brings networks to the device one at a time, where a memory plan was applied that does."""

    @classmethod
    def from_pretrained(cls, source: str | Path, **kwargs: Any) -> Self:
        """Load a restorer; the class that comes back is the one that the files were saved from.

        Args:
            source: a folder, an id on the Hub (`namespace/name`), the name of a restorer inside the package
                (`"compact"`), or whatever else one of `ggt_hub.pipelines.layouts.LAYOUTS` recognises.
            **kwargs: for the Hub `revision`, `token`, `cache_dir`, `local_files_only`; for loading `dtype`,
                `device_map`, `variant`, quantisation and components, as in diffusers.

        Raises:
            HubError: if exactly this repository and revision cannot be had.
            RestorerError: if the files are not a restorer, or of another class than the one asked.
        """
        where = {key: kwargs.pop(key) for key in WHERE if key in kwargs}
        layout, place = find(source, where)
        target = layout.restorer(place)
        if not issubclass(target, cls):
            raise RestorerError(
                f"{source} holds a {target.__name__}, not a {cls.__name__}: load it with that class"
            )
        return layout.load(place, **kwargs)

    @classmethod
    def describe(cls, place: Path) -> RestorerDescription:
        """The description of the restorer in a place of this class, told without its networks where it can be."""
        if cls.description.prior_host is None:
            return cls.description
        return with_quality(cls.description, (place / COMPONENT / QualityPrior.config_name).is_file())

    @classmethod
    def from_folder(cls, folder: Path, **kwargs: Any) -> Self:
        """Load from a folder that `save_pretrained` wrote; other forms have class methods of their own (`Layout`).

        Raises:
            RestorerError: if a file is missing, damaged or does not fit; weights must be safetensors.
        """
        cls.description.check_precision(kwargs.get("dtype", kwargs.get("torch_dtype")), cls.__name__)
        try:
            pipe = super().from_pretrained(folder, use_safetensors=True, **kwargs)
        except GGTHubError:
            raise
        except Exception as error:  # files of strangers break loaders in every way
            raise RestorerError(f"the restorer in {folder} cannot be loaded: {one_line(error)}") from error
        for name, component in pipe.components.items():
            if isinstance(component, ModelMixin) and name not in kwargs:
                check_complete(component, folder / name, kwargs.get("variant"))
        return pipe

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """The index of a saved pipeline, with our own classes where a published one names files of its repository.

        Those files let stock diffusers load it without this package; here nothing of them is run.
        """
        loaded = super().load_config(*args, **kwargs)
        index = loaded[0] if isinstance(loaded, tuple) else loaded
        if isinstance(index.get("_class_name"), (list, tuple)):
            index["_class_name"] = index["_class_name"][1]
            for name, value in index.items():
                if (
                    isinstance(value, (list, tuple))
                    and len(value) == 2
                    and value[1] in ggt_hub.models.__all__
                ):
                    index[name] = [ggt_hub.models.__name__, value[1]]
        return loaded

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> Path:
        """Download a repository and return its folder.

        The stock method insists that component classes belong to diffusers, which is why other pipelines with
        classes of their own need `trust_remote_code`; ours are imported with this module.
        """
        return snapshot(pretrained_model_name, **{key: kwargs[key] for key in WHERE if key in kwargs})

    def register_modules(self, **components: Any) -> None:
        """As in diffusers; and the module that a quality prior adds to has a slot for it from now on.

        Raises:
            RestorerError: if a quality prior among the components belongs to another host.
        """
        super().register_modules(**components)
        network, module = self._prior_host()
        if module is not None:
            open_slot(module)
        if COMPONENT in components:
            if self.quality_prior is not None and module is not None:
                check_fits(self.quality_prior, network, module)
            self.description = with_quality(self.description, self.quality_prior is not None)  # type: ignore[misc]

    def _prior_host(self) -> tuple[Any, Any]:
        """The network that a quality prior is for, and the module of it; None where there is none."""
        if self.description.prior_host is None:
            return None, None
        name, _, inside = self.description.prior_host.partition(".")
        network = getattr(self, name, None)
        return network, None if network is None else network.get_submodule(inside)

    def load_quality_prior(self, source: str | Path, **where: Any) -> None:
        """Have a quality prior, which is a component from now on; nothing changes until a quality is set.

        Args:
            source: a folder, or an id on the Hub.
            **where: for the Hub `revision`, `token`, `cache_dir`, `local_files_only`.

        Raises:
            HubError: if exactly this repository and revision cannot be had.
            RestorerError: if it is no prior, it belongs to another host, or this restorer takes none.
        """
        network, module = self._prior_host()
        if module is None:
            raise RestorerError(f"{type(self).__name__} takes no quality prior")
        prior = read_prior(source, network.dtype, **where)
        check_fits(prior, network, module)
        self.register_modules(quality_prior=prior.to(self._execution_device))

    def unload_quality_prior(self) -> None:
        """Be as if there had never been a quality prior."""
        self._quality = None
        self.register_modules(quality_prior=None)

    def set_quality(self, quality: float | Sequence[float] | None) -> None:
        """Ask for a quality in all calls that do not say another.

        Args:
            quality: 0..1; or a list, one for each picture of a call. None leaves the prior out, or is the default
                of a restorer that is always told.

        Raises:
            RestorerError: for anything else, or if the restorer is told no quality and has no prior for it.
        """
        self._check_quality(quality)
        self._quality = quality

    def _check_quality(self, quality: Any) -> None:
        if quality is not None and "quality" not in self.description.options:
            raise RestorerError(
                f"{type(self).__name__} has no quality prior, so it cannot be asked for a quality: "
                + ("load one by load_quality_prior" if self.description.prior_host else "leave out quality")
            )
        check_quality(quality, type(self).__name__)

    def qualities(self, quality: float | Sequence[float] | None, count: int) -> list[float | None]:
        """The quality asked for of each of `count` pictures: by the call, or else by `set_quality`.

        Raises:
            RestorerError: if a list has not one for each.
        """
        return one_each(self._quality if quality is None else quality, count)

    @contextmanager
    def at_quality(self, qualities: Sequence[float | None], results: int = 1) -> Iterator[None]:
        """Have the prior's vectors added meanwhile; where there is no quality, nothing.

        Args:
            qualities: of the pictures that run together, in their order.
            results: for each picture, those of one following each other.
        """
        if None in qualities or self.quality_prior is None:
            yield
            return
        _, module = self._prior_host()
        prior = self.quality_prior
        where = self._execution_device if prior.device.type == "meta" else prior.device
        e = prior(torch.tensor(qualities, device=where))
        with open_slot(module).filled(e.repeat_interleave(results, dim=0)):
            yield

    def plan_memory(self, budget: int, **arguments: Any) -> Plan:
        """How to run a call with these arguments within `budget` bytes of device memory.

        A class whose memory is known overrides this.

        Raises:
            RestorerError: if it is not known, or there is no way that fits.
        """
        raise RestorerError(
            f"{type(self).__name__} has no memory plan, since its memory is not measured: leave out --memory"
        )

    def maybe_free_model_hooks(self) -> None:
        """Free the device of the network that ran last, where a plan brings them one at a time."""
        super().maybe_free_model_hooks()
        if self.offload is not None:
            self.offload.leave()

    def check_inputs(
        self,
        *,
        task: str | None,
        prompt: str | None,
        upscale: float | None,
        output_type: str,
        tile: int | None,
        quality: float | Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        """Refuse what this restorer does not support; `options` are those that its description names.

        Raises:
            TaskError: for a task it does not know.
            RestorerError: for anything else; the message lists what is supported.
        """
        name, description = type(self).__name__, self.description
        if task is not None:
            check_task(task, description.tasks or TASKS, name)
        if prompt is not None and not description.takes_prompt:
            instead = ", ".join(description.tasks)
            raise RestorerError(
                f"{name} takes no prompt: "
                + (f"tell it a task instead ({instead})" if instead else "leave it out")
            )
        if upscale is not None:
            description.check_upscale(upscale, name)
        if output_type not in OUTPUT_TYPES:
            raise RestorerError(f"output_type {output_type!r}: choose one of {', '.join(OUTPUT_TYPES)}")
        if tile is not None and description.tiling == "none":
            raise RestorerError(f"{name} cannot work in tiles: leave out tile")
        if tile is not None and (isinstance(tile, bool) or not isinstance(tile, int) or tile < 0):
            raise RestorerError(f"tile is {tile!r}: give the side in pixels, or 0 for one piece")
        self._check_quality(quality)
        description.check_options(options, name)

    def read_images(self, image: Any) -> list[Picture]:
        """The pictures of a call: one of anything that `read_image` takes, a list of them, or a batch (4-D).

        They come as a network should see them: colours under zero alpha are drawn from visible ones, and a
        panorama of 360 degrees goes on for some columns beyond its edges, which `postprocess` takes off again.

        Raises:
            RestorerError: if there is none.
            ImageError: if one of them cannot be read.
        """
        if image is None:
            raise RestorerError(f"{type(self).__name__} restores pictures: give one as the first argument")
        batched = isinstance(image, (list, tuple)) or getattr(image, "ndim", 0) == 4
        items = list(image) if batched else [image]
        if not items:
            raise RestorerError("the list of pictures is empty: give at least one")
        return [self._prepared(read_image(item)) for item in items]

    def _prepared(self, picture: Picture) -> Picture:
        picture = fill_hidden(picture)
        return wrapped(picture, _WRAP) if is_panorama(picture) else picture

    def split_generators(
        self, generator: torch.Generator | list[torch.Generator] | None, count: int
    ) -> list[torch.Generator | None]:
        """One generator per picture: the list given, or seeds drawn from a single one in the order of the pictures.

        Raises:
            RestorerError: if a list has not one generator for each picture.
        """
        if generator is None:
            return [None] * count
        if isinstance(generator, torch.Generator):
            seeds = [
                int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
                for _ in range(count)
            ]
            return [torch.Generator(generator.device).manual_seed(seed) for seed in seeds]
        if len(generator) != count:
            raise RestorerError(
                f"{len(generator)} generators for {count} pictures: give one each, or a single one"
            )
        return list(generator)

    def tile_and_overlap(self, tile: int | None) -> tuple[int | None, int]:
        """Side and overlap for `run_tiled`: the default for None, one piece for 0, else what was asked for.

        The side is rounded up to what the network needs; the overlap shrinks where a tile is small.
        """
        description = self.description
        side = description.tile if tile is None else tile
        if not side:
            return None, 0
        side = description.sizes.side(side)
        return side, min(description.overlap, side // 4)

    def postprocess(self, picture: Picture, restored: NDArray[np.float32], output_type: str) -> Any:
        """Turn a restored RGB picture (height, width, 3), 0..1, into what was asked for.

        PIL results keep the mode (grey, alpha) and the metadata of the picture that was given, and save them.

        Raises:
            RestorerError: if some of it is NaN or infinite: a picture made of that would be black there.
        """
        if not np.isfinite(restored).all():
            raise RestorerError(
                f"{type(self).__name__} overflowed (NaN or infinite), so nothing is restored: load it in float32 "
                "or bfloat16, and check its weights"
            )
        picture, restored = unwrapped(picture, restored)
        if output_type == "np":
            return restored
        if output_type == "pt":
            return torch.from_numpy(np.ascontiguousarray(restored.transpose(2, 0, 1)))
        return picture.with_rgb(restored).to_pil()


def check_complete(network: ModelMixin, folder: Path, variant: str | None) -> None:
    """Refuse a network some of whose tensors were not in its files: diffusers would leave them random.

    Raises:
        RestorerError: naming the first that is missing.
    """
    if getattr(network, "hf_quantizer", None) is not None:  # stores other names than it runs with
        return
    if missing := sorted(set(network.state_dict()) - set(Checkpoint(folder, variant).shapes)):
        raise RestorerError(
            f"{folder} lacks {len(missing)} tensors of a {type(network).__name__}: {missing[0]} ..."
        )
