"""What `evaluate.load("fid_kid")` finds."""

from ggt_hub.metrics import modules


class FidKid(modules.SetDistance):
    """FID and KID: how far one set of pictures is from another, by features of Inception v3."""

    names = ("fid", "kid")
