"""Restorers as diffusers pipelines, all called the same way; see `RestorerPipeline`."""

from ggt_hub.pipelines.base import RestorerPipeline, RestorerPipelineOutput
from ggt_hub.pipelines.compact import CompactRestorerPipeline
from ggt_hub.pipelines.description import RestorerDescription
from ggt_hub.pipelines.findings import Finding, describe_findings

__all__ = [
    "CompactRestorerPipeline",
    "Finding",
    "RestorerDescription",
    "RestorerPipeline",
    "RestorerPipelineOutput",
    "describe_findings",
]
