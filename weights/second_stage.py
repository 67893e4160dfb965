"""The second stage of `lite`: trains what looks again at the boxes that its detector finds.

    python weights/second_stage.py WEIGHTS OUT.safetensors LIST.json --keep FOLDER [FOLDER ...]
        [--cutouts CUTOUTS] [--views 4] [--epochs 6] [--workers 2]

WEIGHTS is a file with the detector; OUT is the same with the part "second". LIST is a list of
weights/photographs.py. The detector runs once on several views of each photograph: as it is, then
on parts of it in other sizes, mirrored or not, in other colours, and with objects of
weights/cutouts.py pasted into every other one. What the second stage would read of its boxes is
kept in the first FOLDER, some 10 KB a box, 5 GB for four views of 4,700 photographs, so that an
epoch takes one or two minutes; what is in a FOLDER already is learned from as it is. A box
learns the class of the true box that it overlaps most, with the overlap for a score, and where that
box ends; regions to ignore are honoured class by class.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from masa_cli.boxes import area, intersection, iou
from masa_cli.models import SharedNetworks, example_levels
from masa_cli.models.device import ready
from masa_cli.models.lite_heads import (
    SECOND_PART,
    OneStage,
    SecondStage,
    SecondStageSettings,
    read_boxes,
    worth_a_second_look,
)
from masa_cli.models.neck import NUM_LEVELS
from masa_cli.models.operators import clip_boxes
from masa_cli.models.published_weights import load_parts
from masa_cli.models.trained_weights import classes_of, describe_trained, save_tensors
from masa_cli.models.variants import find_variant
from masa_cli.sources.image_folder import read_image
from masa_cli.structures import FloatArray, Frame, Image
from masa_cli.training.augmentations import AugmentationSettings, degraded, recoloured
from masa_cli.training.pairs import copy_paste, find_cutouts
from masa_cli.training.regions import Regions, read_regions

MODEL = "lite"
MIN_PART, MIN_SIDE, MAX_SIDE = 0.6, 320, 640  # of a view: share of the sides; longer side, pixels
MIN_VISIBLE = 0.4  # share of a box in a view below which it is neither right nor wrong to find it
CHANGES = AugmentationSettings(blur_chance=0.1, jpeg_chance=0.2, most_pasted=4, max_pasted=0.6)
PASTED = 0.5  # share of the views that objects are pasted into
RIGHT, DOUBTFUL = 0.5, 0.4  # IoU from which a box is one of the true class; between: no lesson
MAX_RIGHT, BEST_WRONG, OTHER_WRONG = 40, 12, 10  # boxes of one view that are learned from
COVERED = 0.5  # share of a box in a region to ignore, from which it is ignored
BATCH, LR, DECAY = 512, 1e-3, 0.05
FOCUS = 1.5  # power of a score that weighs how wrong it is where it should be 0
BOXES, BEND = 4.0, 0.05  # weight of the loss of boxes; shift up to which that is quadratic
TRUST, FIRST_BIAS = 0.4, -2.0  # before training: in the first stage; logits beside it
KEPT_TRUST = 0.2  # share of the first stage's logits in what is finally said
FORGOTTEN = 0.3  # share of boxes that learn without what the whole image shows
SEED, SAY = 0, 500  # steps between what is said


@dataclass
class Examples:
    """N boxes; arrays of one length.

    Attributes:
        read: (N, D) float16, of `read_boxes`.
        logits: (N, K + 1) float16, of the first stage.
        classes: (N,) of the true box that each overlaps most.
        overlaps: (N,) with that.
        shifts: (N, 4) to that, in widths and heights of the box.
        ignored: (N, K) classes of which nothing is known there.
    """

    read: Any
    logits: Any
    classes: Any
    overlaps: Any
    shifts: Any
    ignored: Any


@dataclass(frozen=True)
class Label:
    """A true box (4,) xyxy, pixels, or a region of whose class nothing is known."""

    box: FloatArray
    number: int  # of the class
    is_ignored: bool


class Looker:
    """Runs the first stage, and reads what the second would.

    Args:
        weights: with the detector.
    """

    def __init__(self, weights: Path) -> None:
        self._variant, classes = find_variant(MODEL), classes_of(weights)
        networks = SharedNetworks(device="cpu", runtime="auto")
        with torch.device("meta"):
            network = OneStage(self._variant, classes)
        self._pyramid = networks.pyramid(MODEL, weights)
        load_parts(weights, MODEL, {"detector": network})
        ready(network, torch.device("cpu"), torch.float32)
        self._network = networks.converted(
            network, f"the detector of {MODEL}", lambda: [example_levels(MODEL)]
        )
        self._numbers = count()

    @torch.inference_mode()
    def look(self, image: Image) -> tuple[Tensor, Tensor, Tensor]:
        """Of the boxes of an image what is read (N, D), logits (N, K + 1), and they (N, 4)."""
        frame = Frame(next(self._numbers), Fraction(0), image)
        seen = self._pyramid.features.of([frame])
        maps = self._pyramid.of([frame], range(NUM_LEVELS))
        levels = [maps[level] for level in range(NUM_LEVELS)]
        (logits,), (boxes,) = self._network(levels)
        size = seen.unpadded
        rows = worth_a_second_look(logits, boxes, size, SecondStageSettings())
        shown = clip_boxes(boxes[rows], size)
        read = read_boxes(seen.maps, levels, self._variant.strides, shown, size)
        scale = shown.new_tensor([image.shape[1] / size[1], image.shape[0] / size[0]])
        return read, logits[rows], shown * scale.repeat(2)


def labels_of(regions: Regions, numbers: list[int]) -> list[Label]:
    """What is known of an image.

    Args:
        regions: in it.
        numbers: for each class of the regions that of the detector; -1: it has none.
    """
    known = zip(regions.boxes, regions.labels.tolist(), strict=True)
    # Of a region to ignore the class is inverted.
    labels = [Label(box, numbers[max(label, ~label)], label < 0) for box, label in known]
    return [label for label in labels if label.number >= 0]


def drawn(
    image: Image, labels: list[Label], random: np.random.Generator
) -> tuple[Image, list[Label]]:
    """A view of a part of an image, and its labels."""
    height, width = image.shape[:2]
    part = random.uniform(MIN_PART, 1)
    start = (random.random(2) * (1 - part) * (width, height)).astype(int)
    size = np.ceil((part * width, part * height)).astype(int)
    view = image[start[1] : start[1] + size[1], start[0] : start[0] + size[0]]
    size = np.array(view.shape[1::-1])
    scale = random.uniform(MIN_SIDE, MAX_SIDE) / size.max()
    new = np.maximum(1, (size * scale).round()).astype(int)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    view = cv2.resize(view, tuple(new.tolist()), interpolation=kind)
    is_mirrored = random.random() < 0.5
    own = []
    for label in labels:
        moved = (label.box - np.tile(start, 2)) * np.tile(new / size, 2)
        box = np.clip(moved, 0, np.tile(new, 2)).astype(np.float32)
        visible = area(box[None])[0] / max(area(moved[None])[0], 1e-6)
        if visible > 0:
            if is_mirrored:
                box[[0, 2]] = new[0] - box[[2, 0]]
            own.append(Label(box, label.number, label.is_ignored or visible < MIN_VISIBLE))
    view = np.ascontiguousarray(view[:, ::-1] if is_mirrored else view)
    return degraded(recoloured(view, CHANGES, random), CHANGES, random), own


def examples_of(
    image: Image, labels: list[Label], looker: Looker, random: np.random.Generator
) -> Examples:
    """Those of one view; of wrong boxes the best, and some others."""
    read, logits, boxes = (x.numpy() for x in looker.look(image))
    true = [label for label in labels if not label.is_ignored]
    overlaps, classes = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), int)
    targets = boxes.copy()
    if true and len(boxes):
        corners = np.stack([label.box for label in true])
        shared = iou(boxes, corners)
        best = shared.argmax(axis=1)
        overlaps, targets = shared.max(axis=1), corners[best]
        classes = np.array([label.number for label in true])[best]
    ignored = np.zeros((len(boxes), logits.shape[1] - 1), bool)
    for label in labels:
        if label.is_ignored:
            covered = intersection(boxes, label.box[None])[:, 0] > COVERED * area(boxes)
            ignored[covered, label.number] = True
    is_right = overlaps >= (RIGHT + DOUBTFUL) / 2
    wrong = np.flatnonzero(~is_right)
    others = random.permutation(wrong[BEST_WRONG:])[:OTHER_WRONG]
    kept = np.concatenate([np.flatnonzero(is_right)[:MAX_RIGHT], wrong[:BEST_WRONG], others])
    shifts = (targets - boxes) / np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return Examples(
        read[kept].astype(np.float16),
        logits[kept].astype(np.float16),
        classes[kept],
        overlaps[kept].astype(np.float32),
        shifts[kept].astype(np.float32),
        ignored[kept],
    )


def gather(options: argparse.Namespace, worker: int) -> None:
    """Write the examples of every n-th image, an array of each kind."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    random, began, folder = np.random.default_rng((SEED, worker)), time.time(), options.keep[0]
    looker, classes = Looker(options.weights), classes_of(options.weights)
    images = read_regions(options.list)
    numbers = [classes.index(name) if name in classes else -1 for name in images.classes]
    cutouts = find_cutouts(options.cutouts, images) if options.cutouts else None
    parts: dict[str, list[np.ndarray]] = {field.name: [] for field in fields(Examples)}
    with (folder / f"{worker}.part").open("wb") as stream:
        for index in range(worker, len(images.files), options.workers):
            regions = images[index]
            image = read_image(regions.file)
            views = [(image, labels_of(regions, numbers))]
            for _ in range(options.views - 1):
                shown, known = image, regions
                if cutouts is not None and random.random() < PASTED:
                    shown, known = copy_paste(image, regions, cutouts, CHANGES, random)
                views.append(drawn(shown, labels_of(known, numbers), random))
            for view, labels in views:
                found = examples_of(view, labels, looker, random)
                stream.write(found.read.tobytes())
                for name, values in vars(found).items():
                    if name != "read":
                        parts[name].append(values)
            if index // options.workers % SAY == 0:
                told = f"{index} of {len(images.files)} photographs"
                print(f"worker {worker}: {told}, {time.time() - began:.0f} s", flush=True)
    for name, values in parts.items():
        if name != "read":
            np.save(folder / f"{worker}.{name}.npy", np.concatenate(values))
    (folder / f"{worker}.part").rename(folder / f"{worker}.f16")


