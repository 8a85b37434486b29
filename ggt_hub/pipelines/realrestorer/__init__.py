"""RealRestorer: published weights, stock parts, and pictures of any size."""

from ggt_hub.pipelines.placement import parse_memory
from ggt_hub.pipelines.realrestorer.memory import MemoryConfig, Plan, plan_memory
from ggt_hub.pipelines.realrestorer.pipeline import RealRestorerPipeline

__all__ = ["MemoryConfig", "Plan", "RealRestorerPipeline", "parse_memory", "plan_memory"]
