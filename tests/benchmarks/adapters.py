"""Time and memory of the published adapters, stage by stage, at their official input sizes.

    python tests/benchmarks/adapters.py r50 gdino detic sam-b [--threads 2] [--precision bfloat16]

Weights are noise of the right size, so nothing has to be downloaded; the time does not depend on
them. In the same run the fusion is timed with torchvision's `deform_conv2d` in place of ours, and
all from the backbone to the embeddings with OpenVINO, in float32 and bfloat16, as ratios to torch.
The reference's figures are those of its own code on two cores of another machine (spec section 15).
Memory is how far a stage raised the peak of the process; Linux only.
"""

import argparse
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torchvision.ops import deform_conv2d

from masa_cli.models import SharedNetworks, runtime
from masa_cli.models import neck as fusion
from masa_cli.models.adapter import build_parts
from masa_cli.models.backbones import build_backbone
from masa_cli.models.detic import Detic, DeticMasks, DeticNeck, propose, select
from masa_cli.models.device import PRECISIONS, ready
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.heads import box_features
from masa_cli.models.variants import VARIANTS

SIZES = {"r50": (576, 1024), "gdino": (768, 1344), "detic": (768, 1344)}
SIZES |= {"sam-b": (1024, 1024), "sam-h": (1024, 1024)}
NUM_BOXES = 50
# Seconds; rows that the reference measured beside another process are marked by a star.
REFERENCE = {
    "r50": {"backbone": 0.94, "neck": 0.49, "fusion": 12.7, "boxes": 0.054, "head": 0.069},
    "gdino": {"backbone": 7.6, "neck": 0.14, "fusion": 5.5, "boxes": 0.028, "head": 0.065},
    "detic": {"backbone": 15.2, "neck": 0.38, "fusion": 7.2, "boxes": 0.084, "head": 0.31},
    "sam-b": {"backbone": 26.3, "neck": 6.8, "fusion": 64.0, "boxes": 0.12, "head": 0.30},
    "sam-h": {"backbone": 79.5},
}
STARRED = {"detic": "all", "sam-b": "neck, fusion, boxes, head", "gdino": "some"}


def with_noise(network):
    """The same network with weights that keep the size of what flows through it."""
    generator = torch.Generator().manual_seed(0)
    if any(tensor.is_meta for tensor in network.state_dict().values()):
        network = network.to_empty(device="cpu")
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked") or not tensor.is_floating_point():
            continue
        if tensor.dim() > 1:
            fan_in = tensor[0].numel()
            tensor.normal_(0, fan_in**-0.5, generator=generator)
        else:
            tensor.fill_(1.0 if name.endswith(("weight", "running_var")) else 0.0)
    return network


@contextmanager
def torchvisions_convolution():
    ours = fusion.deformable_conv

    def theirs(x, offsets, masks, weight, *, stride):
        return deform_conv2d(x, offsets, weight, stride=stride, padding=1, mask=masks)

    fusion.deformable_conv = theirs
    try:
        yield
    finally:
        fusion.deformable_conv = ours


def memory_mb(line):
    status = Path("/proc/self/status").read_text()
    return next(int(row.split()[1]) / 1e3 for row in status.splitlines() if row.startswith(line))


def timed(work, runs):
    """Result, seconds (median after a warm-up), spread of them, and megabytes above the start."""
    work()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, seconds = memory_mb("VmRSS"), []
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    peak = memory_mb("VmHWM") - before
    return result, statistics.median(seconds), max(seconds) - min(seconds), peak


def stages(name, dtype, runs):
    variant, cpu = VARIANTS[name], torch.device("cpu")
    backbone = ready(with_noise(build_backbone(variant.backbone)), cpu, dtype)
    parts = {p: ready(with_noise(m), cpu, dtype) for p, m in build_parts(variant).items()}
    height, width = SIZES[name]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 3, height, width, generator=generator).to(dtype)
    places = torch.rand(NUM_BOXES, 2, generator=generator) * torch.tensor(
        [width - 200, height - 200]
    )
    sides = torch.rand(NUM_BOXES, 2, generator=generator) * 180 + 12
    boxes = [torch.cat([places, places + sides], dim=1)]
    levels = range(len(variant.strides))

    maps, *row = timed(lambda: backbone(x), runs)
    yield "backbone", *row
    pyramid, *row = timed(lambda: parts["neck"](maps), runs)
    yield "neck", *row
    fused, *row = timed(lambda: parts["fusion"](pyramid, levels), runs)
    yield "fusion", *row
    cells, *row = timed(lambda: box_features(fused, variant.strides, boxes, variant.points), runs)
    yield "boxes", *row
    _, *row = timed(lambda: parts["head"].embed(cells, fused, [NUM_BOXES]), runs)
    yield "head", *row
    if name == "detic":
        yield from detector_stages(maps, dtype, runs)
    if dtype == torch.float32:
        with torchvisions_convolution():
            theirs, *row = timed(lambda: parts["fusion"](pyramid, levels), 1)
        far = max((theirs[k] - fused[k]).abs().max() / theirs[k].abs().max() for k in levels)
        print(f"  {name}: largest difference to torchvision's, relative: {far:.1e}")
        yield "fusion, torchvision", *row
        for precision in ("float32", "bfloat16"):
            look, fuse = converted(name, backbone, parts, precision)
            _, *row = timed(lambda look=look: look(x), runs)
            yield f"OpenVINO {precision}: backbone", *row
            _, *row = timed(lambda fuse=fuse: fuse(maps, set(levels)), runs)
            yield f"OpenVINO {precision}: maps", *row


