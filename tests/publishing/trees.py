"""A small tree with one repository of each kind, as a checkout has it."""

from pathlib import Path

import datasets
import torch

from ggt_hub.data.pairs import PAIR_FEATURES
from ggt_hub.data.work.export import export
from ggt_hub.models import CompactRestorer
from ggt_hub.pipelines import CompactRestorerPipeline
from tests.data_sets.layouts import picture

MANIFEST = """
namespace = "org"
{tables}
"""
CARDS = {
    "model": "license: mit\nlibrary_name: diffusers\npipeline_tag: image-to-image\ntags: [image-restoration]\n",
    "dataset": "license: mit\npretty_name: Pairs\ntask_categories: [image-to-image]\nconfigs: []\n",
    "space": "title: Demo\nemoji: 📷\nsdk: gradio\nsdk_version: 6.31.0\napp_file: app.py\nlicense: mit\n"
    "colorFrom: blue\ncolorTo: green\nshort_description: Mean difference\n",
    "static": "title: Board\nsdk: static\napp_file: index.html\nlicense: mit\ncolorFrom: blue\ncolorTo: green\n"
    "short_description: Restorers by one protocol\n",
}
METRIC = """
import datasets
import evaluate
import numpy as np


class MeanDifference(evaluate.Metric):
    def _info(self):
        number = datasets.Value("float")
        features = datasets.Features({"predictions": number, "references": number})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {"mean_difference": float(np.mean(np.subtract(predictions, references)))}
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def card(kind: str, body: str = "# {{ namespace }}, {{ tag }}\n", header: str | None = None) -> str:
    return f"---\n{CARDS[kind] if header is None else header}---\n{body}"


def manifest(root: Path, **entries: dict) -> Path:
    """Write `hub.toml` with entries such as `net={"kind": "model", "folder": "net"}`."""
    tables = []
    for name, entry in entries.items():
        lines = [f'{key} = "{value}"' for key, value in ({"name": name, "version": "1.0.0"} | entry).items()]
        tables.append("\n".join(["[[repository]]", *lines]))
    return write(root / "hub.toml", MANIFEST.format(tables="\n\n".join(tables)))


def pairs(folder: Path, source: str = "ours", count: int = 3) -> None:
    rows = [
        {
            "id": str(n),
            "lq": {"bytes": picture(n), "path": None},
            "gt": None,
            "task": "rain",
            "source": source,
        }
        | {"prompt": None, "lq_sha256": None, "gt_sha256": None, "meta": "{}"}
        for n in range(count)
    ]
    export({"train": datasets.Dataset.from_list(rows, features=PAIR_FEATURES)}, folder)


def whole(root: Path) -> Path:
    """A data set, a model, a metric and a demo; returns the manifest."""
    pairs(root / "pairs")
    torch.manual_seed(0)
    network = CompactRestorer(channels=(8, 16, 24), blocks=(1, 1, 1))
    CompactRestorerPipeline(network).save_pretrained(root / "net")
    write(root / "cards/net.md", card("model"))
    write(root / "mean_difference/README.md", card("space"))
    write(root / "mean_difference/mean_difference.py", METRIC)
    write(root / "mean_difference/app.py", "import evaluate\n")
    write(root / "demo/README.md", card("space", "Restores by [net](https://huggingface.co/org/net).\n"))
    write(root / "demo/app.py", "print('here')\n")
    return manifest(
        root,
        pairs={"kind": "dataset", "folder": "pairs"},
        net={"kind": "model", "folder": "net", "card": "cards/net.md"},
        mean_difference={"kind": "metric", "folder": "mean_difference"},
        demo={"kind": "demo", "folder": "demo"},
    )
