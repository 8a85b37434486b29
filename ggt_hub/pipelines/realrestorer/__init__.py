"""RealRestorer: published weights, stock parts, and pictures of any size."""

from ggt_hub.pipelines.realrestorer.pipeline import RealRestorerPipeline

__all__ = ["RealRestorerPipeline"]
