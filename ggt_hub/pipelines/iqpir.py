"""IQPIR and CodeFormer as a pipeline: faces restored in whole photographs, as good as they are asked to be."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ggt_hub.converters.checkpoint import AGAIN, one_line, read_json
from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture
from ggt_hub.models import CodeFormer, FaceDetector
from ggt_hub.pipelines.base import check_complete
from ggt_hub.pipelines.compact import CompactRestorerPipeline
from ggt_hub.pipelines.description import Option, RestorerDescription, SizeRule
from ggt_hub.pipelines.faces import (
    LONGEST,
    FaceFinder,
    align,
    colours_of,
    cut_out,
    find_faces,
    load_detector,
    paste,
    shipped_detector,
)
from ggt_hub.pipelines.findings import Finding
from ggt_hub.pipelines.picture_by_picture import Call, PictureByPicture
from ggt_hub.pipelines.placement import (
    PICTURE_BYTES,
    PROCESS_BYTES,
    Demand,
    Plan,
    fastest,
    weights_of,
)

Floats = NDArray[np.float32]

_TOGETHER = 4  # faces that run through the network at once
_MAPS = 9  # at full resolution, in float32 and in bfloat16: what a face takes, measured
_FINDING_BYTES = 110  # for each pixel of what faces are looked for in, measured

_OPTIONS: Mapping[str, Option] = {
    "quality": Option(
        default=0.95,
        minimum=0,
        maximum=1,
        optional=True,
        slider=(0.05, 0.95, 0.1),
        help="how good the faces are to be, in steps; None is the default",
    ),
    "fidelity": Option(
        default=0.0,
        minimum=0,
        maximum=1,
        slider=(0, 1, 0.05),
        help="how much of the poor face is kept; in IQPIR's second stage this part is not trained",
    ),
    "hq_weight": Option(
        default=0.8,
        minimum=0,
        maximum=2,
        help="weight of the codes that only good pictures were learned with",
    ),
    "faces": Option(
        default="found",
        choices=("found", "aligned"),
        help="found: those in the photograph; aligned: the picture is one face, cut out as the networks know them",
    ),
    "background": Option(
        default="compact", choices=("compact", "none"), help="what restores the rest of the photograph"
    ),
}


class IQPIRPipeline(PictureByPicture):
    """Restores faces: IQPIR (arXiv 2603.29773) and, with a network that knows no quality, CodeFormer (2206.11253).

    Faces are found, brought upright to the native size, restored, and put back through a soft mask. What is around
    them is restored by the compact restorer. `quality` asks for one of ten steps.

    Args:
        network: predicts the codes of good faces.
        detector: finds the faces; the one that ships if not given. See also `use_detector`.
    """

    _optional_components: ClassVar[list[str]] = ["detector"]
    model_cpu_offload_seq = "network"
    _exclude_from_cpu_offload: ClassVar[list[str]] = ["detector"]  # it is small, and not called as one module

    description = RestorerDescription(
        upscales=(1, 2, 3, 4),
        options=_OPTIONS,
        sizes=SizeRule(native=512, multiple=32, minimum=512),
        tiling="internal",
        phases={"find": "detector", "restore": "network"},
        memory="3.8 GB on a CPU with photographs up to 1024 pixels; see plan_memory",
    )

    def __init__(self, network: CodeFormer, detector: FaceDetector | None = None) -> None:
        super().__init__()
        self.register_modules(network=network, detector=detector or shipped_detector())
        self.description = _description(network.config)  # type: ignore[misc]
        self._other_detector: FaceFinder | None = None
        self._background: CompactRestorerPipeline | None = None

    @classmethod
    def from_network(cls, folder: Path, **kwargs: Any) -> Self:
        """Load from the folder of a network alone, as `ggt-hub convert iqpir` writes it; the detector ships.

        Raises:
            RestorerError: if a file is missing, damaged or does not fit.
        """
        cls.description.check_precision(kwargs.get("dtype", kwargs.get("torch_dtype")), cls.__name__)
        try:
            network = CodeFormer.from_pretrained(folder, use_safetensors=True, **kwargs).eval()
        except Exception as error:  # files of strangers break loaders in every way
            raise RestorerError(f"the network in {folder} cannot be loaded: {one_line(error)}") from error
        check_complete(network, folder, kwargs.get("variant"))
        pipe = cls(network)
        pipe.register_to_config(_name_or_path=str(folder))
        return pipe

    @classmethod
    def describe(cls, place: Path) -> RestorerDescription:
        """The description with what the network in a folder knows, by its configuration alone."""
        config = read_json(place / "network/config.json") or read_json(place / "config.json")
        try:
            return _description(config)
        except (KeyError, TypeError) as error:
            raise RestorerError(
                f"{place} does not say what its network is ({one_line(error)}): {AGAIN}"
            ) from error

    def use_detector(self, source: str | Path) -> None:
        """Find faces by another detector from now on.

        Args:
            source: an ONNX file of YuNet, a folder of a `FaceDetector`, or an id on the Hub.

        Raises:
            HubError, RestorerError: if there is none.
        """
        self._other_detector = load_detector(source)

    def restore(self, picture: Picture, call: Call) -> tuple[Floats, list[Finding]]:
        """Restore one picture."""
        if call.options["faces"] == "aligned":
            return self._aligned(picture, call), [Finding("faces", 1, "", "")]
        faces = find_faces(picture, self._other_detector or self.detector)
        alignments = [alignment for face in faces if (alignment := align(face.points, self.network.native))]
        restored = self._around(picture, call)
        for start in range(0, len(alignments), _TOGETHER):
            some = alignments[start : start + _TOGETHER]
            poor = [cut_out(picture, alignment) for alignment in some]
            for alignment, face in zip(some, self._restored(poor, call.options), strict=True):
                paste(restored, face, alignment.enlarged(call.upscale))
        return restored, [_counted(len(alignments), call.options["background"])]

    def plan_memory(
        self,
        budget: int,
        *,
        picture: tuple[int, int] = (4096, 4096),
        upscale: int | None = None,
        tile: int | None = None,
        faces: str = "found",
        background: str = "compact",
        **_: Any,
    ) -> Plan:
        """Whether a call with these arguments runs within `budget` bytes of main memory, libraries included.

        There is one way to run. Counted are as many faces as run at once, whether the photograph shows so many or
        not. Measured on a CPU, and true there (`benchmarks/iqpir_memory.py`).

        Args:
            budget: bytes.
            picture: width and height of the largest picture.
            upscale: as in a call.
            tile: as in a call; of what is around the faces.
            faces: as in a call.
            background: as in a call.

        Raises:
            RestorerError: if it does not fit; the message names the smallest budget that would.
        """
        side, factor = self.network.native, upscale or 1
        face = _MAPS * self.network.config.channels * self.network.dtype.itemsize * side**2
        looked_at = math.prod(picture) * min(1, LONGEST / max(picture)) ** 2
        demand = Demand(
            weights=weights_of(self),
            phases=self.description.phases,
            working={
                "find": 0 if faces == "aligned" else int(_FINDING_BYTES * looked_at),
                "restore": face * (1 if faces == "aligned" else _TOGETHER),
            },
            spare={"none": PROCESS_BYTES + PICTURE_BYTES * factor**2 * math.prod(picture)},
        )
        plan = Plan.of(demand, "none", budget, only="cpu")
        if background == "compact" and faces == "found":
            compact = self._compact()
            around = compact.plan_memory(sys.maxsize, picture=picture, upscale=upscale, tile=tile).device
            its, ours = (sum(net.whole for net in weights_of(pipe).values()) for pipe in (compact, self))
            plan = replace(plan, device=max(plan.device + its, around + ours))
        return fastest([plan], budget, type(self).__name__, "on a CPU")

    def _aligned(self, picture: Picture, call: Call) -> Floats:
        """A picture that is one face in the networks' frame; it is brought to the native size and back."""
        side, (width, height) = self.network.native, picture.size
        face = self._restored([_resized(picture.rgb(), (side, side))], call.options)[0]
        return _resized(face, (call.upscale * width, call.upscale * height))

    def _restored(self, faces: Sequence[Floats], options: Mapping[str, Any]) -> list[Floats]:
        """Aligned faces (side, side, 3), 0..1, restored together."""
        batch = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).to(self.device, self.network.dtype)
        restored: Tensor = self.network(
            2 * batch - 1,
            options["quality"] if self.network.config.bins is not None else None,
            fidelity=options.get("fidelity", 0.0),
            hq_weight=options.get("hq_weight"),
        )
        pixels = ((restored.float().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
        return [colours_of(*pair) for pair in zip(pixels, faces, strict=True)]

    def _around(self, picture: Picture, call: Call) -> Floats:
        """The photograph enlarged, and restored unless it is to be left."""
        if call.options["background"] == "none":
            width, height = picture.size
            return _resized(picture.rgb(), (call.upscale * width, call.upscale * height))
        compact = self._compact().to(self.device)
        defaults = {name: option.default for name, option in compact.description.options.items()}
        return compact.restore(picture, replace(call, task=None, options=defaults))[0]

    def _compact(self) -> CompactRestorerPipeline:
        """What restores the rest of a photograph, loaded when it is first needed."""
        if self._background is None:
            self._background = CompactRestorerPipeline.from_pretrained("compact")
        return self._background


def _description(config: Mapping[str, Any]) -> RestorerDescription:
    """What a network of this configuration can be asked for."""
    known = {
        "quality": config["bins"] is not None,
        "hq_weight": config["hq_codes"] is not None,
        "fidelity": config["fusion_levels"],
    }
    options = {name: option for name, option in _OPTIONS.items() if known.get(name, True)}
    if "hq_weight" in options:
        options["hq_weight"] = replace(options["hq_weight"], default=float(config["hq_weight"]))
    if "quality" not in options and "fidelity" in options:  # CodeFormer, whose authors keep half of the face
        options["fidelity"] = replace(
            options["fidelity"], default=0.5, help="how much of the poor face is kept"
        )
    factor = 1 << (len(config["multipliers"]) - 1)
    native = config["latent"] * factor
    sizes = SizeRule(native=native, multiple=factor, minimum=native)
    return replace(IQPIRPipeline.description, options=options, sizes=sizes)


def _counted(faces: int, background: str) -> Finding:
    if faces:
        return Finding("faces", faces, "", f"{faces} face{'s' if faces > 1 else ''}")
    left = "nothing" if background == "none" else "only what is around"
    return Finding("faces", 0, "", f"no face, so {left} is restored")


def _resized(pixels: Floats, size: tuple[int, int]) -> Floats:
    """Pixels at another size: bilinear as the networks were trained when enlarged, by areas when made smaller."""
    if pixels.shape[1::-1] == size:
        return pixels
    smaller = size[0] < pixels.shape[1]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
