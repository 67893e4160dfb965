"""How much of what a backbone sees gets through untrained layers: begun at random, or let through.

    python -m tests.benchmarks.first_weights DATA [DATA ...] [--adapter lite] [--set ...]

DATA are folders that `masa train prepare` made. Prints recall@1 among all regions of the images
held out, of what boxes show behind the neck, the fusion and the head, averaged over rows.
"""

import argparse
from pathlib import Path

import torch

from masa_cli.models.heads import box_features
from masa_cli.models.variants import find_variant
from masa_cli.training.batches import Batch
from masa_cli.training.loop import Trainee
from masa_cli.training.objectives import OBJECTIVES, initial_weights
from masa_cli.training.recipe import find_recipe
from masa_cli.training.regions import RegionSet, read_regions
from masa_cli.training.validation import Validation, recall_at_1, split

STAGES = ("neck", "fusion", "head")


@torch.inference_mode()
def describe(trainee, pair):
    """For each stage the embeddings of both views."""
    batch = Batch.of([pair])
    parts, strides = trainee.parts, trainee.variant.strides
    seen = trainee.extract(batch)
    x = batch.images.permute(0, 3, 1, 2).float()
    pyramid = parts["neck"](parts["backbone"]((x - trainee.mean) / trainee.std))
    both = {stage: [] for stage in STAGES}
    for place, view in enumerate((seen.key, seen.reference)):
        boxes = [view.instances[0].boxes]
        level = {number: x[place : place + 1] for number, x in enumerate(pyramid)}
        fused = box_features(view.maps, strides, boxes, trainee.variant.points)
        in_neck = box_features(level, strides, boxes, trainee.variant.points)
        both["neck"].append(in_neck.mean(3).flatten(1).numpy())
        both["fusion"].append(fused.mean(3).flatten(1).numpy())
        both["head"].append(parts["head"](fused).numpy())
    return both


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--adapter", default="lite")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    recipe = find_recipe(options.adapter).changed(options.set)
    regions = RegionSet.joined([read_regions(path) for path in options.data])
    _, held_out = split(regions, recipe.run)
    validation = Validation(held_out, recipe.views, [], None, Path())
    settings = tuple(recipe.objectives.values())
    rows = [OBJECTIVES[type(each)] for each in settings]
    for identity_init in (False, True):
        parts = initial_weights(
            *(recipe.variant, rows, regions.classes),
            start=None,
            weights_dir=None,
            seed=0,
            identity_init=identity_init,
        )
        together = list(zip(rows, settings, strict=True))
        trainee = Trainee(find_variant(recipe.variant), parts, together).eval()
        described = [(pair, describe(trainee, pair)) for _, pair in validation.pairs()]
        print("let through" if identity_init else "at random")
        for stage in STAGES:
            scores = recall_at_1((pair, tuple(both[stage])) for pair, both in described)
            print(f"  {stage:7}", {name: round(float(value), 3) for name, value in scores.items()})
    print("raw", {name: round(float(value), 3) for name, value in validation.score_raw().items()})


if __name__ == "__main__":
    main()
