"""What people look at: self-contained HTML pages with before/after sliders, and sheets of pictures."""

from ggt_hub.reports.page import Comparison, Table, write_report
from ggt_hub.reports.plots import histogram, interval_plot
from ggt_hub.reports.sheet import contact_sheet

__all__ = ["Comparison", "Table", "contact_sheet", "histogram", "interval_plot", "write_report"]
