"""The page of this Space."""

from ggt_hub.metrics.page import launch, metric_page

page = metric_page("Any metric of pyiqa", ["pyiqa:musiq"])

if __name__ == "__main__":
    launch(page)
