import json
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from transformers import AutoImageProcessor, DetrForObjectDetection, SegformerForSemanticSegmentation
from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.errors import EvaluationError, HubError
from ggt_hub.evaluation import compare, load_suite
from ggt_hub.evaluation.downstream import downstream_task
from ggt_hub.evaluation.downstream.ade20k import confusion, mean_iou, read_labels
from ggt_hub.evaluation.downstream.coco import average_precision
from tests.evaluation.downstream.tiny import CATEGORIES, SIZES, ade20k, coco, detr, segformer

NAMES = {0: "N/A", 1: "Person", 2: "cat", 3: "tvmonitor"}


def bench(suite, data, network, output, model="identity"):
    words = ["bench", "run", suite, "--data", data, "--task-model", network, "--model", model, "-o", output]
    outcome = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    return outcome, json.loads((output / "results.json").read_text())


def boxes(shift):
    """The annotated boxes as results, moved by some pixels; the surer the smaller their category."""
    return [
        {
            "image_id": image,
            "category_id": category,
            "bbox": [4 + category / 4 + shift, 6, 30, 20 + category / 4],
            "score": 1 / category,
        }
        for image in SIZES
        for category in CATEGORIES
    ]


def test_ap_is_one_for_the_annotated_boxes_and_falls_with_the_overlap(tmp_path):
    path = coco(tmp_path) / "annotations/instances_val2017.json"
    assert average_precision(path, boxes(0), list(SIZES)) == {"ap": 1, "ap50": 1, "ap75": 1}
    # Moved by 6 of 30 pixels the IoU is 24/36: within four of the ten thresholds.
    assert average_precision(path, boxes(6), list(SIZES)) == pytest.approx({"ap": 0.4, "ap50": 1, "ap75": 0})
    assert average_precision(path, [], list(SIZES)) == {"ap": 0, "ap50": 0, "ap75": 0}
    one = [box for box in boxes(0) if box["image_id"] == 7]
    assert average_precision(path, one, [7])["ap"] == pytest.approx(1)  # what was not run is not missed
    assert average_precision(path, one, list(SIZES))["ap"] == pytest.approx(51 / 101)  # 51 of 101 recalls


def seen_by(network, picture, size):
    """What a tiny detector finds, in its own words: scores, labels, corners."""
    processor = AutoImageProcessor.from_pretrained(network)
    with torch.inference_mode():
        outputs = DetrForObjectDetection.from_pretrained(network)(
            **processor(images=picture, return_tensors="pt")
        )
    (seen,) = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[size])
    corners = seen["boxes"].tolist()
    sides = [[left, top, right - left, bottom - top] for left, top, right, bottom in corners]
    found = zip(seen["scores"].tolist(), seen["labels"].tolist(), sides, strict=True)
    return [(score, {1: 1, 2: 3, 3: 44}[label], box) for score, label, box in found if label in (1, 2, 3)]


def test_detection_is_reported_before_and_after_as_pycocotools_gives_it(tmp_path):
    data, network = coco(tmp_path / "coco"), detr(tmp_path / "detr", NAMES)
    annotations, found = data / "annotations/instances_val2017.json", []
    content = json.loads(annotations.read_text())
    content["annotations"] = []
    for number, size in SIZES.items():
        # A random network finds nothing true: what it sees in the clean pictures, moved a little, is the truth.
        for _, category, box in seen_by(network, Image.open(data / f"val2017/{number:012d}.jpg"), size):
            moved = [box[0] + box[2] / 20, *box[1:]]
            known = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": category}
            content["annotations"].append(known | {"bbox": moved, "area": box[2] * box[3], "iscrowd": 0})
        for score, category, box in seen_by(network, Image.open(data / f"lq/{number:012d}.jpg"), size):
            found.append({"image_id": number, "category_id": category, "bbox": box, "score": score})
    annotations.write_text(json.dumps(content))
    outcome, results = bench("coco-detection", data, network, tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    with redirect_stdout(StringIO()):
        truth = COCO(annotations)
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert 0.1 < evaluation.stats[0] < 1
    for name, expected in zip(("ap", "ap50", "ap75"), evaluation.stats, strict=False):
        assert results["sets"][name]["before"] == pytest.approx(expected)
        assert results["sets"][name]["after"] == results["sets"][name]["before"]  # nothing was changed
    assert results["sets"]["ap50"]["clean"] == pytest.approx(1)
    assert "detr@" in results["protocols"]["ap"]
    assert "ap50 ↑" in (tmp_path / "out/report.html").read_text()
    assert f"{results['sets']['ap']['before']:.4f} before" in outcome.output


def classes_seen_by(network, picture, size):
    processor = AutoImageProcessor.from_pretrained(network)
    with torch.inference_mode():
        outputs = SegformerForSemanticSegmentation.from_pretrained(network)(
            **processor(images=picture, return_tensors="pt")
        )
    return processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0].numpy()


