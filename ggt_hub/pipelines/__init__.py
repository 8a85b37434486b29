"""Restorers as diffusers pipelines, all called the same way; see `RestorerPipeline`."""

from ggt_hub.pipelines.base import RestorerPipeline, RestorerPipelineOutput
from ggt_hub.pipelines.compact import CompactRestorerPipeline
from ggt_hub.pipelines.description import Option, RestorerDescription, SizeRule
from ggt_hub.pipelines.findings import Finding, describe_findings
from ggt_hub.pipelines.picture_by_picture import PictureByPicture

__all__ = [
    "CompactRestorerPipeline",
    "Finding",
    "Option",
    "PictureByPicture",
    "RestorerDescription",
    "RestorerPipeline",
    "RestorerPipelineOutput",
    "SizeRule",
    "describe_findings",
]
