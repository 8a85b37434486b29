"""Data sets of a few pictures in the real formats, and networks with random weights."""

import json

import numpy as np
import torch
from PIL import Image
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    ResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
)

from tests.metrics.golden import noisy
from tests.photographs import photograph

CATEGORIES = {1: "person", 3: "cat", 44: "tv"}
SIZES = {7: (96, 64), 9: (80, 112)}  # of pictures, by their numbers


def coco(folder):
    """Two pictures with their boxes, unpacked as COCO is, and poor ones of half the size."""
    (folder / "annotations").mkdir(parents=True)
    images, boxes = [], []
    for number, (height, width) in SIZES.items():
        name = f"{number:012d}.jpg"
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for category in CATEGORIES:
            sides = [4.0 + category / 4, 6.0, 30.0, 20.0 + category / 4]
            box = {"bbox": sides, "area": sides[2] * sides[3], "category_id": category, "iscrowd": 0}
            boxes.append({"id": len(boxes) + 1, "image_id": number, **box})
        _pictures(folder, "val2017", name, height, width)
    content = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
    }
    (folder / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return folder


def ade20k(folder):
    """Two pictures with their labels, unpacked as SceneParsing is."""
    (folder / "annotations/validation").mkdir(parents=True)
    for number, (height, width) in SIZES.items():
        labels = np.zeros((height, width), np.uint8)
        labels[: height // 2], labels[height // 2 + 4 :] = 1 + number, 150
        Image.fromarray(labels).save(folder / f"annotations/validation/ADE_val_{number:08d}.png")
        _pictures(folder, "images/validation", f"ADE_val_{number:08d}.jpg", height, width)
    return folder


def _pictures(folder, clean, name, height, width):
    pixels = photograph(128)[:height, :width]
    for place, shown in ((clean, pixels), ("lq", noisy(pixels, 40)[::2, ::2])):
        (folder / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(shown).save(folder / place / name)


def detr(folder, names):
    torch.manual_seed(0)
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    config = DetrConfig(
        use_timm_backbone=False, backbone=None, backbone_config=backbone, use_pretrained_backbone=False,
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=6,
        id2label=names, label2id={name: number for number, name in names.items()},
    )  # fmt: skip
    DetrForObjectDetection(config).save_pretrained(folder)
    DetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def segformer(folder, classes=150):
    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=16, num_labels=classes,
    )  # fmt: skip
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder
