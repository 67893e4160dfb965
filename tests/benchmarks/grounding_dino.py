"""Seconds per frame of our Grounding-DINO and of groundingdino-py's own `predict`.

    python -m tests.benchmarks.grounding_dino IMAGE [--model gdino-swint] [--threads 2] [--runs 3]

Both have the same weights (tests/recipe.py: speed does not depend on them), image and threads, and
take turns. Theirs is given the image as a tensor; ours is given the frame and resizes it, from its
second frame on. Prints the seconds of each run, medians, their ratio, our stages, peak memory, and
how far apart the boxes of all queries are on the same tensor, as parts of the image.
"""

import argparse
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from groundingdino.util.inference import load_image, predict
from torch import nn

from masa_cli.detectors import DETECTORS, DetectorRequest
from masa_cli.detectors.grounding_dino import TEXT_MODELS, TextDetector
from masa_cli.detectors.prompt import parse_prompt, to_captions
from masa_cli.models.backbones import build_backbone
from masa_cli.models.features import FrameFeatures, to_tensor
from masa_cli.models.grounding_dino_network import empty_detector
from masa_cli.models.published_weights import load_parts
from masa_cli.models.variants import VARIANTS
from masa_cli.structures import Frame
from tests.groundingdino_py import CONFIGURATIONS, build, published
from tests.vocabulary import write_vocabulary

PROMPT = "car, person, dog"
GDINO = VARIANTS["gdino"]
CPU = torch.device("cpu")


def load_ours(name, weights):
    model = TEXT_MODELS[name]
    networks = {
        "backbone": build_backbone(model.backbone),
        "detector": empty_detector(model.channels, model.min_side),
    }
    load_parts(weights, name, networks)
    return nn.ModuleDict(networks).eval().requires_grad_(False)


@contextmanager
def timed(seconds, stage):
    start = time.perf_counter()
    yield
    seconds.setdefault(stage, []).append(time.perf_counter() - start)


class Stages(nn.Module):
    """A network whose time goes into a table."""

    def __init__(self, network, seconds, stage):
        super().__init__()
        self.network, self.seconds, self.stage = network, seconds, stage

    def forward(self, x):
        with timed(self.seconds, self.stage):
            return self.network(x)


def compare_boxes(model, ours, caption, tensor):
    """Largest difference of the boxes of queries that have the same rank in both."""
    theirs = model(tensor[None], captions=[f"{PROMPT.replace(',', '.')}."])
    size = tuple(tensor.shape[1:])
    text = ours["detector"].text(caption.ids, caption.sentences)
    _, boxes = ours["detector"](ours["backbone"](tensor[None]), text, padded=size, unpadded=size)
    return (boxes[0] - theirs["pred_boxes"][0]).abs().amax(1).sort().values


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--model", choices=CONFIGURATIONS, default="gdino-swint")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, float32, ")
    print(f"{options.threads} threads, commit {commit.strip()}, {options.model}")

    with tempfile.TemporaryDirectory() as folder:
        vocabulary = write_vocabulary(Path(folder) / "vocab.txt")
        model = build(options.model, vocabulary)
        torch.save(published(model), Path(folder) / "weights.pth")
        ours = load_ours(options.model, Path(folder) / "weights.pth")
        prompt = parse_prompt(PROMPT)
        captions = to_captions(prompt.classes, vocabulary)
    image, tensor = load_image(str(options.image))
    print(f"image {image.shape[1]}x{image.shape[0]}, as a tensor {tuple(tensor.shape[1:])}")

    seconds = {}

    def prepare(images):
        with timed(seconds, "our picture"):
            return to_tensor(
                images, GDINO.preprocessing["demo"], GDINO.mean, GDINO.std, CPU, torch.float32
            )

    features = FrameFeatures(Stages(ours["backbone"], seconds, "our backbone"), prepare)
    row = DETECTORS[options.model]
    request = DetectorRequest(row, prompt.classes, row.settings, prompt, queries=tuple(captions))
    detector = TextDetector(ours["detector"], features, request)
    for run in range(options.runs + 1):
        frame = Frame(run, Fraction(run), np.ascontiguousarray(image))
        with timed(seconds, "ours"):
            detector.detect([frame])
        with timed(seconds, "theirs"):
            predict(model, tensor, PROMPT.replace(",", "."), 0.35, 0.25, device="cpu")
    for stage, values in seconds.items():
        first, *others = values
        spread = f"{min(others):.2f} to {max(others):.2f}"
        print(f"{stage:14} median {statistics.median(others):6.2f} s, {spread}, first {first:.2f}")
    ratios = [
        theirs / ours for theirs, ours in zip(seconds["theirs"], seconds["ours"], strict=True)
    ]
    print(f"theirs / ours  median {statistics.median(ratios[1:]):6.2f}")
    print(f"peak memory    {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    apart = compare_boxes(model, ours, captions[0], tensor)
    print(
        f"boxes apart    largest {apart[-1]:.1e}, median {apart.median():.1e}, above 1e-4: ", end=""
    )
    print(f"{int((apart > 1e-4).sum())} of {len(apart)}")


if __name__ == "__main__":
    main()
