"""What `evaluate.load("pyiqa_metric")` finds."""

from ggt_hub.metrics import modules


class PyiqaMetric(modules.PictureMetric):
    """Any metric of pyiqa by name; pyiqa is licensed for non-commercial use."""

    names = ("pyiqa:musiq",)
