"""Detectors and segmenters of transformers, from a folder or the Hub."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from ggt_hub.scenes.networks import Network


class Detector(Network):
    """Any of `AutoModelForObjectDetection`: DETR, RT-DETR, YOLOS and their like."""

    def detect(self, picture: Image.Image, height: int, width: int, device: Any) -> list[dict[str, Any]]:
        """What it sees: for each box its score, label (its number of a class) and corners.

        Args:
            picture: RGB.
            height: of the picture that the corners are of, whatever size this one has.
            width: likewise.
            device: where it works.
        """
        processor, network = self._parts
        with torch.inference_mode():
            outputs = network.to(device)(**processor(images=picture, return_tensors="pt").to(device))
        (found,) = processor.post_process_object_detection(
            outputs, threshold=0.0, target_sizes=[(height, width)]
        )
        boxes = zip(found["scores"].tolist(), found["labels"].tolist(), found["boxes"].tolist(), strict=True)
        return [{"score": score, "label": label, "corners": corners} for score, label, corners in boxes]

    @property
    def classes(self) -> dict[int, str]:
        """Numbers and names of what it knows."""
        return dict(self._parts[1].config.id2label)

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        network = self.load(AutoModelForObjectDetection.from_pretrained)
        return self.load(AutoImageProcessor.from_pretrained), network.eval()


class Segmenter(Network):
    """Any of `AutoModelForSemanticSegmentation` (SegFormer, UperNet) or of its universal kin (Mask2Former)."""

    def segment(self, picture: Image.Image, height: int, width: int, device: Any) -> np.ndarray[Any, Any]:
        """The class of each pixel, `height x width`; arguments as those of `Detector.detect`."""
        processor, network = self._parts
        with torch.inference_mode():
            outputs = network.to(device)(**processor(images=picture, return_tensors="pt").to(device))
        (found,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[(height, width)])
        return np.asarray(found.cpu().numpy())

    @property
    def class_count(self) -> int:
        """How many classes it tells apart."""
        return int(self._parts[1].config.num_labels)

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        from transformers import (
            MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING,
            AutoConfig,
            AutoImageProcessor,
            AutoModelForSemanticSegmentation,
            AutoModelForUniversalSegmentation,
        )

        config = self.load(AutoConfig.from_pretrained)
        is_universal = type(config) in MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING
        auto = AutoModelForUniversalSegmentation if is_universal else AutoModelForSemanticSegmentation
        return self.load(AutoImageProcessor.from_pretrained), self.load(auto.from_pretrained).eval()
