"""Every family, small to set up: whoever adds one adds it here, and `test_contract.py` tries it."""

from collections.abc import Callable

from ggt_hub.degradations import Degradation
from ggt_hub.degradations.blur import Blur
from ggt_hub.degradations.compression import Compression
from ggt_hub.degradations.low_light import LowLight
from ggt_hub.degradations.mixed_blur import MixedBlur
from ggt_hub.degradations.noise import Noise
from ggt_hub.degradations.resize import Resize
from ggt_hub.degradations.sharpen import Sharpen

ALONE: dict[str, Callable[[], Degradation]] = {
    "blur": Blur.alone,
    "noise": Noise.alone,
    "compression": Compression.alone,
    "low_light": LowLight.alone,
    "resize": Resize.alone,
    "mixed_blur": MixedBlur.alone,
    "sharpen": Sharpen.alone,
}

SET_UP: dict[str, Callable[[], Degradation]] = {
    **{
        family.__name__: family for family in (Blur, Noise, Compression, LowLight, Resize, MixedBlur, Sharpen)
    },
    "only sinc": lambda: MixedBlur(sinc=1.0),
    "only WebP": lambda: Compression(kinds=("webp",)),
    "dark ground truth": lambda: LowLight(lifted=False),
    "left small": lambda: Resize(enlarge=False),
    "left small, widened filters": lambda: Resize(enlarge=False, down=("antialiased_lanczos",)),
}
