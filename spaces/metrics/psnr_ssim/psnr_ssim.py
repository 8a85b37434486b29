"""What `evaluate.load("psnr_ssim")` finds."""

from ggt_hub.metrics import modules


class PsnrSsim(modules.PictureMetric):
    """PSNR, SSIM and MS-SSIM, each by a protocol that its name carries."""

    names = ("psnr", "psnr-y", "ssim", "ssim-y")
