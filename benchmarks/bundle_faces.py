"""Write the face detector that ships, from the three networks in the wheel of facenet-pytorch (MIT).

pip download facenet-pytorch==2.6.0 --no-deps
python benchmarks/bundle_faces.py facenet_pytorch-2.6.0-py3-none-any.whl
"""

import io
import sys
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from ggt_hub.models import FaceDetector

TARGET = Path(__file__).resolve().parents[1] / "ggt_hub/pipelines/faces/detector"
NOTICE = "facenet_pytorch-2.6.0.dist-info/LICENSE.md"
# The names there, in the order of our modules; the last layers are joined into one.
LAYERS = {
    "pnet": ["conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3"],
    "rnet": ["conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3", "dense4", "prelu4"],
    "onet": ["conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3", "conv4", "prelu4", "dense5", "prelu5"],
}
LAST = {
    "pnet": ["conv4_1", "conv4_2"],
    "rnet": ["dense5_1", "dense5_2"],
    "onet": ["dense6_1", "dense6_2", "dense6_3"],
}
OWN = {"pnet": "propose", "rnet": "refine", "onet": "finish"}


def bundle(wheel: Path) -> None:
    detector, state = FaceDetector(), {}
    with zipfile.ZipFile(wheel) as archive:
        notice = archive.read(NOTICE).decode()
        for theirs, own in OWN.items():
            data = archive.read(f"facenet_pytorch/data/{theirs}.pt")
            weights = torch.load(io.BytesIO(data), weights_only=True)
            places = [
                index
                for index, layer in enumerate(getattr(detector, own).layers)
                if any(True for _ in layer.parameters())
            ]
            for place, name in zip(places, LAYERS[theirs], strict=True):
                for kind in ("weight", "bias"):
                    if f"{name}.{kind}" in weights:
                        value = weights[f"{name}.{kind}"]
                        state[f"{own}.layers.{place}.{kind}"] = _rows_first(value)
            for kind in ("weight", "bias"):
                state[f"{own}.last.{kind}"] = torch.cat([weights[f"{name}.{kind}"] for name in LAST[theirs]])
    detector.load_state_dict(state)
    detector.half().save_pretrained(TARGET)
    (TARGET / "NOTICE.md").write_text(
        "The weights are those of `facenet-pytorch` 2.6.0 (MTCNN), rounded to 16 bits, under this licence:\n\n"
        + notice,
        encoding="utf-8",
    )


def _rows_first(weight: Tensor) -> Tensor:
    """There, maps of 3 x 3 are flattened as (columns, rows, channels); here, as (channels, rows, columns)."""
    if weight.ndim != 2:
        return weight
    return weight.unflatten(1, (3, 3, -1)).permute(0, 3, 2, 1).flatten(1)


if __name__ == "__main__":
    bundle(Path(sys.argv[1]))
