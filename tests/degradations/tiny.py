"""Every family, small to set up: whoever adds one adds it here, and `test_contract.py` tries it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ggt_hub.degradations import Degradation, list_presets, load_presets
from ggt_hub.degradations.blur import Blur
from ggt_hub.degradations.compression import Compression
from ggt_hub.degradations.flare import Flare
from ggt_hub.degradations.haze import Haze
from ggt_hub.degradations.low_light import LowLight
from ggt_hub.degradations.mixed_blur import MixedBlur
from ggt_hub.degradations.moire import Moire
from ggt_hub.degradations.noise import Noise
from ggt_hub.degradations.old_photo import OldPhoto
from ggt_hub.degradations.rain import Rain
from ggt_hub.degradations.reflection import Reflection
from ggt_hub.degradations.resize import Resize
from ggt_hub.degradations.sharpen import Sharpen
from ggt_hub.degradations.snow import Snow

FAMILIES: tuple[type[Degradation], ...] = (
    Blur,
    Noise,
    Compression,
    LowLight,
    Resize,
    Haze,
    Rain,
    Snow,
    Moire,
    Flare,
    Reflection,
    OldPhoto,
    MixedBlur,
    Sharpen,
)

ALONE: dict[str, Callable[[], Degradation]] = {family.name: family.alone for family in FAMILIES}

KINDS: dict[str, Degradation] = {
    f"{family.name} {kind}".strip(): replace(family.alone(), kinds=(kind,)) if kind else family.alone()
    for family in FAMILIES
    for kind in getattr(family.alone(), "kinds", ("",))
}
"""Each kind of each family alone."""

SET_UP: dict[str, Callable[[], Degradation]] = {
    **{family.__name__: family for family in FAMILIES},
    "all kinds of blur": lambda: Blur(kinds=Blur.alone().kinds),
    "all kinds of noise": lambda: Noise(kinds=Noise.alone().kinds),
    "all kinds of compression": lambda: Compression(kinds=Compression.alone().kinds),
    "only sinc": lambda: MixedBlur(sinc=1.0),
    "only WebP": lambda: Compression(kinds=("webp",)),
    "dark ground truth": lambda: LowLight(lifted=False),
    "kernels of a size": lambda: Blur(kinds=("sinc", "gaussian"), sizes=(7, 21)),
    "averaged where busy": lambda: Noise(averaging=1.0),
    "published noise": lambda: Noise(kinds=("gaussian", "photons", "levels"), grey=0.5, even_variance=True),
    "even qualities": lambda: Compression(even=True),
    "left small": lambda: Resize(enlarge=False),
    "left small, widened filters": lambda: Resize(enlarge=False, down=("antialiased_lanczos",)),
}

PRESETS = {
    f"{name}, {preset.task}" if len(presets) > 1 else name: preset
    for name, presets in ((name, load_presets(name)) for name in list_presets())
    for preset in presets
}
"""Whatever `degrade` knows by name, each task of a preset that has several."""

every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
