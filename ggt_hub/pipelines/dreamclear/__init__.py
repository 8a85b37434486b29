"""DreamClear: a diffusion transformer that restores at higher resolution, with or without a caption."""

from ggt_hub.converters.dreamclear import published_scheduler
from ggt_hub.pipelines.dreamclear.memory import MemoryConfig, plan_memory
from ggt_hub.pipelines.dreamclear.pipeline import DreamClearPipeline

__all__ = ["DreamClearPipeline", "MemoryConfig", "plan_memory", "published_scheduler"]
