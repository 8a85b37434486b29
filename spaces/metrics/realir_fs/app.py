"""The page of this Space."""

from ggt_hub.metrics.page import metric_page

page = metric_page("RS and FS of RealIR-Bench", ["lpips"])

if __name__ == "__main__":
    page.launch()
