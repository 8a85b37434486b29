"""The compact restorer as a pipeline: blind, deterministic, any size, at home on a CPU."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from ggt_hub.errors import RestorerError
from ggt_hub.images import Picture, fill_hidden, pad_to_multiple, read_image, run_tiled
from ggt_hub.models import CompactRestorer, Detector, QualityPrior, ToldParts
from ggt_hub.models.compact_restorer import ESTIMATES, TASKS, apply_curve, told_condition
from ggt_hub.models.detector import DETECTED, features
from ggt_hub.models.low_rank import changed_weights
from ggt_hub.models.told_parts import small_copy, unveiled
from ggt_hub.pipelines.clipped_noise import darken_shadows, white_noise
from ggt_hub.pipelines.description import Option, RestorerDescription, SizeRule
from ggt_hub.pipelines.findings import Finding
from ggt_hub.pipelines.picture_by_picture import Call, PictureByPicture
from ggt_hub.pipelines.placement import PICTURE_BYTES, PROCESS_BYTES, Demand, Plan, fastest, weights_of
from ggt_hub.tasks import TASKS as ALL_TASKS
from ggt_hub.tasks import Task, check_task

BY_EVIDENCE = ("flare", "reflection")
"""Tasks whose told parts never learned to leave alone a photograph that has none of it: the detector decides."""

PATCHES = {"noise": (96, 8), "rest": (256, 3)}
"""Side in pixels of the patches that the estimator judges, and at most how many along each side of the picture."""


class CompactRestorerPipeline(PictureByPicture):
    """Restores noise, compression, blur and low resolution without being told which, and more when asked.

    A picture is enlarged first (bicubic), then restored. The task `general` is the same as None; `low_light` also
    lifts the exposure, which no other does. What cannot be undone blind (haze, rain ...) is undone by told parts,
    where the restorer has them.
    """

    _optional_components: ClassVar[list[str]] = ["parts", "detector", "quality_prior"]
    # All of it is small, and its parts are not called as one module: where models are offloaded, it stays.
    model_cpu_offload_seq = ""
    _exclude_from_cpu_offload: ClassVar[list[str]] = ["restorer", *_optional_components]

    description = RestorerDescription(
        tasks=TASKS,
        upscales=(1, 2, 3, 4),
        options={
            "strength": Option(
                default=1.0,
                help="0 leaves the picture as it is, 1 restores it fully",
                minimum=0,
                maximum=1,
                slider=(0, 1, 0.05),
            )
        },
        sizes=SizeRule(multiple=8),
        tiling="external",
        tile=1024,
        overlap=64,
        prior_host="restorer.conditioner",
        phases={"judge": "restorer", "restore": "restorer"},
        memory="1.5 GB of memory with tiles of 1024 pixels, plus 25 bytes for each pixel of the picture",
    )

    def __init__(
        self,
        restorer: CompactRestorer,
        parts: ToldParts | None = None,
        detector: Detector | None = None,
        quality_prior: QualityPrior | None = None,
    ) -> None:
        super().__init__()
        self.description = _with_told(self.description, () if parts is None else parts.tasks)  # type: ignore[misc]
        self.register_modules(restorer=restorer, parts=parts, detector=detector, quality_prior=quality_prior)

    @classmethod
    def describe(cls, place: Path) -> RestorerDescription:
        """The description with the tasks of the told parts in a folder, by their configuration alone."""
        config = place / "parts" / ToldParts.config_name
        ranks = json.loads(config.read_text(encoding="utf-8"))["ranks"] if config.is_file() else {}
        return _with_told(super().describe(place), [task for task in ALL_TASKS if task in ranks])

    def restore(self, picture: Picture, call: Call) -> tuple[NDArray[np.float32], list[Finding]]:
        """Restore one picture.

        What is decided once for the whole picture (estimates, exposure) is decided before it is cut into tiles.
        """
        picture, task, strength = (
            _enlarged(picture, call.upscale),
            call.task or "general",
            call.options["strength"],
        )
        judged = self._judged(picture)
        if self.parts is not None and task in self.parts.tasks:
            strength *= self._likely(task, judged)
            return self._told(picture, task, call, strength), _damage_found(judged)
        network, options = self.restorer, {"device": self.device, "dtype": self.dtype}
        curve = self._exposure(picture) if task == "low_light" else None
        estimates = self._estimates(picture, curve)
        if task == "general":
            strength *= _evidence(estimates)
        quality = call.options.get("quality")
        with self.at_quality([quality]):
            c = network.condition(
                estimates,
                torch.tensor([TASKS.index(task)], device=self.device),
                torch.tensor([strength], **options),
            )
        changed = changed_weights(network, self._changes(quality))

        def restore_tile(pixels: Tensor) -> Tensor:
            lq = pixels.to(**options, memory_format=torch.channels_last)
            told = lq, c, curve, strength
            return (functional_call(network, changed, told) if changed else network(*told)).clamp(0, 1)

        side, overlap = self.tile_and_overlap(call.tile)
        multiple = self.description.sizes.multiple
        restored = run_tiled(restore_tile, picture, tile=side, overlap=overlap, multiple=multiple)
        if task in ("general", "noise") and strength >= 0.5:
            sigma = white_noise(picture, restored, strength)
            if sigma is not None:
                darken_shadows(restored, picture, sigma, strength)
        return restored, [*_damage_found(judged), *_findings(estimates)]

    @torch.no_grad()
    def detect(self, image: Any) -> Task | None:
        """Which of the nine kinds of damage a picture shows most, as far as the detector can tell; None for none.

        Args:
            image: anything that `ggt_hub.read_image` takes.

        Raises:
            RestorerError: if this restorer has no detector.
            ImageError: if the picture cannot be read.
        """
        if self.detector is None:
            raise RestorerError("this restorer has no detector: load one that has, such as 'compact'")
        found = _damage_found(self._judged(fill_hidden(read_image(image))))
        return check_task(found[0].name) if found else None

    def _judged(self, picture: Picture) -> tuple[Tensor, Tensor] | None:
        """What `Detector.judge` says about the visible part of a picture; None without one."""
        if self.detector is None:
            return None
        left, top, width, height = _visible_part(picture)
        visible = picture.rgb((left, top, left + width, top + height))
        pixels = _to_tensor(visible).to(self.device, self.dtype)
        return self.detector.judge(features(self.restorer, pixels), small_copy(pixels))

    def _likely(self, task: str, judged: tuple[Tensor, Tensor] | None) -> float:
        """How much of a told part's work is done: all of it once its damage is likelier than none."""
        if judged is None or task not in BY_EVIDENCE:
            return 1.0
        return min(1.0, 2 * float(self.detector.chance(judged[0], task)[0]))

    def plan_memory(
        self,
        budget: int,
        *,
        task: str | None = None,
        picture: tuple[int, int] = (4096, 4096),
        upscale: int | None = None,
        tile: int | None = None,
        **_: Any,
    ) -> Plan:
        """Whether a call with these arguments runs within `budget` bytes of main memory, libraries included.

        There is one way to run: a tile of another size would change the result a little, so it is yours to choose.
        The numbers were measured on a CPU, and hold there (`benchmarks/compact_memory.py`).

        Args:
            budget: bytes.
            task: as in a call; what told parts take is not measured.
            picture: width and height of the largest picture.
            upscale: as in a call.
            tile: as in a call.

        Raises:
            RestorerError: if it does not fit; the message names the smallest budget that would. And for the task of
                a told part.
        """
        if self.parts is not None and task in self.parts.tasks:
            return super().plan_memory(budget)
        sides = [side * (upscale or 1) for side in picture]
        cut, _overlap = self.tile_and_overlap(tile)
        at_once = math.prod(min(side, cut or side) for side in sides)
        each = 2.1 * alive_bytes(self.restorer.config.channels[0], self.dtype.itemsize)
        demand = Demand(
            weights=weights_of(self),
            phases=self.description.phases,
            working={"judge": int(each * PATCHES["rest"][0] ** 2), "restore": int(each * at_once)},
            spare={"none": PROCESS_BYTES + PICTURE_BYTES * math.prod(sides)},
        )
        plans = [Plan.of(demand, "none", budget, only="cpu")]
        return fastest(plans, budget, type(self).__name__, "on a CPU; a smaller tile needs less")

    def _changes(self, quality: float | None) -> dict[str, Tensor]:
        """What the quality prior changes in the restorer's weights while a quality is set."""
        return {} if quality is None or self.quality_prior is None else self.quality_prior.changes()

    def _told(self, picture: Picture, task: str, call: Call, strength: float) -> NDArray[np.float32]:
        """By the part for a task: its veil is seen once for the whole picture, its adapter works in tiles.

        A quality makes no difference to a veil alone, which is all that some parts have.
        """
        rgb = picture.rgb()
        options = {"device": self.device, "dtype": self.dtype}
        whole = _to_tensor(rgb).to(**options)
        lifted = unveiled(whole, self.parts.veil(task, small_copy(whole)))
        quality, changes = call.options.get("quality"), self.parts.changes(task)
        restored = lifted[0].float().permute(1, 2, 0).cpu().numpy()
        if changes:
            changed = changed_weights(self.restorer, changes, self._changes(quality))
            with self.at_quality([quality]):
                c = told_condition(self.restorer, whole)

            def restore_tile(pixels: Tensor) -> Tensor:
                lq = pixels.to(**options, memory_format=torch.channels_last)
                return functional_call(self.restorer, changed, (lq, c)).clamp(0, 1)

            side, overlap = self.tile_and_overlap(call.tile)
            multiple = self.description.sizes.multiple
            restored = run_tiled(restore_tile, restored, tile=side, overlap=overlap, multiple=multiple)
        return rgb + np.float32(strength) * (restored - rgb)

    def _exposure(self, picture: Picture) -> Tensor:
        width, height = max(1, picture.size[0] // 4), max(1, picture.size[1] // 4)
        small = read_image(cv2.resize(picture.pixels, (width, height), interpolation=cv2.INTER_AREA)).rgb()
        if picture.alpha is not None:
            alpha = cv2.resize(picture.alpha, (width, height), interpolation=cv2.INTER_NEAREST)
            small = _in_one_row(small[alpha > 0]) if alpha.any() else small
        return self.restorer.exposure(_to_tensor(small).to(self.device, self.dtype))

    def _estimates(self, picture: Picture, curve: Tensor | None) -> Tensor:
        """The verdict (1, 4) on a picture: the mean over large patches, but for noise a low quantile of small ones.

        Noise is everywhere, so smooth patches show it best; elsewhere grass and gravel pass for noise. The least
        of all would be wrong as well: where a picture is black or white, its noise is clipped away.
        """
        rest = self._verdicts(picture, curve, *PATCHES["rest"]).mean(0)
        noise = self._verdicts(picture, curve, *PATCHES["noise"])[..., :1].float().quantile(0.25, dim=0)
        return torch.cat([noise.to(rest), rest[..., 1:]], dim=-1)

    def _verdicts(self, picture: Picture, curve: Tensor | None, side: int, most: int) -> Tensor:
        verdicts = []
        for patch in _patches(picture, side, most):
            pixels = _to_tensor(patch).to(self.device, self.dtype)
            lifted = pixels if curve is None else apply_curve(pixels, curve).clamp(0, 1)
            verdicts.append(self.restorer.estimator(lifted))
        return torch.stack(verdicts)


def _with_told(description: RestorerDescription, tasks: Iterable[Task]) -> RestorerDescription:
    return replace(description, tasks=(*TASKS, *(task for task in tasks if task not in TASKS)))


def alive_bytes(width: int, itemsize: int) -> float:
    """The tensors that are alive at once for each pixel of a tile, by the channels of the first level.

    Counted on `meta`: 182 bytes with 32 channels, 252 with 48, in float32. A CPU takes at most 2.1 times as much,
    measured in float32 and bfloat16 with tiles of 512 and 1024 pixels (`benchmarks/compact_memory.py`).
    """
    return (10.5 + 1.09375 * width) * itemsize


def _damage_found(judged: tuple[Tensor, Tensor] | None) -> list[Finding]:
    """The kind of damage that the detector finds, if it finds any, and how strong it is."""
    if judged is None:
        return []
    logits, severities = judged
    place = int(logits[0].argmax()) - 1
    if place < 0:
        return []
    task, severity = DETECTED[place], round(float(severities[0, place]), 2)
    words = "" if task in ESTIMATES else f"{task.replace('_', ' ')} {severity:.1f} of 1"
    return [Finding(task, severity, "of 1", words)]  # of the others the estimator says more


def _evidence(estimates: Tensor) -> float:
    """How much damage was found: 0 (none) to 1 (enough to restore in full).

    A picture in which nothing stands out is left nearly as it is, so that grass is not smoothed for noise. Full
    restoration begins at noise of 6 levels, JPEG quality 60, a blur of 0.4 pixels, or an enlargement by 1.2.
    """
    noise, compression, blur, resize = estimates.clamp(0, 1).flatten().tolist()
    return min(1.0, max(noise / 0.12, compression / 0.4, blur / 0.133, resize / 0.1))


def _enlarged(picture: Picture, factor: int) -> Picture:
    if factor == 1:
        return picture
    size = picture.size[0] * factor, picture.size[1] * factor
    pixels = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_CUBIC)
    alpha = (
        None if picture.alpha is None else cv2.resize(picture.alpha, size, interpolation=cv2.INTER_NEAREST)
    )
    return replace(picture, pixels=pixels.reshape(*pixels.shape[:2], -1), alpha=alpha)


