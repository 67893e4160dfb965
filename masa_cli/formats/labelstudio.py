"""Label Studio's JSON of a video with boxes that move: read only, also in its short form (MIN).

An object is a sequence of keyframes, which count from 1. Between two of them its box moves evenly,
after the last it stays, up to the end; where a keyframe is not `enabled`, it is not shown until the
next. Boxes are percent of the picture, turned around their upper left corner.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats.files import HELP
from masa_cli.formats.json_fields import Columns, columns_of, read_json
from masa_cli.formats.numbering import two_videos
from masa_cli.formats.tables import MAX_FRAMES, NAMELESS, TrackTable, check_gap, numbered
from masa_cli.formats.times import FrameTimes, rate_of
from masa_cli.structures import FloatArray, Tracks

logger = logging.getLogger(__name__)

_FIRST_FRAME = 1
_SEQUENCE = "sequence"
_CORNER = ("x", "y", "width", "height")


def read_tracks(path: Path, *, size: tuple[int, int] | None = None) -> TrackTable:
    """The objects of one video; ids are given in the order of the file.

    Of several annotations of the video, the first that is not cancelled is read; of predictions,
    the first, where there is no annotation. A warning says which frame rate numbers count by.

    Args:
        path: the file.
        size: width and height of the video, pixels.

    Raises:
        SourceError: it is no such file, or one of several videos.
        SettingsError: the size is not known.
    """
    content = read_json(path)
    tasks = columns_of(content if isinstance(content, list) else [content], path)
    found = [(task, objects) for task in tasks.rows if (objects := _objects(task, path))]
    if len(found) > 1:
        raise two_videos(path, [_video_of(task) for task, _ in found], f"{len(found)} videos")
    objects = found[0][1] if found else []
    size = size or next((each.size for each in objects if each.size), None)
    if size is None:
        raise SettingsError(
            f"{path}: Label Studio's boxes are percent of the picture, whose size is not known",
            fix="name the video with --video, or its size with --size",
        )
    labels, classes = numbered([each.label for each in objects])
    frames, parts = [np.empty(0, np.int64)], []
    for id_, (each, label) in enumerate(zip(objects, labels.tolist(), strict=True), start=1):
        if each.is_shown and each.is_shown[-1]:
            check_gap(path, id_, int(each.keyframes[-1, 0]), each.num_frames)
        for first, last in pairwise(each.keyframes[:, 0].astype(int).tolist()):
            check_gap(path, id_, first, last)
        numbers, boxes, marks = each.shown(size)
        frames.append(numbers)
        scores = np.full(len(numbers), each.score, np.float32)
        names = (np.full(len(numbers), label), np.full(len(numbers), id_))
        parts.append(Tracks(boxes, scores, *names, marks))
    return TrackTable.from_rows(
        path,
        np.concatenate(frames),
        Tracks.joined(parts),
        classes or (NAMELESS,),
        num_frames=max((each.num_frames for each in objects), default=0),
        times=_times(path, objects),
        size=size,
    )


@dataclass(frozen=True, slots=True)
class _Object:
    """One object of the video.

    Attributes:
        label: its class.
        score: of all its boxes.
        keyframes: (K, 6) frame from 0, x, y, width, height in percent, angle in degrees; sorted.
        is_shown: for each, whether the object is there until the next.
        num_frames: of the video.
        seconds: of the video; 0 where the file does not tell.
        size: width and height of the video, where the file tells.
    """

    label: str
    score: float
    keyframes: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    is_shown: Sequence[bool]
    num_frames: int
    seconds: float
    size: tuple[int, int] | None

    def shown(self, size: tuple[int, int]) -> tuple[Any, FloatArray, Any]:
        """Frames, boxes in pixels, and which are interpolated."""
        keyframes, parts, marks = self.keyframes, [], []
        for index, (keyframe, is_shown) in enumerate(zip(keyframes, self.is_shown, strict=True)):
            parts.append(keyframe[None])
            marks.append(np.zeros(1, np.bool_))
            if not is_shown:
                continue
            is_last = index + 1 == len(keyframes)
            goal = keyframe.copy() if is_last else keyframes[index + 1]
            end = self.num_frames if is_last else goal[0]
            filled = np.arange(keyframe[0] + 1, end)
            shares = (filled - keyframe[0]) / max(end - keyframe[0], 1)
            between = keyframe + shares[:, None] * (goal - keyframe)
            between[:, 0] = filled
            parts.append(between)
            marks.append(np.ones(len(filled), np.bool_))
        rows = np.concatenate(parts)
        return rows[:, 0].astype(np.int64), _upright(rows[:, 1:], size), np.concatenate(marks)


def _upright(rows: Any, size: tuple[int, int]) -> FloatArray:  # noqa: ANN401 - numpy
    """(N, 4) float32: the box around each that is turned around its upper left corner."""
    boxes = rows[:, :4] / 100 * [*size, *size]  # x, y, width, height
    angles = np.radians(rows[:, 4])
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1) * boxes[:, 2:3]
    down = np.stack([-np.sin(angles), np.cos(angles)], axis=1) * boxes[:, 3:4]
    corners = boxes[:, None, :2] + np.stack([0 * along, along, down, along + down], axis=1)
    both = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    upright: FloatArray = both.astype(np.float32)
    return upright


def _objects(task: Mapping[str, Any], path: Path) -> list[_Object]:
    """Those of one task, each checked."""
    results = list(_results(task, path))
    names = {
        result.get("id"): label for result in results if (label := _label(result.get("value")))
    }
    objects = []
    for number, result in enumerate(results, start=1):
        value = result.get("value")
        if isinstance(value, dict) and _SEQUENCE in value:
            label = _label(value) or names.get(result.get("id")) or NAMELESS
            objects.append(_object(result, value, label, f"{path} object {number}"))
    return objects


def _results(task: Mapping[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    """What is annotated in a task, whichever of the forms it has."""
    for key in ("annotations", "completions", "predictions"):
        made = task.get(key)
        made = [each for each in made if isinstance(each, dict)] if isinstance(made, list) else []
        kept = [each for each in made if not each.get("was_cancelled") and each.get("result")]
        if not kept:
            continue
        if len(kept) > 1:
            logger.warning("%s: of %d %s, the first is read", path, len(kept), key)
        yield from columns_of(kept[0], path, "result").rows
        return
    for value in task.values():  # the short form
        if isinstance(value, list) and any(_is_sequence(each) for each in value):
            yield from ({"value": each} for each in value if _is_sequence(each))


def _is_sequence(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get(_SEQUENCE), list)


def _object(result: Mapping[str, Any], value: Mapping[str, Any], label: str, where: str) -> _Object:
    rows = columns_of(value, Path(where), _SEQUENCE)
    if not len(rows):
        raise SourceError(f"{where} has no keyframes", fix=HELP)
    numbers = rows.whole("frame")
    if numbers.min() < _FIRST_FRAME or numbers.max() > MAX_FRAMES:
        number = int(np.argmax((numbers < _FIRST_FRAME) | (numbers > MAX_FRAMES)))
        raise rows.wrong(number, f"a frame from {_FIRST_FRAME} to {MAX_FRAMES}", numbers[number])
    angles = [row.get("rotation", 0) or 0 for row in rows.rows]
    angled = Columns([{"rotation": angle} for angle in angles], rows.where)
    columns = [rows.numbers(name) for name in _CORNER]
    keyframes = np.stack([numbers - _FIRST_FRAME, *columns, angled.numbers("rotation")], axis=1)
    _, order = np.unique(keyframes[:, 0], return_index=True)
    facts = Columns(
        [
            {
                "framesCount": value.get("framesCount") or 0,
                "duration": value.get("duration") or 0,
                "score": 1 if result.get("score") is None else result["score"],
            }
        ],
        where,
    )
    num_frames = min(int(facts.numbers("framesCount")[0]), MAX_FRAMES)
    return _Object(
        label,
        float(facts.numbers("score")[0]),
        keyframes[order],
        [rows.rows[index].get("enabled", True) is not False for index in order.tolist()],
        max(num_frames, int(keyframes[:, 0].max()) + 1),
        float(facts.numbers("duration")[0]) if num_frames else 0.0,
        _size(result),
    )


def _label(value: object) -> str:
    """The first of the labels of an object; "" if it has none."""
    if not isinstance(value, dict):
        return ""
    for labels in (value.get("labels"), value.get("videorectangle"), value.get("rectanglelabels")):
        if isinstance(labels, list) and labels:
            return str(labels[0])
    return ""


def _size(result: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = result.get("original_width"), result.get("original_height")
    if type(width) is int and type(height) is int and width > 0 and height > 0:
        return width, height
    return None


def _times(path: Path, objects: Sequence[_Object]) -> FrameTimes | None:
    """By the frame rate that numbers count by, which is said: it is that of the project."""
    told = [each for each in objects if each.seconds > 0 and each.num_frames]
    if not told:
        return None
    rate = rate_of(told[0].seconds / told[0].num_frames)
    logger.warning(
        "%s: its frames are counted at %.4g frames/s, as the project in Label Studio has it; if "
        "the video has another rate, set framerate in its <Video> and annotate again",
        path,
        float(rate),
    )
    return FrameTimes.even(rate)


def _video_of(task: Mapping[str, Any]) -> str:
    data = task.get("data")
    values = data.values() if isinstance(data, dict) else task.values()
    return next((value for value in values if isinstance(value, str)), f"task {task.get('id')}")
