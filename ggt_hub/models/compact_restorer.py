"""The compact restorer: a blind all-in-one network that is small enough to live inside the package.

A plain-convolution U-Net behind a pixel-unshuffle predicts what to add to the picture. Two small helpers steer it.
The *estimator* says what is wrong with the picture; the *conditioner* turns that, the task asked for (or none) and
the strength into one vector c, which modulates every block. The *exposure* head is used for `low_light` only: it
lifts the picture by one global curve before the U-Net sees it, so a blind call never changes the exposure.
"""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from ggt_hub.tasks import Task

ESTIMATES = ("noise", "compression", "blur", "resize")
"""What the estimator reports, each 0 (none) to about 1 (severe); the families of `degradations` say the units."""

TASKS: tuple[Task, ...] = ("blur", "compression", "noise", "low_light", "general")
"""The tasks that the network may be told; `general` is the learned null vector of a blind call."""

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.995)


class CompactRestorer(ModelMixin, ConfigMixin):
    """Restores noise, compression, blur, low resolution and, when asked, low light.

    Args:
        channels: widths at 1/2, 1/4 and 1/8 of the resolution.
        blocks: blocks at each of them; the two finer levels have as many again on the way up.
        condition_width: length of the conditioning vector c.
    """

    config_name = "config.json"
    _supports_gradient_checkpointing = False

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, int, int] = (32, 80, 160),
        blocks: tuple[int, int, int] = (1, 2, 3),
        condition_width: int = 64,
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.estimator = Estimator()
        self.exposure = Exposure()
        self.conditioner = Conditioner(condition_width)
        self.head = nn.Conv2d(12, fine, 3, padding=1)
        self.encode_fine = _stage(fine, blocks[0], condition_width)
        self.down_middle = nn.Conv2d(fine, middle, 2, stride=2)
        self.encode_middle = _stage(middle, blocks[1], condition_width)
        self.down_coarse = nn.Conv2d(middle, coarse, 2, stride=2)
        self.bottleneck = _stage(coarse, blocks[2], condition_width)
        self.up_middle = nn.ConvTranspose2d(coarse, middle, 2, stride=2)
        self.decode_middle = _stage(middle, blocks[1], condition_width)
        self.up_fine = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.decode_fine = _stage(fine, blocks[0], condition_width)
        self.tail = nn.Conv2d(fine, 12, 3, padding=1)

    def forward(
        self, lq: Tensor, c: Tensor, curve: Tensor | None = None, strength: float | Tensor = 1.0
    ) -> Tensor:
        """Restore, given the conditioning vector.

        All global decisions are in the arguments, so that tiles of one picture can share them.

        Args:
            lq: pictures, (B, 3, H, W), 0..1; H and W multiples of 8.
            c: conditioning vectors (B, condition_width), from `condition`.
            curve: (B, 2) gain and exponent for `low_light`, from `exposure`; None leaves the exposure alone.
            strength: 0 returns the input exactly, 1 restores fully; a number, or (B, 1, 1, 1).

        Returns:
            Pictures of the same shape; values may lie slightly outside 0..1.
        """
        lifted = lq if curve is None else apply_curve(lq, curve)
        return lq + strength * (lifted - lq + self._residual(lifted, c))

    def condition(self, estimates: Tensor, task: Tensor, strength: Tensor) -> Tensor:
        """The conditioning vector c (B, condition_width).

        Args:
            estimates: (B, len(ESTIMATES)), from `estimator`.
            task: (B,) indices into TASKS; `general` when nothing is known.
            strength: (B,), 0..1.
        """
        return self.conditioner(estimates, task, strength)

    def _residual(self, x: Tensor, c: Tensor) -> Tensor:
        fine = _run(self.encode_fine, self.head(F.pixel_unshuffle(x, 2)), c)
        middle = _run(self.encode_middle, self.down_middle(fine), c)
        coarse = _run(self.bottleneck, self.down_coarse(middle), c)
        middle = _run(self.decode_middle, middle + self.up_middle(coarse), c)
        fine = _run(self.decode_fine, fine + self.up_fine(middle), c)
        return F.pixel_shuffle(self.tail(fine), 2)


