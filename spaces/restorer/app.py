"""The demo as a Space: everything is in `ggt_hub.demo`, set up by the environment variables in README.md."""

import spaces  # noqa: F401  ZeroGPU wants to come before anything that may touch a GPU
from ggt_hub.demo import launch

launch()