def kept_in(folder: Path) -> list[Examples]:
    """What `gather` wrote; all that is read of boxes stays in files until it is used."""
    found = []
    for file in sorted(folder.glob("*.f16")):
        arrays = {
            field.name: np.load(folder / f"{file.stem}.{field.name}.npy")
            for field in fields(Examples)
            if field.name != "read"
        }
        read = np.memmap(file, np.float16, "r").reshape(len(arrays["classes"]), -1)
        found.append(Examples(read=read, **arrays))
    return found


def taken(parts: list[Examples], rows: np.ndarray) -> Examples:
    """Some of the examples of all parts, counted through."""
    ends = np.cumsum([len(part.classes) for part in parts])
    of_part = np.searchsorted(ends, rows, side="right")
    some = [
        Examples(*(np.asarray(x[own]) for x in vars(part).values()))
        for index, (part, end) in enumerate(zip(parts, ends, strict=True))
        if len(own := np.sort(rows[of_part == index]) - (end - len(part.classes)))
    ]
    columns = zip(*(vars(each).values() for each in some), strict=True)
    tensors = [torch.from_numpy(np.concatenate(column)) for column in columns]
    return Examples(*(x.float() if x.dtype == torch.float16 else x for x in tensors))


def losses(found: Tensor, batch: Examples) -> Tensor:
    """Of what the stage says of N boxes, (N, K + 4), per box that is right."""
    logits, shifts = found.float().split([batch.ignored.shape[1], 4], dim=1)
    right = batch.overlaps >= RIGHT
    rows = torch.arange(len(logits))
    wanted = torch.zeros_like(logits)
    wanted[rows[right], batch.classes[right]] = batch.overlaps[right]
    known = ~batch.ignored | (wanted > 0)
    doubtful = (batch.overlaps >= DOUBTFUL) & ~right
    known[rows[doubtful], batch.classes[doubtful]] = False
    wrongness = logits.detach().sigmoid() ** FOCUS
    # As varifocal loss (arXiv 2008.13367): what is right counts by its overlap.
    weights = torch.where(wanted > 0, wanted, wrongness) * known
    loss = (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weights).sum()
    number = right.sum().clamp(min=1)
    moved = F.smooth_l1_loss(shifts[right], batch.shifts[right], beta=BEND, reduction="sum")
    return (loss + BOXES * moved / 4) / number


