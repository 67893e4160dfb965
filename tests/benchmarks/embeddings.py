"""How well adapters tell objects apart by looks alone: recall on true boxes, IDF1 on found ones.

    python tests/benchmarks/embeddings.py ADAPTER [ADAPTER ...] --clip VIDEO BOXES TRUTH [...]
        [--truth VIDEO TRUTH ...] [--gaps 7 28] [--min-score 0.3] [--imgsz 640]

ADAPTER is what --adapter of masa track takes. VIDEO is what it reads, BOXES a detections file,
TRUTH MOTChallenge ground truth. Recall@1: of the true boxes of a frame, the share whose nearest
among those so many frames later is their own, where it is there. IDF1: of the preset masa-demo with
a memory of 30 frames, in four settings (momentum 0.2 and 0.8, births above 0.4 and 0.6): one number
of one setting says little, so their mean is given, and their least and greatest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from masa_cli.evaluation.metrics import identity_scores
from masa_cli.formats.detections import read_detections
from masa_cli.formats.mot import read_truth
from masa_cli.models.adapter import Adapter, build_adapter, build_features, resolve
from masa_cli.sources import open_source
from masa_cli.structures import Detections, FloatArray, Frame, Observation
from masa_cli.tracking import build_tracker

SETTINGS = list(product(("momentum=0.2", "momentum=0.8"), ("birth_score=0.4", "birth_score=0.6")))


class Scene(NamedTuple):
    """A frame of a clip: true boxes, and those that were found."""

    index: int
    ids: np.ndarray
    boxes: FloatArray
    found: Detections


def build(adapter: str, side: int | None) -> Adapter:
    name, weights = resolve(adapter)
    features = build_features(name, weights=weights, device="cpu", side=side)
    return build_adapter(name, weights=weights, device="cpu", features=features)


def scenes(video: str, truth: str, boxes: str | None, min_score: float) -> Iterator[tuple]:
    true = read_truth(Path(truth))
    table = read_detections(Path(boxes)).scored(min_score)[0] if boxes else None
    scored = true.scores != 0
    for frame in open_source(Path(video)).frames():
        if frame.index > true.frames.max():
            return
        own = (true.frames == frame.index) & scored
        found = table.of_frame(frame.index) if table else Detections.empty()
        yield frame, Scene(frame.index, true.ids[own], true.boxes[own].astype(np.float32), found)


def described(
    adapter: Adapter, frames: Iterator[tuple[Frame, Scene]]
) -> Iterator[tuple[Scene, FloatArray, FloatArray]]:
    """Each scene with embeddings of its true boxes and of those found."""
    for frame, scene in frames:
        (rows,) = adapter.embed([frame], [np.concatenate([scene.boxes, scene.found.boxes])])
        yield scene, rows[: len(scene.boxes)], rows[len(scene.boxes) :]


def recall(seen: Sequence[tuple[Scene, FloatArray, FloatArray]], gap: int) -> tuple[float, int]:
    """Percent, and of how many boxes."""
    by_index = {scene.index: (scene.ids, rows) for scene, rows, _ in seen}
    hits: list[bool] = []
    for index, (ids, rows) in by_index.items():
        later, others = by_index.get(index + gap, (ids[:0], rows[:0]))
        there = np.isin(ids, later)
        if there.any():
            nearest = later[(rows[there] @ others.T).argmax(axis=1)]
            hits += (nearest == ids[there]).tolist()
    return (100 * float(np.mean(hits)) if hits else np.nan), len(hits)


def idf1(seen: Sequence[tuple[Scene, FloatArray, FloatArray]], temperature: float) -> list[float]:
    """Percent, for each of the settings."""
    scores = []
    for changes in SETTINGS:
        tracker = build_tracker(
            "masa-demo", changes=[*changes, "memory_frames=30"], temperature=temperature
        )
        found = [
            tracker.update(Observation(index, index / 30, scene.found, rows)).tracks
            for index, (scene, _, rows) in enumerate(seen)
        ]
        truth = [(scene.boxes, scene.ids) for scene, _, _ in seen]
        tracks = [(each.boxes, each.ids) for each in found]
        scores.append(100 * identity_scores(truth, tracks).idf1)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("adapters", nargs="+")
    three, two = ("VIDEO", "BOXES", "TRUTH"), ("VIDEO", "TRUTH")
    parser.add_argument("--clip", nargs=3, action="append", default=[], metavar=three)
    parser.add_argument("--truth", nargs=2, action="append", default=[], metavar=two)
    parser.add_argument("--gaps", type=int, nargs="+", default=[7, 28])
    parser.add_argument("--min-score", type=float, default=0.3, help="of found boxes")
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clips = [(video, truth, boxes) for video, boxes, truth in options.clip]
    clips += [(video, truth, None) for video, truth in options.truth]
    for name, (video, truth, boxes) in product(options.adapters, clips):
        adapter = build(name, options.imgsz)
        frames = scenes(video, truth, boxes, options.min_score)
        seen = list(described(adapter, frames))
        recalls = [(gap, *recall(seen, gap)) for gap in options.gaps]
        told = ", ".join(f"{gap}: {percent:.1f} ({count})" for gap, percent, count in recalls)
        print(f"{name:20} {Path(truth).parents[1].name:12} recall@1 {told}", end="")
        if boxes:
            scores = idf1(seen, adapter.temperature)
            print(f"; IDF1 {np.mean(scores):.1f} ({min(scores):.1f}-{max(scores):.1f})", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
