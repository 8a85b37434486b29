"""Pixels in and out: every image enters through `read_image` and leaves through `write_image`."""

from ggt_hub.images.picture import ImageWarning, OtherPicturesWarning, Picture
from ggt_hub.images.read import read_image
from ggt_hub.images.tile import pad_to_multiple, run_tiled
from ggt_hub.images.write import write_image

__all__ = [
    "ImageWarning",
    "OtherPicturesWarning",
    "Picture",
    "pad_to_multiple",
    "read_image",
    "run_tiled",
    "write_image",
]
