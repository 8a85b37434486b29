"""The demo: restore, degrade, compare, and browse pairs, in a page that Gradio serves.

The same page is the Space (`spaces/restorer`) and `ggt-hub app`. One file per tab; what a visitor may ask of the
server is decided in `visitors.py`.
"""

from ggt_hub.demo.page import launch, serving
from ggt_hub.demo.settings import Settings

__all__ = ["Settings", "launch", "serving"]