def test_segmentation_is_reported_as_computed_by_hand(tmp_path):
    data, network = ade20k(tmp_path / "ade"), segformer(tmp_path / "segformer")
    right, union = np.zeros(150), np.zeros(150)
    for number, size in SIZES.items():
        name = f"validation/ADE_val_{number:08d}"
        # What a random network sees in the clean picture is made the truth, but for some rows without a class.
        truth = classes_seen_by(network, Image.open(data / f"images/{name}.jpg"), size) + 1
        truth[:9] = 0
        Image.fromarray(truth.astype(np.uint8)).save(data / f"annotations/{name}.png")
        found = classes_seen_by(network, Image.open(data / f"lq/{name.split('/')[1]}.jpg"), size) + 1
        for at in range(150):
            here, there = (found == at + 1) & (truth > 0), truth == at + 1
            right[at] += (here & there).sum()
            union[at] += (here | there).sum()
    expected = (right[union > 0] / union[union > 0]).mean()
    assert 0.05 < expected < 0.95
    outcome, results = bench("ade20k-segmentation", data, network, tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    assert results["sets"]["miou"]["before"] == pytest.approx(expected)
    assert results["sets"]["miou"]["after"] == results["sets"]["miou"]["before"]
    assert results["sets"]["miou"]["clean"] == 1


def test_mean_iou_by_value(tmp_path):
    Image.fromarray(np.array([[1, 1, 2], [3, 0, 0]], np.uint8)).save(tmp_path / "labels.png")
    truth = read_labels(tmp_path / "labels.png", 4)
    assert truth.tolist() == [[0, 0, 1], [2, -1, -1]]
    found = np.array([[0, 1, 1], [0, 3, 3]])  # what stands where no class is does not count
    counts = confusion(truth, found, 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert mean_iou(counts) == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    with pytest.raises(EvaluationError, match=r"labels\.png holds no labels 0\.\.2"):
        read_labels(tmp_path / "labels.png", 2)


def test_other_networks_are_other_protocols_which_do_not_compare(tmp_path):
    data = coco(tmp_path / "coco")
    for name, names in (("a", NAMES), ("b", NAMES | {4: "dog"})):
        bench("coco-detection", data, detr(tmp_path / f"detr-{name}", names), tmp_path / name)
    with pytest.raises(EvaluationError, match="the runs differ in the protocol of ap"):
        compare(tmp_path / "a", tmp_path / "b")


def test_what_a_task_lacks_is_said_before_anything_is_restored(tmp_path):
    data = coco(tmp_path / "coco")
    suite = load_suite("coco-detection", data)

    def task(network, of=suite, place=data):
        return downstream_task(of.name, place, of.downstream, network, "cpu")

    with pytest.raises(EvaluationError, match="coco-detection asks a network: name one with --task-model"):
        task(None)
    with pytest.raises(EvaluationError, match="does not know 1 of 3 classes, such as tv"):
        task(detr(tmp_path / "few", {0: "person", 1: "cat"}))
    with pytest.raises(HubError, match=r"has no config\.json"):
        task(data)
    with pytest.raises(HubError, match="cannot be loaded as detector"):
        task(segformer(tmp_path / "segformer", 7))
    scenes = load_suite("ade20k-segmentation", ade20k(tmp_path / "ade"))
    with pytest.raises(EvaluationError, match="tells 7 classes apart, the data set has 150"):
        task(tmp_path / "segformer", scenes, tmp_path / "ade")
    (data / "lq/000000000007.jpg").rename(data / "lq/other.jpg")
    with pytest.raises(EvaluationError, match=r"do not know other\.jpg"):
        list(suite.items())
    (data / "lq/other.jpg").unlink()
    assert [item.id for item in suite.items()] == ["000000000009"]  # a part of the set
    (data / "lq/000000000009.jpg").rename(data / "lq/000000000009.jpg.png")  # as degrade names it
    assert [item.id for item in suite.items()] == ["000000000009"]
    (data / "lq").rename(data / "elsewhere")
    with pytest.raises(EvaluationError, match=r"there is no lq in .*; damage the clean ones into it"):
        list(suite.items())
    (data / "annotations/instances_val2017.json").write_text("[]")
    (data / "elsewhere").rename(data / "lq")
    with pytest.raises(EvaluationError, match="holds no annotations of COCO's instances"):
        list(suite.items())


def test_without_one_picture_there_is_no_score_of_the_set(tmp_path):
    data, network = coco(tmp_path / "coco"), detr(tmp_path / "detr", NAMES)
    (data / "lq/000000000009.jpg").write_bytes(b"no picture")
    outcome, results = bench("coco-detection", data, network, tmp_path / "out")
    assert outcome.exit_code == 1
    assert results["sets"] == {}
    assert results["left_out"]["ap"] == "it is over all pictures, and 1 of 2 failed"
