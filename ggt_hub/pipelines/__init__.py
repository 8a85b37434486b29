"""Restorers as diffusers pipelines, all called the same way; see `RestorerPipeline`."""

from ggt_hub.pipelines.base import RestorerPipeline, RestorerPipelineOutput
from ggt_hub.pipelines.compact import CompactRestorerPipeline
from ggt_hub.pipelines.description import RestorerDescription

__all__ = ["CompactRestorerPipeline", "RestorerDescription", "RestorerPipeline", "RestorerPipelineOutput"]
