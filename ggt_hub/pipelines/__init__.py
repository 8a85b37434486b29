"""Restorers as diffusers pipelines, all called the same way; see `RestorerPipeline`."""

from ggt_hub.pipelines.base import RestorerPipeline, RestorerPipelineOutput
from ggt_hub.pipelines.compact import CompactRestorerPipeline
from ggt_hub.pipelines.description import Option, RestorerDescription, SizeRule
from ggt_hub.pipelines.findings import Finding, describe_findings
from ggt_hub.pipelines.picture_by_picture import PictureByPicture
from ggt_hub.pipelines.quality import AttachedPrior, attach_quality_prior

__all__ = [
    "AttachedPrior",
    "CompactRestorerPipeline",
    "Finding",
    "Option",
    "PictureByPicture",
    "RestorerDescription",
    "RestorerPipeline",
    "RestorerPipelineOutput",
    "SizeRule",
    "attach_quality_prior",
    "describe_findings",
]
