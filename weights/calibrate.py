"""Makes the scores of `lite` say how often they are right: 0.5 means that half of such boxes are.

    python weights/calibrate.py WEIGHTS OUT.safetensors LIST.json [--fold 3]

LIST is a list of weights/photographs.py. Of every --fold-th image in it the boxes of each class
that is complete there are compared with the truth: right are those that COCO's rules match at IoU
0.5. The logits of each class are then scaled and moved (Platt's scaling), towards what all classes
together need where a class has few boxes, and that is written into the last layer (of the second
stage, if there is one): nothing changes at run time, nor does the order of the boxes of one class.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.torch import load_file
from scipy.optimize import minimize
from scipy.special import expit, logit
from torch import Tensor

from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import request_prompt
from masa_cli.models import SharedNetworks
from masa_cli.models.trained_weights import classes_of, describe_trained, save_tensors
from masa_cli.structures import FloatArray, Frame
from masa_cli.training.validation import coco_rows

MODEL = "lite"
# Tensors whose rows make the logit of a class, by a sum; if there is a second stage, its own.
FIRST = ("detector.scores.weight", "detector.scores.bias")
SECOND = ("second.last.weight", "second.last.bias", "second.trust")
MIN_SCORE = 0.02  # of boxes that are looked at
PULL = 20.0  # how many boxes of its own a class needs to be believed as much as all together
PREVIOUS = "calibrated"  # in what the file says of itself


def found_in(weights: Path, files: list[Path], classes: tuple[str, ...]) -> list[dict]:
    """The boxes in all images, as COCO has results; images and categories count from 1."""
    settings = {"min_score": MIN_SCORE, "max_overlap": 0.6, "max_boxes": 100}
    request = request_prompt(parse_prompt(", ".join(classes)), str(weights), settings)
    detector = request.build(SharedNetworks(device="cpu"))
    rows = []
    for number, file in enumerate(files, start=1):
        image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        (found,) = detector.detect([Frame(number, 0, image)])
        own = coco_rows(number, found.boxes, (found.labels + 1).tolist())
        rows += [row | {"score": s} for row, s in zip(own, found.scores.tolist(), strict=True)]
    return rows


def judged(truth: dict, found: list[dict]) -> dict[int, tuple[FloatArray, FloatArray]]:
    """By category the logits of its boxes and whether they are right; ignored ones are left out."""
    data = COCO()
    data.dataset = truth
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
        evaluation = COCOeval(data, data.loadRes(found), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    scores: dict[int, list] = {}
    for each in filter(None, evaluation.evalImgs):
        counted = ~each["dtIgnore"][0].astype(bool)
        pairs = np.stack([np.array(each["dtScores"]), each["dtMatches"][0] > 0])[:, counted]
        scores.setdefault(each["category_id"], []).append(pairs)
    joined = {number: np.concatenate(parts, axis=1) for number, parts in scores.items()}
    return {
        number: (logit(rows[0].clip(1e-6, 1 - 1e-6)), rows[1]) for number, rows in joined.items()
    }


def platt(logits: FloatArray, right: FloatArray, prior: FloatArray, pull: float) -> FloatArray:
    """Scale and offset of logits, (2,), pulled towards a prior as if by so many boxes."""

    def cost(both: FloatArray) -> float:
        z = both[0] * logits + both[1]
        return float(
            np.logaddexp(0, z).sum() - (right * z).sum() + pull * ((both - prior) ** 2).sum()
        )

    found: FloatArray = minimize(cost, prior, bounds=[(0.2, 3), (-5, 5)]).x
    return found


def error(logits: FloatArray, right: FloatArray) -> float:
    """The mean distance of scores from how often they are right, in ten bins of as many boxes."""
    order = np.argsort(logits)
    bins = np.array_split(order, 10)
    return float(np.mean([abs(expit(logits[own]).mean() - right[own].mean()) for own in bins]))


def scaled(tensors: dict[str, Tensor], changes: list[FloatArray]) -> dict[str, Tensor]:
    """The weights with which the logit of each class is scaled and moved.

    Args:
        tensors: of a file, with or without a second stage, which has the last word.
        changes: for each class scale and offset, (2,). The score of any object stays: which of
            those are right, no set tells completely.
    """
    changed = {
        name: tensors[name].float().clone() for name in (SECOND if SECOND[0] in tensors else FIRST)
    }
    for name, tensor in changed.items():
        for row, (scale, offset) in enumerate(changes):
            tensor[row] *= scale
            if name.endswith("bias"):
                tensor[row] += offset
    return tensors | {name: tensor.to(tensors[name].dtype) for name, tensor in changed.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("list", type=Path)
    parser.add_argument("--fold", type=int, default=3, help="of so many images one is looked at")
    options = parser.parse_args()
    content = json.loads(options.list.read_text())
    classes = classes_of(options.weights)
    images = content["images"][:: options.fold]
    numbers = {image["id"]: number for number, image in enumerate(images, start=1)}
    names = {row["id"]: row["name"] for row in content["categories"]}
    rows = [
        row
        | {"id": n, "image_id": numbers[row["image_id"]]}
        | {"category_id": classes.index(names[row["category_id"]]) + 1}
        for n, row in enumerate(content["annotations"], start=1)
        if row["image_id"] in numbers and names[row["category_id"]] in classes
    ]
    truth = {
        "images": [{"id": number} for number in numbers.values()],
        "categories": [{"id": number} for number in range(1, len(classes) + 1)],
        "annotations": rows,
    }
    files = [options.list.parent / image["file_name"] for image in images]
    by_class = judged(truth, found_in(options.weights, files, classes))
    together = [np.concatenate(parts) for parts in zip(*by_class.values(), strict=True)]
    common = platt(*together, np.array([1.0, 0.0]), 0.0)
    judged_rows = [by_class.get(row + 1) for row in range(len(classes))]
    changes = [platt(*own, common, PULL) if own else common for own in judged_rows]
    pairs = [(own, change) for own, change in zip(judged_rows, changes, strict=True) if own]
    after = np.concatenate([scale * own[0] + offset for own, (scale, offset) in pairs])
    right = np.concatenate([own[1] for own, _ in pairs])
    tensors = scaled(load_file(options.weights), changes)
    kind = tensors[FIRST[0]].dtype
    about = {**describe_trained(options.weights).about, PREVIOUS: common.round(3).tolist()}
    save_tensors(options.out, MODEL, tensors, about, kind)
    print(f"{len(together[0])} boxes in {len(images)} images; all: scale, offset {common.round(2)}")
    print(f"mean error of scores: {error(*together):.3f}, after: {error(after, right):.3f}")


if __name__ == "__main__":
    main()