def train(parts: list[Examples], stage: SecondStage, epochs: int) -> None:
    """Learn; what is read is brought to one scale first, which is the first layer's in the end."""
    torch.manual_seed(SEED)
    random, number = np.random.default_rng(SEED), sum(len(part.classes) for part in parts)
    sample = taken(parts, random.permutation(number)[:20_000]).read
    middle, spread = sample.mean(0), sample.std(0) + 1e-3
    for layer in (stage.first, stage.middle):
        layer.reset_parameters()
    torch.nn.init.normal_(stage.last.weight, std=0.01)
    torch.nn.init.zeros_(stage.last.bias)
    with torch.no_grad():
        stage.last.bias[: stage.num_classes] = FIRST_BIAS
        stage.trust.fill_(TRUST)
    steps, began, sums = max(2, epochs * number // BATCH), time.time(), []
    optimiser = torch.optim.AdamW(stage.parameters(), LR, weight_decay=DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps, pct_start=0.1)
    order = np.empty(0, int)
    for step in range(1, steps + 1):
        if len(order) < BATCH:
            order = np.concatenate([order, random.permutation(number)])
        batch, order = taken(parts, order[:BATCH]), order[BATCH:]
        read = (batch.read - middle) / spread
        read[torch.from_numpy(random.random(len(read)) < FORGOTTEN), stage.of_image] = 0
        with torch.autocast("cpu", torch.bfloat16):
            found = stage(read, batch.logits)
        loss = losses(found, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
        sums.append(loss.item())
        if step % SAY == 0 or step == steps:
            told = f"step {step} of {steps}: loss {np.mean(sums[-SAY:]):.3f}"
            print(f"{told}, {time.time() - began:.0f} s", flush=True)
    with torch.no_grad():
        weight = stage.first.weight[:, : len(spread)]
        weight /= spread
        stage.first.bias -= weight @ middle
        stage.last.weight[: stage.num_classes] *= 1 - KEPT_TRUST
        stage.last.bias[: stage.num_classes] *= 1 - KEPT_TRUST
        stage.trust.mul_(1 - KEPT_TRUST).add_(KEPT_TRUST)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("list", type=Path)
    parser.add_argument("--keep", type=Path, nargs="+", required=True)
    parser.add_argument("--cutouts", type=Path, help="folder of objects to paste")
    parser.add_argument("--views", type=int, default=4, help="of each photograph")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if not list(options.keep[0].glob("*.f16")):
        options.keep[0].mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            list(pool.map(gather, [options] * options.workers, range(options.workers)))
    torch.set_num_threads(options.workers)
    stage = SecondStage(find_variant(MODEL), len(classes_of(options.weights)))
    parts = [part for folder in options.keep for part in kept_in(folder)]
    overlaps = np.concatenate([part.overlaps for part in parts])
    print(f"{len(overlaps)} boxes, {(overlaps >= RIGHT).sum()} of them right", flush=True)
    train(parts, stage, options.epochs)
    tensors = load_file(options.weights)
    kind = tensors["detector.scores.weight"].dtype
    own = {f"{SECOND_PART}.{name}": tensor for name, tensor in stage.state_dict().items()}
    tensors = {
        name: x for name, x in tensors.items() if not name.startswith(f"{SECOND_PART}.")
    } | own
    save_tensors(options.out, MODEL, tensors, describe_trained(options.weights).about, kind)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
