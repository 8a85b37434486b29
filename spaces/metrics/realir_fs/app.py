"""The page of this Space."""

from ggt_hub.metrics.page import launch, rating_page

page = rating_page("RS and FS of RealIR-Bench")

if __name__ == "__main__":
    launch(page)
