"""Class-agnostic masks of a frame: the adapter's boxes against Segment Anything's grid of points.

    python tests/benchmarks/class_agnostic.py IMAGE [--threads 1] [--objects 50 100] \\
        [--weights FILE]

Both start from one pass of the encoder; what is timed is all that comes after it, until there are
masks as run lengths. Without weights there is noise in their place: the time of neck, fusion,
proposals and of the decoder for each box or point does not depend on it, but the number of
masks does. So the adapter gives as many boxes as are wanted (random ones take the places of those
that noise does not find), and the grid keeps no mask at all, which is the least it can take.
Seconds are those that the processor worked, of all threads together; with one thread they depend
the least on what else the machine is doing. Memory is how far a stage raised the peak of the
process; Linux only.
"""

import argparse
import platform
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch

from masa_cli.detectors import BoxSettings
from masa_cli.detectors.class_agnostic import GridDetector, ObjectDetector
from masa_cli.models.adapter import build_parts
from masa_cli.models.backbones import build_backbone
from masa_cli.models.device import ready
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.object_branch import ObjectFinder, ObjectSettings
from masa_cli.models.published_weights import load_parts
from masa_cli.models.sam import SamMasks
from masa_cli.models.variants import SAM_PREPROCESSING, VARIANTS
from masa_cli.segmenters.networks import SamSegmenter
from masa_cli.structures import Frame
from tests.benchmarks.adapters import memory_mb, with_noise

CPU = torch.device("cpu")


def timed(work):
    """Result, seconds that the processor worked on it, megabytes above the start.

    Wall time would tell more of what else the machine is doing.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = memory_mb("VmRSS"), time.process_time()
    result = work()
    return result, time.process_time() - start, memory_mb("VmHWM") - before


def networks(weights):
    variant = VARIANTS["sam-b"]
    parts = {"backbone": build_backbone(variant.backbone), **build_parts(variant)}
    with torch.device("meta"):
        parts["objects"] = ObjectFinder(variant, ObjectSettings(max_boxes=1000))
        masks = SamMasks()
    if weights:
        load_parts(weights, "sam-b", parts)
        load_parts(weights, "sam-b", dict(masks.named_children()))
    else:
        for module in (*parts.values(), masks):
            with_noise(module)
    for name, module in (*parts.items(), ("masks", masks)):
        parts[name] = ready(module, CPU, torch.float32)
    return variant, parts


def some_boxes(frame, count):
    generator = np.random.default_rng(0)
    height, width = frame.image.shape[:2]
    sides = generator.uniform(0.03, 0.35, (count, 2)) * (width, height)
    corners = generator.uniform(0, 1, (count, 2)) * ((width, height) - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def row(name, seconds, memory, note=""):
    print(f"{name:36} {seconds:8.2f} s  {memory:6.0f} MB  {note}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--objects", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--points", type=int, default=32, help="of the grid, per side")
    parser.add_argument("--weights", type=Path, help="sam_vitb_masa.pth")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    image = cv2.imread(str(options.image))[..., ::-1].copy()
    print(
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, torch "
        f"{torch.__version__}, {options.threads} threads, float32, commit {commit}, "
        f"{image.shape[1]} x {image.shape[0]}, {options.weights or 'noise for weights'}; seconds "
        "of the processor, all threads together"
    )
    variant, parts = networks(options.weights)
    features = FrameFeatures.prepared(
        parts["backbone"], SAM_PREPROCESSING, variant.mean, variant.std, CPU, torch.float32
    )
    frame = Frame(0, Fraction(0), image)
    memory_of_masks(parts["masks"], frame, max(options.objects))
    _, seconds, memory = timed(lambda: features.of([frame]))
    row("encoder, for both", seconds, memory)
    encoder = seconds
    after = adapter_way(parts, features, frame, options.objects)
    grid_way(parts["masks"], features, frame, options, after, encoder)


class _NoEncoder(torch.nn.Module):
    """Sees nothing, at once: then only the masks take memory."""

    def __init__(self):
        super().__init__()
        self.neck = torch.nn.Conv2d(1, 256, 1)

    def forward(self, x):
        return [torch.zeros(len(x), 1, 64, 64)]


def memory_of_masks(masks, frame, count):
    """Before anything else has raised the peak."""
    features = FrameFeatures(
        _NoEncoder(), lambda images: (torch.zeros(1, 3, 1024, 1024), (576, 1024))
    )
    segmenter = SamSegmenter(features, masks)
    found, seconds, memory = timed(lambda: segmenter.segment(frame, some_boxes(frame, count)))
    num_found = sum(mask is not None for mask in found)
    row(f"masks of {count} boxes, nothing else", seconds, memory, f"{num_found} masks")


def adapter_way(parts, features, frame, counts):
    """Seconds after the encoder, by the number of objects."""
    pyramid = Pyramid(features, parts["neck"], parts["fusion"])
    settings = BoxSettings(0.02, 0.5, max_boxes=max(counts))
    detector = ObjectDetector(parts["objects"], pyramid, settings)
    _, maps, memory = timed(lambda: pyramid.of([frame], range(5)))
    row("neck and fusion", maps, memory)
    [found], proposals, memory = timed(lambda: detector.detect([frame]))
    row("proposals to boxes", proposals, memory, f"{len(found)} found")
    segmenter = SamSegmenter(features, parts["masks"])
    after = {}
    for count in counts:
        boxes = np.concatenate([found.boxes[:count], some_boxes(frame, count)])[:count]
        masks, seconds, memory = timed(lambda boxes=boxes: segmenter.segment(frame, boxes))
        note = f"{sum(mask is not None for mask in masks)} masks"
        row(f"masks of {count} boxes", seconds, memory, note)
        after[count] = maps + proposals + seconds
    return after


def grid_way(masks, features, frame, options, after, encoder):
    detector = GridDetector(features, masks, BoxSettings(0, 0.7, 10_000))
    if options.weights is None:
        detector._generator.pred_iou_thresh = 1e9
    side = (np.arange(options.points) + 0.5) / options.points
    detector._generator.point_grids = [np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)]
    [found], seconds, memory = timed(lambda: detector.detect([frame]))
    row(f"grid of {options.points} x {options.points}", seconds, memory, f"{len(found)} masks")
    for count, ours in after.items():
        print(
            f"{count} boxes: {ours:.1f} s after the encoder, {seconds / ours:.1f} times as fast as "
            f"the grid; with the encoder {(encoder + seconds) / (encoder + ours):.1f} times"
        )


if __name__ == "__main__":
    main()
