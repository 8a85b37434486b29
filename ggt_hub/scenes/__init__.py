"""What a picture shows besides its pixels, how far things are and what belongs together, and what may lie over it.

Each comes from two sources: a procedural one, which needs nothing, and a real one: a network, or a folder.
"""

from ggt_hub.scenes.assets import KINDS, NOTHING, Assets, Kind, Named
from ggt_hub.scenes.scene import Scene

__all__ = ["KINDS", "NOTHING", "Assets", "Kind", "Named", "Scene"]
