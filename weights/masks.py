"""The masks of `lite`: trains the small network that segments what is in a box.

    python weights/masks.py WEIGHTS OUT.safetensors REGIONS [REGIONS ...] [--steps 3000]

WEIGHTS is a file with the detector, whose maps the network reads; OUT is the same with the part
"masks". REGIONS are files of regions (`masa train prepare`, pseudo_boxes.py). A region with a mask
is learned if it is rather an object than background: it fills the middle of its box and ends
inside the image. Of a region with only a box the mask is GrabCut's, where that can be trusted, as
in cutouts.py. A tenth of the images is held out; its mean IoU is printed. Where WEIGHTS have masks
already, training goes on from them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from cutouts import alone, trusted
from pycocotools import mask as coco
from safetensors.torch import load_file
from torch import Tensor

from masa_cli.masks import unpack
from masa_cli.models.adapter import build_features, build_pyramid
from masa_cli.models.lite_heads import PART, MaskHead
from masa_cli.models.trained_weights import describe_trained, save_tensors
from masa_cli.models.variants import find_variant
from masa_cli.segmenters.grabcut import GrabCutSegmenter
from masa_cli.segmenters.lite import LearnedSegmenter, points_of, with_margins
from masa_cli.sources.image_folder import read_image
from masa_cli.structures import BoolArray, FloatArray, Frame, Image
from masa_cli.training.regions import REGIONS_FILE, Regions, read_regions

MODEL = "lite"
MIN_SHORT, MIN_LONG = 32, 64  # sides of a box, pixels
MIN_SHARE, MAX_SHARE = 0.3, 0.95  # of its box that a region's mask fills
CORE, MIN_CORE = 0.4, 0.6  # of the box's half sides: an ellipse; share of it that is filled
INEXACT = 0.03  # standard deviation of the sides of boxes, as detectors give them; of their length
EACH_HELD_OUT = 10  # of so many images one
BATCH, LR, DECAY = 32, 2e-3, 0.05
NOISE = 0.1  # on what the network sees, standard deviations
SEED, SAY = 0, 300  # steps between what is said

# What the network sees of N boxes, (N, C, 28, 28) float16, and their masks, (N, 112, 112) uint8.
Examples = tuple[Tensor, Tensor]


def masks_of(
    rows: list[dict], regions: Regions, image: Image, grabcut: GrabCutSegmenter
) -> Iterator[BoolArray]:
    """The masks of an image that can be learned from, (H, W) each."""
    given = [row for row in rows if "segmentation" in row and not row.get("iscrowd")]
    for row in given:
        mask = row["segmentation"]
        pixels = coco.decode({**mask, "counts": mask["counts"].encode()}).astype(bool)
        if is_rather_an_object(pixels):
            yield pixels
    numbers = [] if given else alone(regions)
    boxes = regions.boxes[numbers]
    found = grabcut.segment(Frame(0, Fraction(0), image), boxes)
    for box, mask in zip(boxes, found, strict=True):
        if mask is None:
            continue
        window, (left, top) = unpack(mask)
        if trusted(window, (left, top), box):
            pixels = np.zeros(regions.size, bool)
            pixels[top : top + window.shape[0], left : left + window.shape[1]] = window
            yield pixels


def is_rather_an_object(pixels: BoolArray) -> bool:
    """Whether a region (H, W) is rather an object than what is behind."""
    left, top, right, bottom = box_of(pixels)
    inside = pixels[int(top) : int(bottom), int(left) : int(right)]
    height, width = pixels.shape
    borders = np.count_nonzero([left == 0, top == 0, right == width, bottom == height])
    y, x = ((np.arange(side) + 0.5) * (2 / side) - 1 for side in inside.shape)
    core = np.hypot(y[:, None], x) < CORE
    return bool(
        borders < 2
        and min(inside.shape) >= MIN_SHORT
        and max(inside.shape) >= MIN_LONG
        and MIN_SHARE < inside.mean() < MAX_SHARE
        and inside[core].mean() > MIN_CORE
    )


def box_of(pixels: BoolArray) -> FloatArray:
    """(4,) xyxy."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def examples(
    files: list[Path], segmenter: LearnedSegmenter, random: np.random.Generator
) -> Iterator[Examples]:
    """Those of each image, and of its mirror image."""
    grabcut, numbers, seen = GrabCutSegmenter(), count(), set()
    for path in files:
        file = path / REGIONS_FILE if path.is_dir() else path
        content, regions = json.loads(file.read_text()), read_regions(file)
        known = {row["id"]: [] for row in content["images"]}
        for row in content["annotations"]:
            known[row["image_id"]].append(row)
        folder = file.parent / content.get("folder", ".")
        rows = {folder / row["file_name"]: known[row["id"]] for row in content["images"]}
        for index, image_file in enumerate(regions.files):
            if image_file in seen:
                continue
            seen.add(image_file)
            image = read_image(image_file)
            if image.shape[:2] != regions[index].size:
                continue
            masks = list(masks_of(rows[image_file], regions[index], image, grabcut))
            for step in (1, -1) if masks else ():  # as it is, and mirrored
                shown = np.ascontiguousarray(image[:, ::step])
                own = [np.ascontiguousarray(pixels[:, ::step]) for pixels in masks]
                boxes = np.stack([box_of(pixels) for pixels in own])
                sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
                boxes += (random.normal(0, INEXACT, boxes.shape) * sides).astype(np.float32)
                boxes = with_margins(boxes)
                cells = segmenter.cells(Frame(next(numbers), Fraction(0), shown), boxes)
                pairs = zip(own, boxes, strict=True)
                truth = [points_of(pixels.astype(np.uint8) * 255, box) for pixels, box in pairs]
                yield cells.half(), torch.from_numpy(np.stack(truth))


