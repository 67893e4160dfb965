"""What a step of training costs, stage by stage, and how fast views are made.

    python -m tests.benchmarks.training DATA [DATA ...] [--adapter lite] [--steps 6] [--set ...]

DATA are folders that `masa train prepare` made. Views are made in the training process itself, so
that no stage hides another. "own" is what is neither network nor gradient: views, assignment,
sampling and proposals. The last lines compare the views with torchvision's transforms of the same
three geometric steps on the same images.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from masa_cli.models.variants import find_variant
from masa_cli.progress import RunProgress
from masa_cli.sources.image_folder import read_image
from masa_cli.training import matching, object_prior
from masa_cli.training.batches import processes, read_batches
from masa_cli.training.loop import Trainee, Trainer
from masa_cli.training.objectives import OBJECTIVES, initial_weights
from masa_cli.training.pairs import PairMaker
from masa_cli.training.recipe import find_recipe
from masa_cli.training.regions import RegionSet, read_regions

WARM_UP = 2
OWN = ("views", "assign", "sample", "proposals")


class MemoryProgress(RunProgress):
    """Also takes down how much memory the process holds at the end of each stage (Linux)."""

    def __init__(self):
        super().__init__()
        self.memory = {}

    @contextmanager
    def stage(self, name):
        with super().stage(name):
            yield
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        held = pages * resource.getpagesize() / 2**30
        self.memory[name] = max(self.memory.get(name, 0), held)


def timed(progress, module, name, stage):
    """Replace a function of a module by itself, with its time taken."""
    function = getattr(module, name)

    def wrapper(*args, **others):
        with progress.stage(stage):
            return function(*args, **others)

    setattr(module, name, wrapper)


def measure(options):
    """Seconds of each stage in each step."""
    regions = RegionSet.joined([read_regions(path) for path in options.data])
    recipe = find_recipe(options.adapter).changed(
        [*options.set, f"run.steps={options.steps + WARM_UP}"]
    )
    settings = tuple(recipe.objectives.values())
    rows = [OBJECTIVES[type(each)] for each in settings]
    parts = initial_weights(
        *(recipe.variant, rows, regions.classes),
        start=options.start,
        weights_dir=options.weights_dir,
        seed=0,
    )
    progress, steps = MemoryProgress(), []
    for module in (matching, object_prior):
        timed(progress, module, "assign", "assign")
        timed(progress, module, "sample", "sample")
    timed(progress, object_prior, "_proposals", "proposals")
    with processes(options.device, options.precision) as own:
        network = Trainee(
            find_variant(recipe.variant), parts, list(zip(rows, settings, strict=True)), progress
        )
        trainer = Trainer(network.train().to(own.device), recipe, own, progress)
        maker = PairMaker(regions, recipe.views, 0)
        batches = read_batches(maker, trainer.numbers(), workers=0, pinned=False)
        for facts in trainer.steps(batches):
            steps.append({**progress.seconds, "step": facts.seconds})
            progress.seconds.clear()
        if own.device.type == "cuda":
            print(f"peak memory of the GPU: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    return recipe, steps[WARM_UP:], progress.memory


def print_stages(recipe, steps, memory):
    """Median, spread and share of each stage; memory held at its end."""
    for step in steps:
        step["views"] = step.pop("wait for views")
        step["own"] = sum(step.get(name, 0) for name in OWN)
    whole = statistics.median(step["step"] for step in steps)
    memory["views"] = memory.pop("wait for views")
    print(f"{'stage':18} {'median s':>9} {'min':>7} {'max':>7} {'share':>6} {'GiB held':>9}")
    for name in sorted(steps[0], key=lambda name: -steps[0][name]):
        values = [step.get(name, 0) for step in steps]
        median = statistics.median(values)
        print(
            f"{name:18} {median:9.3f} {min(values):7.3f} {max(values):7.3f} {median / whole:6.1%} "
            f"{memory.get(name, float('nan')):9.2f}"
        )
    print(f"{recipe.run.batch / whole:.2f} images/s (pairs of views)")


def print_views(recipe, data, count=40):
    """Our views and torchvision's of the same images, without reading them."""
    regions = RegionSet.joined([read_regions(path) for path in data])
    settings = recipe.views
    chosen = [regions[place] for place in range(0, len(regions), max(1, len(regions) // count))]
    images = {each.file: read_image(each.file) for each in chosen}
    transform = v2.Compose(
        [
            v2.RandomAffine(
                settings.max_rotation,
                (settings.max_shift,) * 2,
                (settings.min_scale, settings.max_scale),
                (-settings.max_shear, settings.max_shear) * 2,
                v2.InterpolationMode.BILINEAR,
                fill=114,
            ),
            v2.ScaleJitter((settings.size,) * 2, (settings.min_resize, settings.max_resize)),
            v2.RandomCrop(settings.size, pad_if_needed=True, fill=114),
            v2.RandomHorizontalFlip(settings.flip_chance),
            v2.ColorJitter(0.1, 0, 0.1, 0.03),
        ]
    )
    start = time.perf_counter()
    for each in chosen:
        boxes = tv_tensors.BoundingBoxes(each.boxes, format="XYXY", canvas_size=each.size)
        image = tv_tensors.Image(torch.from_numpy(images[each.file]).permute(2, 0, 1))
        for _ in range(2):
            transform(image, boxes)
    theirs = time.perf_counter() - start
    maker = PairMaker(regions, settings, 0)
    start = time.perf_counter()
    for number in range(len(chosen)):
        maker.make(number)
    ours = time.perf_counter() - start
    print(
        f"a pair of views: ours {ours / len(chosen) * 1e3:.1f} ms with reading the image, "
        f"torchvision's transforms {theirs / len(chosen) * 1e3:.1f} ms without"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--adapter", default="lite")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--start", type=Path)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)  # noqa: PLW1510
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, "
        f"torch {torch.__version__}, commit {commit.stdout.strip()}"
    )
    recipe, steps, memory = measure(options)
    run, views = recipe.run, recipe.views
    print(
        f"{options.adapter}, {options.precision}, batch {run.batch} in parts of {run.part}, views "
        f"of {views.size} pixels, {len(steps)} steps after {WARM_UP}"
    )
    print_stages(recipe, steps, memory)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process: {peak:.2f} GiB")
    print_views(recipe, options.data)


if __name__ == "__main__":
    main()
