"""TETA for each class of BDD100K, where every object of a class is in the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from masa_cli.evaluation.ignore_regions import Comparison, drop_ignored
from masa_cli.evaluation.teta import ClassCounts, TetaVideo, count_video, total
from masa_cli.formats.bdd_labels import CLASSES
from masa_cli.structures import IntArray

# The order in which classes are counted, which matters (see teta.count_video).
_ORDER = tuple(
    CLASSES.index(name)
    for name in (*("pedestrian", "rider", "car", "bus", "truck", "train", "motorcycle", "bicycle"),)
)


def count_classes(frames: Sequence[Comparison]) -> dict[int, ClassCounts]:
    """Count one video, by label."""
    parts = [drop_ignored(frame) for frame in frames]
    objects: dict[str, int] = {}
    tracks: dict[str, int] = {}
    video = TetaVideo(
        [_numbered(part.gt.ids, objects) for part in parts],
        [part.gt.labels for part in parts],
        [_numbered(part.results.ids, tracks) for part in parts],
        [part.results.labels for part in parts],
        [part.iou for part in parts],
    )
    return count_video(video, _ORDER, exhaustive=True)


def combine(videos: Iterable[Mapping[int, ClassCounts]]) -> dict[str, ClassCounts]:
    """All videos, by the name of the class."""
    counts = total(dict(video) for video in videos)
    return {name: counts.get(label, ClassCounts.zero()) for label, name in enumerate(CLASSES)}


def _numbered(ids: Sequence[str], numbers: dict[str, int]) -> IntArray:
    return np.array([numbers.setdefault(id_, len(numbers)) for id_ in ids], np.int64)
