"""The page of this Space."""

from ggt_hub.metrics.page import launch, metric_page

page = metric_page("PSNR and SSIM", ["psnr", "psnr-y", "ssim", "ssim-y"])

if __name__ == "__main__":
    launch(page)
