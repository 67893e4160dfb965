"""Time and memory of the published networks, stage by stage, at their official input sizes.

    python -m tests.benchmarks.adapters r50 gdino-swint [--threads 1] [--runs 1] [--keep FOLDER]
        [--engines torch-float32,openvino-float32,...] [--torchvision]

Weights are noise of the right size, so nothing has to be downloaded; the time does not depend on
them. Every network is taken from images to embeddings of 50 boxes, `gdino-swint` to boxes, by each
engine in turn. Counted are seconds that the process had a core for, which other processes change
little; beside them stand those that went by. Ratios are of the former, to torch in float32. How
many boxes have, of all embeddings by torch in float32, their own as the nearest shows what other
numbers do to them. With --keep, what was measured is kept in a folder: a run that was stopped goes
on there. --torchvision times the fusion with its `deform_conv2d` in place of ours, too. The
reference's figures are those of its own code on two cores of another machine (spec section 15), in
seconds that went by. Memory is how far a stage raised the peak of the process; Linux only.
"""

import argparse
import json
import platform
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch.nn.functional import cosine_similarity, interpolate
from torchvision.ops import deform_conv2d

from masa_cli.detectors.grounding_dino import TEXT_MODELS
from masa_cli.models import SharedNetworks, runtime
from masa_cli.models import neck as fusion
from masa_cli.models.adapter import build_parts
from masa_cli.models.backbones import build_backbone
from masa_cli.models.detic import Detic, DeticMasks, DeticNeck, propose, select
from masa_cli.models.device import PRECISIONS, ready
from masa_cli.models.features import FrameFeatures, Pyramid
from masa_cli.models.grounding_dino_network import empty_detector
from masa_cli.models.heads import box_features
from masa_cli.models.variants import VARIANTS

SIZES = {"r50": (576, 1024), "gdino": (768, 1344), "detic": (768, 1344)}
SIZES |= {"sam-b": (1024, 1024), "sam-h": (1024, 1024), "gdino-swint": (768, 1344)}
ENGINES = ("torch-float32", "torch-bfloat16", "openvino-float32", "openvino-bfloat16")
CPU = torch.device("cpu")
NUM_BOXES = 50
WORDS = [101, 2482, 1012, 2711, 1012, 3899, 1012, 102], [1, 2, 2, 2, 1]  # car . person . dog .
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
    """Result, and of the medians after a warm-up: seconds of a core, seconds, megabytes more."""
    work()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, cpu, wall = memory_mb("VmRSS"), [], []
    for _ in range(runs):
        starts = time.process_time(), time.perf_counter()
        result = work()
        cpu.append(time.process_time() - starts[0])
        wall.append(time.perf_counter() - starts[1])
    peak = memory_mb("VmHWM") - before
    return result, [statistics.median(cpu), statistics.median(wall), peak]


