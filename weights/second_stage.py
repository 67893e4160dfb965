"""The second stage of `lite`: trains what classifies and places the detector's best boxes anew.

    python weights/second_stage.py WEIGHTS OUT.safetensors LIST.json --keep FOLDER [FOLDER ...]
        [--cutouts CUTOUTS] [--views 4] [--epochs 6] [--workers 2]

WEIGHTS is a file with the detector; OUT is the same with the part "second". LIST is a list of
weights/photographs.py. The detector runs once on several views of each photograph: as it is, then
on parts of it in other sizes, mirrored or not, in other colours, and with objects of
weights/cutouts.py pasted into every other one. What the second stage would read of its boxes is
kept in the first FOLDER, some 10 KB a box, 5 GB for four views of 4,700 photographs, so that an
epoch takes one or two minutes; the same command goes on where it was interrupted while it gathers.
What is in further FOLDERs is learned from as it is. A box learns the class of the true box that
it overlaps most, with the overlap for a score, and where that box ends; regions to ignore are
honoured class by class.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, repeat
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from masa_cli.boxes import area
from masa_cli.detectors.lite import first_stage
from masa_cli.models import SharedNetworks
from masa_cli.models.lite_heads import (
    CELLS_READ,
    SECOND_PART,
    ProposalSettings,
    SecondStage,
    read_boxes,
    select_proposals,
)
from masa_cli.models.neck import NUM_LEVELS
from masa_cli.models.operators import clip_boxes
from masa_cli.models.trained_weights import classes_of, describe_trained, save_tensors
from masa_cli.models.variants import Variant, find_variant
from masa_cli.sources.image_folder import read_image
from masa_cli.structures import FloatArray, Frame, Image
from masa_cli.training.augmentations import AugmentationSettings, degraded, recoloured
from masa_cli.training.batches import Instances
from masa_cli.training.detection import (
    Lessons,
    SecondStageLossSettings,
    draw_boxes,
    lessons_of,
    losses_of_boxes,
)
from masa_cli.training.objectives import initialise
from masa_cli.training.pairs import copy_paste, find_cutouts
from masa_cli.training.regions import Regions, read_regions
from masa_cli.weights.manifest import sha256_of

MODEL = "lite"
MIN_PART, MIN_SIDE, MAX_SIDE = 0.6, 320, 640  # of a view: share of the sides; longer side, pixels
MIN_VISIBLE = 0.4  # share of a box in a view below which it is neither right nor wrong to find it
CHANGES = AugmentationSettings(blur_chance=0.1, jpeg_chance=0.2, most_pasted=4, max_pasted=0.6)
PASTED = 0.5  # share of the views that objects are pasted into
BATCH, LR, DECAY = 512, 1e-3, 0.05
KEPT_TRUST = 0.2  # share of the first stage's logits in what is finally said
FORGOTTEN = 0.3  # share of boxes that learn without what the whole image shows
COLUMNS = ("logits", "classes", "overlaps", "shifts", "ignored")  # of files beside what is read
PHOTOGRAPHS = 250  # whose examples are kept together: what an interruption loses of each worker
CONDITIONS = "made-of.json"  # in a folder of examples: what they were made of
SEED, SAY = 0, 500  # steps between what is said


@dataclass(frozen=True)
class Examples:
    """N boxes.

    Attributes:
        read: (N, D) float16, of `read_boxes`, of maps as they are.
        logits: (N, K + 1) float16, of the first stage.
        lessons: what they teach.
    """

    read: Tensor
    logits: Tensor
    lessons: Lessons


@dataclass(frozen=True)
class Label:
    """A true box (4,) xyxy, pixels, or a region of whose class nothing is known."""

    box: FloatArray
    number: int  # of the class
    is_ignored: bool


class Proposer:
    """Runs the first stage, and reads what the second would.

    Args:
        weights: with the detector.
    """

    def __init__(self, weights: Path) -> None:
        self._strides = find_variant(MODEL).strides
        networks = SharedNetworks(device="cpu", runtime="auto")
        self._network, self._pyramid = first_stage(MODEL, weights, networks)
        self._numbers = count()

    @torch.inference_mode()
    def propose(self, image: Image) -> tuple[Tensor, Tensor, Tensor]:
        """Of the boxes of an image what is read (N, D), logits (N, K + 1), and they (N, 4)."""
        frame = Frame(next(self._numbers), Fraction(0), image)
        seen = self._pyramid.features.of([frame])
        maps = self._pyramid.of([frame], range(NUM_LEVELS))
        levels = [maps[level] for level in range(NUM_LEVELS)]
        (logits,), (boxes,) = self._network(levels)
        size = seen.unpadded
        rows = select_proposals(logits, boxes, size, ProposalSettings())
        shown = clip_boxes(boxes[rows], size)
        read = read_boxes(seen.maps[1:], levels, self._strides, shown, size)
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
    image: Image, labels: list[Label], proposer: Proposer, generator: torch.Generator
) -> Examples:
    """Those of one view; of wrong boxes the best, and some others."""
    read, logits, boxes = proposer.propose(image)
    lessons = lessons_of(boxes, instances_of(labels), logits.shape[1] - 1)
    rows = draw_boxes(lessons.overlaps, SecondStageLossSettings(), generator)
    return Examples(read[rows].half(), logits[rows].half(), lessons[rows])


def instances_of(labels: list[Label]) -> Instances:
    """The same as training has it."""
    known = [label for label in labels if not label.is_ignored]
    ignored = [label for label in labels if label.is_ignored]
    boxes, ignored_boxes = (
        torch.from_numpy(np.array([label.box for label in own], np.float32).reshape(-1, 4))
        for own in (known, ignored)
    )
    numbers, ignored_numbers = (
        torch.tensor([label.number for label in own], dtype=torch.int64) for own in (known, ignored)
    )
    return Instances(boxes, torch.arange(len(known)), numbers, ignored_boxes, ignored_numbers)


def gather_all(options: argparse.Namespace) -> None:
    """Fill the first folder; what is complete in it stays.

    Raises:
        SystemExit: it holds examples that were made of something else.
    """
    folder = options.keep[0]
    folder.mkdir(parents=True, exist_ok=True)
    own, file = conditions_of(options), folder / CONDITIONS
    if not any(folder.glob("*.f16")):
        file.write_text(json.dumps(own), encoding="utf-8")
    made_of = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if others := sorted(name for name in own if own[name] != made_of.get(name)):
        raise SystemExit(
            f"error: {folder} holds examples made with other {' and '.join(others)}\n"
            "fix: give another folder first, and that one behind it to learn from it, too"
        )
    number = len(read_regions(options.list).files)
    wanted = [n for n in range(0, number, PHOTOGRAPHS) if not (folder / f"{n}.f16").exists()]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(gather, repeat(options), wanted), 1):
            print(f"{done} of {len(wanted)} parts of the photographs", flush=True)


def conditions_of(options: argparse.Namespace) -> dict[str, object]:
    """What examples depend on."""
    return {
        "weights": sha256_of(options.weights),
        "list": sha256_of(options.list),
        "cutouts": options.cutouts and str(options.cutouts.resolve()),
        "views": options.views,
    }


def gather(options: argparse.Namespace, first: int) -> None:
    """Write the examples of some photographs from one on, an array of each kind."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    random, generator = np.random.default_rng((SEED, first)), torch.Generator().manual_seed(first)
    folder = options.keep[0]
    proposer, classes = Proposer(options.weights), classes_of(options.weights)
    images = read_regions(options.list)
    numbers = [classes.index(name) if name in classes else -1 for name in images.classes]
    cutouts = find_cutouts(options.cutouts, images) if options.cutouts else None
    kept: list[tuple[Tensor, ...]] = []
    with (folder / f"{first}.part").open("wb") as stream:
        for index in range(first, min(first + PHOTOGRAPHS, len(images.files))):
            regions = images[index]
            image = read_image(regions.file)
            views = [(image, labels_of(regions, numbers))]
            for _ in range(options.views - 1):
                shown, known = image, regions
                if cutouts is not None and random.random() < PASTED:
                    shown, known = copy_paste(image, regions, cutouts, CHANGES, random)
                views.append(drawn(shown, labels_of(known, numbers), random))
            for view, labels in views:
                found = examples_of(view, labels, proposer, generator)
                stream.write(found.read.numpy().tobytes())
                kept.append((found.logits, *found.lessons.columns()))
    for name, values in zip(COLUMNS, zip(*kept, strict=True), strict=True):
        np.save(folder / f"{first}.{name}.npy", torch.cat(values).numpy())
    (folder / f"{first}.part").rename(folder / f"{first}.f16")


