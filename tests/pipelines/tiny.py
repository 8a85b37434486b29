"""A compact restorer of the true architecture, small and random, for tests of everything around it."""

import torch

from ggt_hub.models import CompactRestorer
from ggt_hub.pipelines import CompactRestorerPipeline


def tiny_pipeline(seed: int = 0) -> CompactRestorerPipeline:
    torch.manual_seed(seed)
    network = CompactRestorer(channels=(8, 8, 8), blocks=(1, 1, 1), condition_width=8).eval()
    pipe = CompactRestorerPipeline(network)
    pipe.set_progress_bar_config(disable=True)
    return pipe
