"""Pixels in and out: every image enters through `read_image` and leaves through `write_image`."""

from ggt_hub.images.encode import Encoded, check_format, encode_image
from ggt_hub.images.faults import ImageWarning, OtherPicturesWarning
from ggt_hub.images.metadata import Metadata
from ggt_hub.images.network import fill_hidden, is_panorama, unwrapped, wrapped
from ggt_hub.images.picture import Picture
from ggt_hub.images.read import read_image
from ggt_hub.images.tile import pad_to_multiple, run_tiled, watch_tiles
from ggt_hub.images.write import write_image

__all__ = [
    "Encoded",
    "ImageWarning",
    "Metadata",
    "OtherPicturesWarning",
    "Picture",
    "check_format",
    "encode_image",
    "fill_hidden",
    "is_panorama",
    "pad_to_multiple",
    "read_image",
    "run_tiled",
    "unwrapped",
    "watch_tiles",
    "wrapped",
    "write_image",
]