def kept_in(folder: Path) -> list[Examples]:
    """What `gather` wrote; all that is read of boxes stays in files until it is used."""
    found = []
    for file in sorted(folder.glob("*.f16")):
        logits, *columns = (
            torch.from_numpy(np.load(folder / f"{file.stem}.{name}.npy")) for name in COLUMNS
        )
        if not len(logits):  # a file without a byte cannot be mapped
            continue
        read = np.memmap(file, np.float16, "c").reshape(len(logits), -1)
        found.append(Examples(torch.from_numpy(read), logits, Lessons(*columns)))
    return found


def taken(parts: list[Examples], rows: np.ndarray) -> Examples:
    """Some of the examples of all parts, counted through."""
    ends = np.cumsum([len(part.logits) for part in parts])
    of_part = np.searchsorted(ends, rows, side="right")
    own = [
        torch.from_numpy(np.sort(rows[of_part == index]) - (end - len(part.logits)))
        for index, (part, end) in enumerate(zip(parts, ends, strict=True))
    ]
    pairs = list(zip(parts, own, strict=True))
    return Examples(
        torch.cat([part.read[rows] for part, rows in pairs]).float(),
        torch.cat([part.logits[rows] for part, rows in pairs]).float(),
        Lessons.joined([part.lessons[rows] for part, rows in pairs]),
    )


