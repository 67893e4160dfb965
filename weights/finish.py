"""From a trained detector to the file that comes with the program: embeddings, settings, halves.

    python weights/finish.py RUN/last.safetensors OUT.safetensors CLIP [CLIP ...]
        [--fps 5] [--set hybrid birth_score=0.4 ...] [--set-objects hybrid birth_score=0.3 ...]
        [--objectness 0.46 0.26]

CLIPs are videos, or folders of frames that were taken --fps times a second. Embeddings are
part-based pooling (stripes) on the frozen stride-8 map, whitened. What changes while an object
stays the same is learned from CLIPs without labels: the detector finds boxes of any object, motion
alone tracks them, and the differences between one track's parts a little later give the covariance
that is divided by. --set stores changes to an association that this detector's boxes need,
--set-objects those that its boxes of any object need, if others; --objectness how logits of any
object are scaled and moved, so that thresholds find as many boxes as with the weights before.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from masa_cli.detectors import DETECTORS, BoxSettings, DetectorRequest
from masa_cli.models import SharedNetworks
from masa_cli.models.adapter import Adapter
from masa_cli.models.features import Pyramid
from masa_cli.models.heads import PartPooling
from masa_cli.models.trained_weights import (
    ADAPTER_KEY,
    ASSOCIATION_KEY,
    OBJECTNESS_KEY,
    OBJECTS_ASSOCIATION_KEY,
    describe_trained,
    save_tensors,
)
from masa_cli.models.variants import find_variant
from masa_cli.sources import open_source
from masa_cli.structures import FloatArray
from masa_cli.tracking import build_tracker

MODEL = "lite"
ROW = DETECTORS[MODEL]
FROM, TO = 0.1, 1.0  # how much later the same object is compared again, seconds
PER_BOX = 4  # differences of each box to later ones, at most
SHRINK = 0.1  # what is added to all variances, of their mean
SEED = 0
MIN_SCORE = 0.3  # of boxes
ADAPTER = {"temperature": 0.05}  # what is stored of how embeddings are read; that of `raw`


class Unweighed(PartPooling):
    """Keeps parts as they are after centring, instead of rows of length 1."""

    embed = PartPooling.parts


def parts_of_tracks(
    clip: Path, fps: Fraction, weights: Path
) -> Iterator[list[tuple[float, FloatArray]]]:
    """For each track of a clip the times in seconds and parts (C, 7) of its boxes."""
    networks = SharedNetworks(device="cpu")
    settings = BoxSettings(MIN_SCORE, max_overlap=0.5, max_boxes=50)
    detector = DetectorRequest(ROW, ("object",), settings, weights=weights).build(networks)
    features = networks.backbone(MODEL, weights)
    variant = find_variant(MODEL)
    head = Unweighed(variant.channels[0])
    adapter = Adapter(variant, Pyramid.unfused(features), head, torch.device("cpu"))
    tracker = build_tracker("motion")
    tracks: dict[int, list[tuple[float, FloatArray]]] = defaultdict(list)
    source = open_source(clip, frame_rate=fps if clip.is_dir() else None)
    for frame in source.frames():
        time = float(frame.time)
        (found,) = detector.detect([frame])
        found_tracks = tracker.update(frame.index, time, found, np.empty((len(found.boxes), 0)))
        (parts,) = adapter.embed([frame], [found_tracks.boxes])
        for number, own in zip(found_tracks.ids.tolist(), parts, strict=True):
            tracks[number].append((time, own))
    yield from tracks.values()


def differences(track: list[tuple[float, FloatArray]], random: np.random.Generator) -> list:
    rows = []
    for time, own in track:
        later = [other for then, other in track if FROM <= then - time <= TO]
        rows += [own - later[index] for index in random.permutation(len(later))[:PER_BOX]]
    return rows


def whitening(rows: FloatArray) -> FloatArray:
    """(C, C) of differences (N, C, 7)."""
    flat = rows.transpose(0, 2, 1).reshape(-1, rows.shape[1])
    covariance = flat.T @ flat / len(flat)
    covariance += SHRINK * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    white = (vectors / np.sqrt(values)) @ vectors.T
    return white / np.trace(white) * len(white)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--fps", type=Fraction, default=Fraction(5), help="of folders of frames")
    parser.add_argument("--set", nargs="+", action="append", default=[], metavar="NAME")
    parser.add_argument("--set-objects", nargs="+", action="append", default=[], metavar="NAME")
    parser.add_argument("--objectness", type=float, nargs=2, default=[1.0, 0.0])
    options = parser.parse_args()
    random, rows = np.random.default_rng(SEED), []
    for clip in options.clips:
        tracks = list(parts_of_tracks(clip, options.fps, options.weights))
        own = [row for track in tracks for row in differences(track, random)]
        print(f"{clip.name}: {len(tracks)} tracks, {len(own)} differences", flush=True)
        rows += own
    own = load_file(options.weights).items()
    tensors = {name: tensor for name, tensor in own if not name.startswith("head.")}
    tensors["head.white"] = torch.from_numpy(whitening(np.array(rows)))
    defaults = {name: changes for name, *changes in options.set}
    about = {**describe_trained(options.weights).about}
    if options.set_objects:
        about[OBJECTS_ASSOCIATION_KEY] = {name: changes for name, *changes in options.set_objects}
    about |= {ADAPTER_KEY: ADAPTER, ASSOCIATION_KEY: defaults, OBJECTNESS_KEY: options.objectness}
    save_tensors(options.out, MODEL, tensors, about, torch.float16)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