def converted(name, backbone, parts, precision):
    """Backbone, and neck with fusion, as a run has them with --runtime openvino."""
    networks = SharedNetworks(device="cpu", precision=precision, runtime="openvino")
    features = FrameFeatures(backbone, None)
    networks.share(name, None, features)
    pyramid = Pyramid(features, parts["neck"], parts["fusion"])
    pyramid.convert_with(partial(networks._conversion.of_fused, name))
    return features.network, pyramid._fused


def detector_stages(maps, dtype, runs):
    """What Detic takes beside the backbone; every pair of a box and a class is a candidate."""
    cpu, size = torch.device("cpu"), SIZES["detic"]
    neck, network, masks = (
        ready(with_noise(part()), cpu, dtype) for part in (DeticNeck, Detic, DeticMasks)
    )
    levels, *row = timed(lambda: neck(maps), runs)
    yield "detector: neck", *row
    outputs, *row = timed(lambda: network.proposals(levels), runs)
    yield "detector: proposals", *row
    alone = [(heat[0], sides[0]) for heat, sides in outputs]
    found, *row = timed(lambda: propose(alone), runs)
    yield "detector: their NMS", *row
    (boxes, scores), *row = timed(lambda: network.refine(levels, *found, size), runs)
    yield "detector: 3 stages", *row
    limits = torch.full((scores.shape[1],), 0.02)
    (rows, *_), *row = timed(lambda: select(boxes, scores, limits, 0.5, NUM_BOXES), runs)
    yield "detector: selection", *row
    _, *row = timed(lambda: masks(levels, boxes[rows]), runs)
    yield "detector: masks", *row


def report(name, dtype, runs):
    reference, ours = REFERENCE[name], {}
    with torch.inference_mode():
        for stage, seconds, spread, peak in stages(name, dtype, runs):
            ours[stage] = seconds
            known = reference.get(stage)
            ratio = f"{known / seconds:6.1f}" if known else "      "
            print(f"{name:6} {stage:27} {seconds:8.3f} s  +-{spread:6.3f}  {peak:6.0f} MB  {ratio}")
    behind = ("neck", "fusion", "boxes", "head")
    total = sum(ours[stage] for stage in behind)
    detector = sum(seconds for stage, seconds in ours.items() if stage.startswith("detector"))
    if detector:
        print(f"{name:6} {'detector':27} {detector:8.3f} s")
    print(f"{name:6} {'neck to head':27} {total:8.3f} s")
    if "fusion, torchvision" in ours:
        other = total - ours["fusion"] + ours["fusion, torchvision"]
        print(f"  {other / total:.1f} times faster than with torchvision's convolution")
    for precision in ("float32", "bfloat16"):
        own = [ours[s] for s in ours if s.startswith(f"OpenVINO {precision}")]
        if own:
            torchs = ours["backbone"] + total
            fast = sum(own) + ours["boxes"] + ours["head"]
            print(
                f"  backbone to embeddings, OpenVINO in {precision}: {fast:.2f} s, "
                f"{torchs / fast:.2f} times faster than torch's {torchs:.2f} s in float32"
            )
    if all(stage in reference for stage in behind):
        known = sum(reference[stage] for stage in behind)
        busy = f" (beside other work: {STARRED[name]})" if name in STARRED else ""
        print(f"  {known / total:.1f} times faster than the reference's {known:.2f} s{busy}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+", choices=SIZES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    print(
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, torch "
        f"{torch.__version__}, {options.threads} threads, {options.precision}, commit {commit}, "
        f"{NUM_BOXES} boxes, median of {options.runs} after one; last column: the reference's "
        "seconds over ours"
    )
    with tempfile.TemporaryDirectory() as folder:
        runtime.cache_folder = lambda: Path(folder)  # noise is not worth keeping
        for name in options.variants:
            report(name, PRECISIONS[options.precision], options.runs)
    print(f"peak memory of all: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