class Scales:
    """Brings what was read of boxes to one scale, a channel for all cells, and takes it back.

    Args:
        sample: (N, D) of `read_boxes`, of the maps as they are.
        variant: whose maps these are.
    """

    def __init__(self, sample: Tensor, variant: Variant) -> None:
        _, middle, coarse = variant.channels
        cells = [each * CELLS_READ for each in (coarse, middle, variant.width)]
        self.sizes = [*cells, coarse, sample.shape[1] - sum(cells) - coarse]
        parts = sample.split(self.sizes, dim=1)
        middles, spreads = [], []
        for part in parts:
            middles.append(part.mean(0))
            spreads.append(part.std(0) + 1e-3)
        for index, width in ((0, coarse), (1, middle)):
            of_channels = parts[index].unflatten(1, (width, CELLS_READ))
            middles[index] = of_channels.mean((0, 2)).repeat_interleave(CELLS_READ)
            spreads[index] = (of_channels.std((0, 2)) + 1e-3).repeat_interleave(CELLS_READ)
        middles[3], spreads[3] = middles[0][::CELLS_READ], spreads[0][::CELLS_READ]
        self.middle, self.spread = torch.cat(middles), torch.cat(spreads)

    def narrowed(self, read: Tensor, stage: SecondStage) -> Tensor:
        """(N, D) as the stage reads it, from (N, D) that is to one scale."""
        coarse, middle, *fused, image, place = read.split(self.sizes, dim=1)
        medium, wide = stage.narrow
        parts = [_narrow(wide, coarse), _narrow(medium, middle), *fused, _narrow(wide, image)]
        return torch.cat([*parts, place], dim=1)

    @torch.no_grad()
    def take_back(self, stage: SecondStage) -> None:
        """Change weights that learned from what is to one scale, so that they read it as it is."""
        middles, spreads = (x.split(self.sizes) for x in (self.middle, self.spread))
        for conv, index in zip(stage.narrow, (1, 0), strict=True):
            weight = conv.weight[:, :, 0, 0]
            weight /= spreads[index][::CELLS_READ]
            conv.bias -= weight @ middles[index][::CELLS_READ]
        end = stage.num_read
        image, place = stage.narrow[1].out_channels, self.sizes[-1]
        begin = end - place - image - self.sizes[2]
        for index, first in ((2, begin), (4, end - place)):
            weight = stage.first.weight[:, first : first + self.sizes[index]]
            weight /= spreads[index]
            stage.first.bias -= weight @ middles[index]


def _narrow(conv: nn.Module, x: Tensor) -> Tensor:
    """(N, O * M) of a 1x1 convolution over M cells (N, C * M)."""
    found: Tensor = conv(x.reshape(len(x), conv.in_channels, -1, 1))
    return found.flatten(1)


def train(parts: list[Examples], stage: SecondStage, epochs: int) -> None:
    """Learn."""
    torch.manual_seed(SEED)
    settings = SecondStageLossSettings()
    random, number = np.random.default_rng(SEED), sum(len(part.logits) for part in parts)
    sample = taken(parts, random.permutation(number)[:20_000]).read
    scales = Scales(sample, find_variant(MODEL))
    image = slice(sum(scales.sizes[:3]), -scales.sizes[-1])
    initialise(stage, SECOND_PART)
    steps, began, sums = max(2, epochs * number // BATCH), time.time(), []
    optimiser = torch.optim.AdamW(stage.parameters(), LR, weight_decay=DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps, pct_start=0.1)
    order = np.empty(0, int)
    for step in range(1, steps + 1):
        if len(order) < BATCH:
            order = np.concatenate([order, random.permutation(number)])
        batch, order = taken(parts, order[:BATCH]), order[BATCH:]
        read = (batch.read - scales.middle) / scales.spread
        read[torch.from_numpy(random.random(len(read)) < FORGOTTEN), image] = 0
        with torch.autocast("cpu", torch.bfloat16):
            narrow = scales.narrowed(stage.dropout(read), stage)
            found = stage(narrow, batch.logits)
        loss = sum(losses_of_boxes(found, batch.lessons, settings))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
        sums.append(loss.item())
        if step % SAY == 0 or step == steps:
            told = f"step {step} of {steps}: loss {np.mean(sums[-SAY:]):.3f}"
            print(f"{told}, {time.time() - began:.0f} s", flush=True)
    scales.take_back(stage)
    with torch.no_grad():
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
    gather_all(options)
    torch.set_num_threads(options.workers)
    stage = SecondStage(find_variant(MODEL), len(classes_of(options.weights)))
    parts = [part for folder in options.keep for part in kept_in(folder)]
    overlaps = torch.cat([part.lessons.overlaps for part in parts])
    right = (overlaps >= SecondStageLossSettings().right).sum()
    print(f"{len(overlaps)} boxes, {right} of them right", flush=True)
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
