"""RealRestorer: published weights, stock parts, and pictures of any size."""

from ggt_hub.pipelines.placement import parse_memory
from ggt_hub.pipelines.realrestorer.instructions import LANGUAGES, Language, instruction
from ggt_hub.pipelines.realrestorer.memory import MemoryConfig, Plan, plan_memory
from ggt_hub.pipelines.realrestorer.pipeline import RealRestorerPipeline

__all__ = [
    "LANGUAGES",
    "Language",
    "MemoryConfig",
    "Plan",
    "RealRestorerPipeline",
    "instruction",
    "parse_memory",
    "plan_memory",
]