def _in_one_row(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels (N, 3) as a picture of blocks of 4 x 4 beside one another; what is left over is left out."""
    blocks = np.resize(pixels, (max(1, len(pixels) // 16), 4, 4, 3))
    return blocks.transpose(1, 0, 2, 3).reshape(4, -1, 3)


def _patches(picture: Picture, side: int, most: int) -> list[NDArray[np.float32]]:
    """Patches spread evenly over the visible part of the picture, each padded to even sides.

    Those that show about as much as the one that shows most: what is drawn beneath nothing has no noise.
    """
    left, top, width, height = _visible_part(picture)
    boxes = [
        (left + x, top + y, left + x + min(side, width), top + y + min(side, height))
        for x in _starts(width, side, most)
        for y in _starts(height, side, most)
    ]
    shown = [_share_visible(picture, box) for box in boxes]
    return [
        pad_to_multiple(picture.rgb(box), 8)
        for box, share in zip(boxes, shown, strict=True)
        if share >= 0.9 * max(shown)
    ]


def _visible_part(picture: Picture) -> tuple[int, int, int, int]:
    """Left, top, width, height of the smallest box around all that is visible; of everything where nothing is."""
    if picture.alpha is None or not picture.alpha.any():
        return 0, 0, *picture.size
    rows, columns = (np.flatnonzero(picture.alpha.any(axis=axis)) for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def _share_visible(picture: Picture, box: tuple[int, int, int, int]) -> float:
    if picture.alpha is None:
        return 1.0
    left, top, right, bottom = box
    return float(np.count_nonzero(picture.alpha[top:bottom, left:right])) / ((right - left) * (bottom - top))


def _starts(extent: int, side: int, most: int) -> list[int]:
    count = min(most, -(-extent // side))
    return [int(start) for start in np.linspace(0, extent - min(side, extent), count)]


def _to_tensor(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


def _findings(estimates: Tensor) -> list[Finding]:
    """The estimates of one picture in the units in which people think of them."""
    noise, compression, blur, resize = estimates.clamp(0, 1).flatten().tolist()
    sigma, quality = round(50 * noise, 1), round(100 - 100 * compression)
    radius, factor = round(3 * blur, 2), round(1 + 2 * resize, 2)
    return [
        Finding("noise_sigma", sigma, "levels of 255", f"noise sigma {sigma:.0f}" if sigma >= 3 else ""),
        Finding(
            "jpeg_quality", quality, "of 100", f"compressed to quality {quality}" if quality < 90 else ""
        ),
        Finding("blur_sigma", radius, "pixels", f"blurred by {radius:.1f} px" if radius >= 0.5 else ""),
        Finding("enlarged_by", factor, "", f"enlarged by {factor:.1f}" if factor >= 1.25 else ""),
    ]
