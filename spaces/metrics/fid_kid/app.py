"""The page of this Space."""

from ggt_hub.metrics.page import launch, set_page

page = set_page("FID and KID")

if __name__ == "__main__":
    launch(page)
