"""The best crops of each track, cut out of its video into a folder per track.

A crop is good if its box is large, confident, inside the frame and not occluded.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from masa_cli.analysis.lifetimes import rows_by_track
from masa_cli.boxes import area, intersection
from masa_cli.errors import Interrupted
from masa_cli.formats.files import PartFolder
from masa_cli.formats.tables import TrackTable
from masa_cli.formats.tabular import harmless
from masa_cli.progress import RunProgress, Summary
from masa_cli.sources import Source
from masa_cli.sources.prefetch import prefetch
from masa_cli.structures import FloatArray, Frame, IntArray

INDEX = "crops.csv"
_HEADER = ("file", "id", "frame", "time", "label", "score", "x1", "y1", "x2", "y2")
_QUALITY = 95  # of JPEG
_AHEAD = 4  # frames


@dataclass(frozen=True, slots=True)
class CropSettings:
    """Which boxes are worth a crop."""

    per_track: int = 5  # at most
    min_side: float = 16.0  # shorter side of a box, pixels
    margin: float = 0.1  # of the box's size that is shown around it


def write_crops(
    source: Source, table: TrackTable, folder: Path, settings: CropSettings, watch: RunProgress
) -> Summary:
    """Cut out the best views of each track: `<folder>/<id>/<frame>.jpg`, listed in `crops.csv`.

    Args:
        source: the video.
        table: its tracks.
        folder: is replaced if it holds crops; appears once all are there.
        settings: which views.
        watch: is told of the progress, and may ask to stop; then nothing is kept.

    Raises:
        MasaError: the video cannot be read, or the folder not written.
    """
    info = source.info
    size = info.width, info.height
    rows = best_views(table, size, settings)
    text = io.StringIO()
    index = csv.writer(text, lineterminator="\n")
    index.writerow(_HEADER)
    watch.on_pass("cropping", 0)
    frames = table.frames[rows]
    num_crops, position = 0, 0
    with PartFolder(folder, _is_ours) as target:
        for frame in _until(source, int(frames[-1]) if len(frames) else -1, watch):
            while position < len(rows) and frames[position] == frame.index:
                row = int(rows[position])
                position += 1
                name = f"{table.tracks.ids[row]}/{frame.index:06d}.jpg"
                x1, y1, x2, y2 = crop_box(table.tracks.boxes[row], size, settings.margin)
                encoded = io.BytesIO()
                Pillow.fromarray(frame.image[y1:y2, x1:x2]).save(encoded, "JPEG", quality=_QUALITY)
                target.write(name, encoded.getvalue())
                label = harmless(table.classes[table.tracks.labels[row]])
                score = f"{table.tracks.scores[row]:.4f}"
                frame_and_time = frame.index, f"{float(frame.time):.4f}"
                index.writerow(
                    [name, table.tracks.ids[row], *frame_and_time, label, score, x1, y1, x2, y2]
                )
                num_crops += 1
            watch.on_frame(frame.index + 1, num_crops)
        target.write(INDEX, text.getvalue().encode())
    num_tracks = len(set(table.tracks.ids[rows[:position]].tolist()))
    max_per_frame = int(np.unique(frames, return_counts=True)[1].max(initial=0))
    return Summary(table.num_frames, num_crops, num_tracks, 0, max_per_frame, (folder,))


def best_views(table: TrackTable, size: tuple[int, int], settings: CropSettings) -> IntArray:
    """Rows of the table, at most `per_track` of each track; tracks too small have none.

    Args:
        table: the tracks; interpolated boxes are never chosen.
        size: width and height of the video, pixels.
        settings: see there.
    """
    quality = _quality(table, size, settings)
    chosen = []
    for rows in rows_by_track(table):
        good = rows[quality[rows] > 0]
        if len(good):
            chosen.append(_spread(table.frames, quality, good, settings.per_track))
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def crop_box(box: FloatArray, size: tuple[int, int], margin: float) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of the pixels to cut out, within the frame and of at least one."""
    width, height = size
    around = margin * (box[2:] - box[:2])
    x1, y1 = np.floor(box[:2] - around).astype(int).tolist()
    x2, y2 = np.ceil(box[2:] + around).astype(int).tolist()
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return x1, y1, max(min(x2, width), x1 + 1), max(min(y2, height), y1 + 1)


def _until(source: Source, last: int, watch: RunProgress) -> Iterator[Frame]:
    """The frames up to one, and no further."""
    if last < 0:
        return
    with closing(prefetch(watch.timed("decode", source.frames()), _AHEAD)) as frames:
        for frame in frames:
            yield frame
            if frame.index >= last:
                return
            if watch.stop_requested:
                raise Interrupted(f"nothing is kept of {frame.index + 1} frames")


def _is_ours(name: str) -> bool:
    return name == INDEX or name.isdecimal()


def _quality(
    table: TrackTable, size: tuple[int, int], settings: CropSettings
) -> NDArray[np.float64]:
    """(M,) how good each box is; 0 for what must not be chosen."""
    tracks = table.tracks
    boxes = tracks.boxes.astype(np.float64)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    areas = area(boxes)
    frame = np.array([[0, 0, *size]], np.float64)
    inside = intersection(boxes, frame)[:, 0] / np.maximum(areas, 1e-6)
    quality = np.sqrt(np.maximum(areas, 0)) * inside**2 * (1 - _occlusion(table, boxes)) ** 2
    quality *= np.clip(tracks.scores, 0.01, None)
    quality[(sides < settings.min_side) | tracks.interpolated | (inside <= 0)] = 0
    return quality


def _occlusion(table: TrackTable, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) share of each box that the box most in its way covers, if that is nearer (lower)."""
    occluded = np.zeros(len(boxes))
    starts = np.flatnonzero(np.diff(table.frames, prepend=-1))
    for rows in np.split(np.arange(len(boxes)), starts[1:]) if len(boxes) else []:
        own = boxes[rows]
        share = intersection(own, own) / np.maximum(area(own), 1e-6)[:, None]
        nearer = own[None, :, 3] > own[:, None, 3]  # its foot is lower in the frame
        occluded[rows] = np.where(nearer, share, 0).max(axis=1, initial=0)
    return np.clip(occluded, 0, 1)


def _spread(frames: IntArray, quality: NDArray[np.float64], rows: IntArray, count: int) -> IntArray:
    """The best rows, no two of them nearer in time than half of an even spacing."""
    apart = (frames[rows[-1]] - frames[rows[0]]) / (2 * count)
    chosen: list[int] = []
    for row in rows[np.argsort(-quality[rows], kind="stable")].tolist():
        if all(abs(frames[row] - frames[other]) > apart for other in chosen):
            chosen.append(row)
        if len(chosen) == count:
            break
    return np.array(chosen, np.int64)
