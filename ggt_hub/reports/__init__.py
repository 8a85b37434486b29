"""What people look at: self-contained HTML pages with before/after sliders, and sheets of pictures."""

from ggt_hub.reports.page import Comparison, Table, write_report
from ggt_hub.reports.plots import histogram
from ggt_hub.reports.sheet import contact_sheet

__all__ = ["Comparison", "Table", "contact_sheet", "histogram", "write_report"]