class Block(nn.Module):
    """Residual block of two convolutions whose inside is scaled and shifted, per channel, by c."""

    def __init__(self, width: int, condition_width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = nn.Linear(condition_width, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Map (B, width, H, W) and c (B, condition_width) to (B, width, H, W)."""
        scale, shift = self.modulation(c)[:, :, None, None].chunk(2, dim=1)
        return x + self.second(F.gelu(torch.addcmul(shift, self.first(x), 1 + scale)))


class Conditioner(nn.Module):
    """Estimates, task and strength to the vector c that modulates every block.

    It is called in blind mode too, so whatever is added to its output (a quality prior) always takes effect.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.task = nn.Embedding(len(TASKS), width)
        self.estimates = nn.Linear(len(ESTIMATES), width)
        self.strength = nn.Linear(1, width)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, estimates: Tensor, task: Tensor, strength: Tensor) -> Tensor:
        """Map (B, len(ESTIMATES)), (B,) and (B,) to (B, width)."""
        return self.mix(self.estimates(estimates) + self.task(task) + self.strength(strength[:, None]))


class Estimator(nn.Module):
    """How noisy, compressed, blurred and upscaled a picture is, from the energies of its fine detail.

    It sees the picture without its local mean, and the logarithms of energies: on plain averages of features it
    learned nothing, since what the picture shows outweighs what was done to it.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(12, width, 3, padding=1), nn.GELU())
        self.coarse = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, stride=2),
            nn.GELU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, stride=2),
            nn.GELU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        )
        self.verdict = nn.Sequential(
            nn.LayerNorm(6 * width), nn.Linear(6 * width, 64), nn.GELU(), nn.Linear(64, len(ESTIMATES))
        )

    def forward(self, lq: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W), 0..1, sides multiples of 2, to (B, len(ESTIMATES)), 0 to about 1."""
        detail = lq - F.avg_pool2d(lq, 3, stride=1, padding=1, count_include_pad=False)
        fine = self.fine(F.pixel_unshuffle(16 * detail, 2))
        coarse = self.coarse(fine)
        return self.verdict(torch.cat([_statistics(fine), _statistics(coarse)], dim=1))


def _statistics(features: Tensor) -> Tensor:
    """Mean and logarithm of the mean square of each channel: (B, C, H, W) to (B, 2 C)."""
    energy = features.float().square().mean((2, 3))
    return torch.cat([features.mean((2, 3)), (energy + 1e-4).log().to(features.dtype)], dim=1)


class Exposure(nn.Module):
    """The curve that brings a dark picture to normal brightness, from the quantiles of its brightness."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.curve = nn.Sequential(
            nn.Linear(2 * len(QUANTILES), width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, 2),
        )

    def forward(self, lq: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W), 0..1, to (B, 2): a gain of at least 1 and an exponent of at most 1.

        The quantiles are taken of the mean of 4 x 4 pixels, so that noise does not pass for highlights. The gain
        stops where the highlights reach white: what is left to do, the exponent does in the shadows.
        """
        grey = F.avg_pool2d(lq.mean(1, keepdim=True), 4, ceil_mode=True).flatten(1).float()
        quantiles = torch.quantile(grey, torch.tensor(QUANTILES, device=grey.device), dim=1).T
        brightness = torch.cat([quantiles, (quantiles + 0.01).log()], dim=1).to(lq.dtype)
        gain, exponent = self.curve(brightness).float().unbind(1)
        limit = (1 / quantiles[:, -1].clamp(min=0.01)).clamp(min=1)
        gain = torch.minimum(F.softplus(gain).exp(), limit)
        return torch.stack([gain, torch.exp(-F.softplus(exponent))], dim=1)


def apply_curve(lq: Tensor, curve: Tensor) -> Tensor:
    """(gain * lq) ^ exponent for (B, 3, H, W) and (B, 2), with highlights above 1 left to the caller.

    What is black all around stays so: a night sky holds nothing but the steps of its last level, which the curve
    would make blotches of. It is computed in the precision of the curve, which is float32, and given back in that
    of the pictures.
    """
    gain, exponent = curve[:, 0, None, None, None], curve[:, 1, None, None, None]
    lifted = (gain * lq.clamp(min=0) + 1e-4) ** exponent - 1e-4**exponent
    return torch.lerp(lq.to(lifted), lifted, _light_around(lq).to(lifted)).to(lq.dtype)


def _light_around(lq: Tensor) -> Tensor:
    """How much there is to lift, (B, 1, H, W).

    0 where 7 x 7 pixels have a mean of at most a level of 255, 1 from three levels on.
    """
    mean = F.avg_pool2d(lq.float().mean(1, keepdim=True), 7, stride=1, padding=3, count_include_pad=False)
    share = ((255 * mean - 1) / 2).clamp(0, 1)
    return share * share * (3 - 2 * share)


def told_condition(restorer: CompactRestorer, lq: Tensor) -> Tensor:
    """The vector c of told parts, for pictures (B, 3, H, W): as if nothing were wrong but what they are told."""
    none = torch.zeros(len(lq), len(ESTIMATES), device=lq.device, dtype=lq.dtype)
    general = torch.full((len(lq),), TASKS.index("general"), device=lq.device)
    return restorer.condition(none, general, torch.ones(len(lq), device=lq.device, dtype=lq.dtype))


def _stage(width: int, depth: int, condition_width: int) -> nn.ModuleList:
    return nn.ModuleList(Block(width, condition_width) for _ in range(depth))


def _run(stage: nn.ModuleList, x: Tensor, c: Tensor) -> Tensor:
    for block in stage:
        x = block(x, c)
    return x