def images(name):
    """One image at the official size: patches of all sizes, so that boxes show different things."""
    generator, (height, width) = torch.Generator().manual_seed(1), SIZES[name]
    sides = [(height // each, width // each) for each in (8, 16, 32, 64)]
    layers = [torch.randn(1, 3, *side, generator=generator) for side in sides]
    return sum(interpolate(layer, (height, width)) for layer in layers) / 2


def boxes_in(height, width):
    generator = torch.Generator().manual_seed(2)
    room = torch.tensor([width - 200, height - 200])
    places = torch.rand(NUM_BOXES, 2, generator=generator) * room
    sides = torch.rand(NUM_BOXES, 2, generator=generator) * 180 + 12
    return [torch.cat([places, places + sides], dim=1)]


def adapter_stages(name, engine, options):
    """Name, result, figures of each stage; the last result are the embeddings."""
    kind, precision = engine.split("-")
    variant, dtype, runs = VARIANTS[name], PRECISIONS[precision], options.runs
    backbone = ready(with_noise(build_backbone(variant.backbone)), CPU, dtype)
    parts = {p: ready(with_noise(m), CPU, dtype) for p, m in build_parts(variant).items()}
    x, boxes = images(name).to(dtype), boxes_in(*SIZES[name])
    levels = set(range(len(variant.strides)))
    features = FrameFeatures(backbone, None)
    pyramid = Pyramid(features, parts["neck"], parts["fusion"])
    if kind == "openvino":
        networks = SharedNetworks(device="cpu", precision=precision, runtime=kind)
        networks.share(name, None, features)
        pyramid.convert_with(partial(networks._conversion.of_fused, name))

    maps, row = timed(lambda: features.network(x), runs)
    yield "backbone", maps, row
    fused, row = timed(lambda: pyramid._fused(maps, levels), runs)
    yield "neck and fusion", fused, row
    if options.torchvision and engine == "torch-float32":
        with torchvisions_convolution():
            theirs, row = timed(lambda: pyramid._fused(maps, levels), runs)
        far = max((theirs[k] - fused[k]).abs().max() / theirs[k].abs().max() for k in levels)
        print(f"  {name}: largest difference to torchvision's, relative: {far:.1e}")
        yield "neck and fusion, torchvision", theirs, row
    cells, row = timed(lambda: box_features(fused, variant.strides, boxes, variant.points), runs)
    yield "boxes", cells, row
    found, row = timed(lambda: parts["head"].embed(cells, fused, [NUM_BOXES]), runs)
    if name == "detic" and kind == "torch":
        yield from detector_stages(maps, dtype, runs)
    yield "head", torch.from_numpy(found[0]).float(), row


def text_detector_stages(name, engine, options):
    """The same of a Grounding-DINO; the last result are boxes."""
    kind, precision = engine.split("-")
    model, dtype, runs = TEXT_MODELS[name], PRECISIONS[precision], options.runs
    features = FrameFeatures(ready(with_noise(build_backbone(model.backbone)), CPU, dtype), None)
    detector = ready(with_noise(empty_detector(model.channels, model.min_side)), CPU, dtype)
    if kind == "openvino":
        networks = SharedNetworks(device="cpu", precision=precision, runtime=kind)
        networks.share(name, None, features)
        detector.convert_with(
            lambda step, part, example: networks.converted(step, f"{part} of {name}", example)
        )
    x, size = images(name).to(dtype), SIZES[name]
    text = detector.text(*WORDS)

    maps, row = timed(lambda: features.network(x), runs)
    yield "backbone", maps, row
    projected, row = timed(lambda: detector.project(maps), runs)
    yield "projection", projected, row
    positions = detector.positions_of(projected, size, size)
    (cells, tokens), row = timed(lambda: detector.encode(projected, text, positions), runs)
    yield "encoder", cells, row
    boxes, row = timed(lambda: detector.propose(cells, tokens, positions), runs)
    yield "proposals", boxes, row
    (_, boxes), row = timed(lambda: detector.decode(cells, tokens, boxes, positions), runs)
    yield "decoder", boxes, row


def detector_stages(maps, dtype, runs):
    """What Detic takes beside the backbone; every pair of a box and a class is a candidate."""
    size = SIZES["detic"]
    neck, network, masks = (
        ready(with_noise(part()), CPU, dtype) for part in (DeticNeck, Detic, DeticMasks)
    )
    levels, row = timed(lambda: neck(maps), runs)
    yield "detector: neck", None, row
    outputs, row = timed(lambda: network.proposals(levels), runs)
    yield "detector: proposals", None, row
    alone = [(heat[0], sides[0]) for heat, sides in outputs]
    found, row = timed(lambda: propose(alone), runs)
    yield "detector: their NMS", None, row
    (boxes, scores), row = timed(lambda: network.refine(levels, *found, size), runs)
    yield "detector: 3 stages", None, row
    limits = torch.full((scores.shape[1],), 0.02)
    (rows, *_), row = timed(lambda: select(boxes, scores, limits, 0.5, NUM_BOXES), runs)
    yield "detector: selection", None, row
    _, row = timed(lambda: masks(levels, boxes[rows]), runs)
    yield "detector: masks", None, row


def measure(name, engine, options):
    """The figures of each stage, and the embeddings as rows of numbers."""
    kept = options.keep / f"{name}-{engine}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    stages = (
        text_detector_stages if name in TEXT_MODELS and name not in VARIANTS else adapter_stages
    )
    found = {"rows": {}, "embeddings": None}
    with torch.inference_mode():
        for stage, result, row in stages(name, engine, options):
            found["rows"][stage] = row
            print_row(name, engine, stage, row)
            if stage == "head":
                found["embeddings"] = result.tolist()
    found |= {"threads": options.threads, "runs": options.runs, "commit": commit()}
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.rename(kept)
    return found


def print_row(name, engine, stage, row):
    cpu, wall, peak = row
    print(f"{name:12} {engine:18} {stage:28} {cpu:8.3f} s {wall:8.3f} s {peak:6.0f} MB", flush=True)


def report(name, options):
    by_engine = {engine: measure(name, engine, options) for engine in options.engines}
    totals = {}
    for engine, found in by_engine.items():
        own = [row for stage, row in found["rows"].items() if not is_beside(stage)]
        totals[engine] = sum(row[0] for row in own)
        behind = totals[engine] - found["rows"]["backbone"][0]
        print(
            f"{name:12} {engine:18} {'all':28} {totals[engine]:8.3f} s, behind the backbone "
            f"{behind:.3f} s ({found['threads']} threads, {found['runs']} runs after one, commit "
            f"{found['commit']}); {like_first(by_engine, engine)}"
        )
    for engine, total in totals.items():
        print(f"  {engine}: {totals[options.engines[0]] / total:.2f} times {options.engines[0]}")
    if known := REFERENCE.get(name):
        spent = ", ".join(f"{stage} {seconds} s" for stage, seconds in known.items())
        busy = f"; beside other work: {STARRED[name]}" if name in STARRED else ""
        print(f"  the reference, on two cores: {spent}{busy}")


def is_beside(stage):
    """Whether a stage is no part of the way from images to embeddings."""
    return stage.startswith("detector") or stage.endswith("torchvision")


def like_first(by_engine, engine):
    """How many boxes are nearest to themselves, in the embeddings of the first engine."""
    first, own = (by_engine[each]["embeddings"] for each in (next(iter(by_engine)), engine))
    if own is None:
        return "boxes are not compared"
    similar = cosine_similarity(torch.tensor(own)[:, None], torch.tensor(first)[None], dim=2)
    nearest = (similar.argmax(1) == torch.arange(len(similar))).float().mean()
    return f"{nearest:.0%} of boxes nearest to themselves, similarity {similar.diag().min():.5f}"


def commit():
    git = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=SIZES)
    parser.add_argument("--engines", default=",".join(ENGINES), help="the first is compared with")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1, help="after one that is not counted")
    parser.add_argument("--keep", type=Path, help="folder of what was measured (default: nothing)")
    parser.add_argument("--torchvision", action="store_true")
    options = parser.parse_args()
    options.engines = options.engines.split(",")
    if strange := set(options.engines) - set(ENGINES):
        parser.error(f"no such engines: {', '.join(sorted(strange))}")
    torch.set_num_threads(options.threads)
    print(
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, torch "
        f"{torch.__version__}, {NUM_BOXES} boxes; seconds of a core, seconds, memory"
    )
    with tempfile.TemporaryDirectory() as folder:
        options.keep = options.keep or Path(folder)
        options.keep.mkdir(parents=True, exist_ok=True)
        runtime.cache_folder = lambda: options.keep / "graphs"  # noise is not for masa's own
        for name in options.names:
            report(name, options)


if __name__ == "__main__":
    main()