def joined(pairs: list[Examples]) -> Examples:
    """All of them, in order."""
    cells, truth = zip(*pairs, strict=True)
    return torch.cat(cells), torch.cat(truth)


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of each point, and one minus Dice of each mask."""
    share = logits.sigmoid()
    common, both = (share * truth).sum((1, 2)), (share**2 + truth**2).sum((1, 2))
    dice = (2 * common + 1) / (both + 1)
    return F.binary_cross_entropy_with_logits(logits, truth) + 1 - dice.mean()


@torch.inference_mode()
def mean_iou(head: MaskHead, cells: Tensor, truth: Tensor) -> float:
    """Of masks that were not learned."""
    found = []
    for some, masks in zip(cells.split(BATCH), truth.split(BATCH), strict=True):
        own, true = head(some.float()) > 0, masks > 127
        found += ((own & true).sum((1, 2)) / (own | true).sum((1, 2)).clamp(min=1)).tolist()
    return float(np.mean(found))


def train(head: MaskHead, learned: Examples, held_out: Examples, steps: int) -> None:
    """Learn, and say how well it goes."""
    cells, truth = learned
    deviation = cells[::100].float().std((0, 2, 3))[:, None, None]
    optimiser = torch.optim.AdamW(head.parameters(), LR, weight_decay=DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps, pct_start=0.05)
    random, began = np.random.default_rng(SEED), time.time()
    for step in range(1, steps + 1):
        some = random.choice(len(cells), BATCH)
        seen = cells[some].float()
        if step % 2:
            seen = seen + NOISE * deviation * torch.randn_like(seen)
        loss = loss_of(head.train()(seen), truth[some].float() / 255)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
        if step % SAY == 0 or step == steps:
            iou = mean_iou(head.eval(), *held_out)
            seconds = time.time() - began
            print(f"step {step}: loss {loss:.3f}, IoU {iou:.3f}, {seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("regions", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    where = {"weights": options.weights, "device": "cpu", "precision": "float32"}
    pyramid = build_pyramid(MODEL, build_features(MODEL, **where), **where)
    variant = find_variant(MODEL)
    head = MaskHead(variant)
    before = load_file(options.weights)
    own = {name: x.float() for name, x in before.items() if name.startswith(f"{PART}.")}
    if own:
        head.load_state_dict({name.removeprefix(f"{PART}."): x for name, x in own.items()})
    segmenter = LearnedSegmenter(pyramid, head, variant.strides[0])
    pairs = list(examples(options.regions, segmenter, np.random.default_rng(SEED)))
    # An image and its mirror image follow each other.
    is_held_out = [index // 2 % EACH_HELD_OUT == 0 for index in range(len(pairs))]
    learned, held_out = (
        joined([pair for pair, held in zip(pairs, is_held_out, strict=True) if held == wanted])
        for wanted in (False, True)
    )
    print(f"{len(learned[0])} masks to learn, {len(held_out[0])} held out", flush=True)
    train(head, learned, held_out, options.steps)
    tensors = {name: x for name, x in before.items() if name not in own}
    tensors |= {f"{PART}.{name}": tensor for name, tensor in head.state_dict().items()}
    about = describe_trained(options.weights).about
    save_tensors(options.out, MODEL, tensors, about, torch.float16)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
