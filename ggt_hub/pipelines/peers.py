"""Other people's restorers, and trivial baselines, under the same contract, so that a comparison is possible.

`RestorerPipeline.from_pretrained("weights.safetensors")` takes any checkpoint that spandrel knows (extra `peers`);
"identity", "gain", "opencv:nlm", "skimage:tv" and "skimage:wavelet" (both extra `metrics`) are baselines that any
restorer should beat.
"""

import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn, Self

import cv2
import numpy as np
import torch
from diffusers import ModelMixin
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from ggt_hub.converters.checkpoint import one_line
from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture, run_tiled
from ggt_hub.pipelines.description import Precision, RestorerDescription, SizeRule, Tiling
from ggt_hub.pipelines.findings import Finding
from ggt_hub.pipelines.picture_by_picture import Call, PictureByPicture

Float = NDArray[np.float32]
_TILE, _OVERLAP = 512, 32


class PeerPipeline(PictureByPicture):
    """What belongs to others, or is too small to be kept: it is not saved."""

    def save_pretrained(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Peers are somebody else's files.

        Raises:
            RestorerError: always.
        """
        raise RestorerError(f"{self.name_or_path} is not ours to save: keep the file that it came from")


class SpandrelNetwork(ModelMixin):
    """A network as spandrel describes it: pads to the sizes that it needs, and keeps its output in 0..1."""

    def __init__(self, described: Any) -> None:
        super().__init__()
        self.model = described.model
        self.described = described

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """`1 x 3 x H x W` in 0..1 to `scale` times its sides."""
        return self.described(pixels).clone()  # not the inference tensor that spandrel gives


class SpandrelPipeline(PeerPipeline):
    """A checkpoint of any architecture that spandrel knows, with scale, size rules and tiling as it states."""

    def __init__(self, restorer: SpandrelNetwork, name: str = "") -> None:
        super().__init__()
        self.description = _described(restorer.described)  # type: ignore[misc]
        self.register_modules(restorer=restorer)
        self.register_to_config(_name_or_path=name)

    @classmethod
    def from_file(cls, file: Path, dtype: torch.dtype | None = None, **further: Any) -> Self:
        """Load a checkpoint.

        Args:
            file: of any architecture that spandrel knows.
            dtype: to compute in; None means float32.
            **further: nothing else is taken.

        Raises:
            RestorerError: if spandrel is not installed, the file is no checkpoint that it knows, or its network
                cannot work in `dtype`.
        """
        dtype = further.pop("torch_dtype", dtype)
        _refuse(further, file)
        pipe = cls(SpandrelNetwork(_load_spandrel(file)), str(file))
        pipe.description.check_precision(dtype, pipe.restorer.described.architecture.name)
        return pipe if dtype is None else pipe.to(dtype)

    @classmethod
    def describe(cls, place: Path) -> RestorerDescription:
        """The description of a checkpoint, which is read for it."""
        return _described(_load_spandrel(place))

    def restore(self, picture: Picture, call: Call) -> tuple[Float, list[Finding]]:
        """Tile by tile where the architecture supports tiling, else in one piece."""

        def restore_tile(pixels: torch.Tensor) -> torch.Tensor:
            try:
                return self.restorer(pixels.to(self.device, self.dtype))
            except (
                RuntimeError
            ) as error:  # what spandrel states of precisions does not hold for every network
                if self.dtype == torch.float32 or isinstance(error, torch.OutOfMemoryError):
                    raise
                name = self.restorer.described.architecture.name
                raise RestorerError(
                    f"{name} does not work in {self.dtype} ({one_line(error)}): leave out dtype"
                ) from error

        side, overlap = self.tile_and_overlap(call.tile)
        multiple = self.description.sizes.multiple
        restored = run_tiled(
            restore_tile, picture, tile=side, overlap=overlap, scale=call.upscale, multiple=multiple
        )
        return restored, []


class BaselinePipeline(PeerPipeline):
    """A few lines of OpenCV or scikit-image that stand beside every restorer."""

    description = RestorerDescription(precisions=("float32",), memory="a few copies of the picture")

    def __init__(
        self, name: str = "identity"
    ) -> None:  # with a default, or diffusers takes it for a component
        super().__init__()
        self.register_to_config(_name_or_path=name)

    @classmethod
    def from_name(cls, name: Path, dtype: torch.dtype | None = None, **further: Any) -> Self:
        """The baseline of that name, which works in float32.

        Raises:
            RestorerError: for another `dtype`, or anything else that loading networks takes.
        """
        cls.description.check_precision(further.pop("torch_dtype", dtype), str(name))
        _refuse(further, name)
        return cls(str(name))

    def restore(self, picture: Picture, call: Call) -> tuple[Float, list[Finding]]:
        """The baseline's result."""
        return BASELINES[self.name_or_path](picture.rgb()), []


def _refuse(further: Mapping[str, Any], source: Path) -> None:
    if further:
        raise RestorerError(
            f"{source} takes no {', '.join(further)}: that is for networks that diffusers loads"
        )


def _described(network: Any) -> RestorerDescription:
    """What spandrel states of a network, as restorers state it."""
    tiling: Tiling = {"SUPPORTED": "external", "INTERNAL": "internal"}.get(network.tiling.name, "none")  # type: ignore[assignment]
    sizes = network.size_requirements
    half: dict[Precision, bool] = {"bfloat16": network.supports_bfloat16, "float16": network.supports_half}
    return RestorerDescription(
        upscales=(network.scale,),
        sizes=SizeRule(multiple=max(sizes.multiple_of, 1), minimum=max(sizes.minimum, 1)),
        tiling=tiling,
        tile=_TILE if tiling == "external" else None,
        overlap=_OVERLAP,
        precisions=("float32", *(name for name, works in half.items() if works)),
        memory=f"{network.architecture.name}: not known beforehand; tiles of {_TILE} pixels limit it",
    )


def _load_spandrel(path: Path) -> Any:
    try:
        from spandrel import (  # type: ignore[import-untyped]
            ImageModelDescriptor,
            ModelLoader,
            UnsupportedModelError,
            canonicalize_state_dict,
        )
    except ImportError as error:
        raise RestorerError(f"{path}: a checkpoint needs spandrel: pip install 'ggt-hub[peers]'") from error
    try:
        if path.suffix.lower() == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)  # runs no code of the file
        network = ModelLoader().load_from_state_dict(canonicalize_state_dict(state))
    except UnpicklingError as error:
        _explain_pickle(path, error)
    except UnsupportedModelError as error:
        raise RestorerError(f"{path}: spandrel knows no architecture with these tensors") from error
    except (
        SafetensorError,
        EOFError,
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RestorerError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if (
        not isinstance(network, ImageModelDescriptor)
        or network.input_channels != 3
        or network.output_channels != 3
    ):
        raise RestorerError(f"{path} holds a {network.architecture.name} that does not turn RGB into RGB")
    return network.eval()


def _explain_pickle(path: Path, error: UnpicklingError) -> NoReturn:
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found is None:
        raise RestorerError(
            f"{path} cannot be read as a checkpoint: it is damaged, or no checkpoint"
        ) from error
    raise RestorerError(
        f"{path} holds more than tensors ({found[1]}), and reading that could run code: if you trust its author, "
        f"keep the tensors alone by `torch.save(torch.load({str(path)!r}, weights_only=False)[KEY], "
        "'tensors.pth')`, where KEY is params_ema, params, state_dict or the like (of a whole model: "
        "`.state_dict()` instead of `[KEY]`)"
    ) from error


def _identity(rgb: Float) -> Float:
    return rgb


def _gain(rgb: Float) -> Float:
    """Brighten a dark picture by one factor, until its mean is 0.4; a bright one stays."""
    return np.clip(rgb * max(1.0, 0.4 / max(float(rgb.mean()), 0.01)), 0, 1)


def _non_local_means(rgb: Float) -> Float:
    """OpenCV's non-local means, its strength 0.6 of the noise that is estimated."""
    levels = np.rint(rgb * 255).astype(np.uint8)
    strength = 0.6 * 255 * _noise_deviation(rgb)
    if strength < 0.5 or min(levels.shape[:2]) < 3:
        return rgb
    denoised = cv2.fastNlMeansDenoisingColored(levels, None, strength, strength)
    return denoised.astype(np.float32) / 255


def _total_variation(rgb: Float) -> Float:
    """scikit-image's total variation (Chambolle 2004), its weight 1.5 of the noise that is estimated."""
    try:
        from skimage.restoration import denoise_tv_chambolle
    except ImportError as error:
        raise RestorerError("skimage:tv needs scikit-image: pip install 'ggt-hub[metrics]'") from error
    weight = 1.5 * _noise_deviation(rgb)
    if weight == 0:
        return rgb
    return np.clip(denoise_tv_chambolle(rgb, weight=weight, channel_axis=-1), 0, 1).astype(np.float32)


def _wavelets(rgb: Float) -> Float:
    """scikit-image's wavelet shrinkage (BayesShrink: Chang et al., TIP 2000) in YCbCr, at the estimated noise."""
    sigma = _noise_deviation(rgb)
    if sigma == 0 or min(rgb.shape[:2]) < 4:
        return rgb
    try:
        from skimage.restoration import denoise_wavelet

        denoised = denoise_wavelet(rgb, sigma=sigma, convert2ycbcr=True, rescale_sigma=True, channel_axis=-1)
    except ImportError as error:  # it says which of the two is missing only when it is called
        raise RestorerError(
            "skimage:wavelet needs scikit-image and PyWavelets: pip install 'ggt-hub[metrics]'"
        ) from error
    return np.clip(denoised, 0, 1).astype(np.float32)


def _noise_deviation(rgb: Float) -> float:
    """Deviation of the noise from second differences (Immerkaer, CVIU 64(2), 1996)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    return float(np.abs(cv2.filter2D(rgb, -1, kernel)).mean() * np.sqrt(np.pi / 2) / 6)


BASELINES: dict[str, Callable[[Float], Float]] = {
    "identity": _identity,
    "gain": _gain,
    "opencv:nlm": _non_local_means,
    "skimage:tv": _total_variation,
    "skimage:wavelet": _wavelets,
}
