"""CVAT's XML for video (version 1.1): tracks out, for correction by hand, and in again.

A track holds its boxes in every frame as keyframes, and after each gap's beginning one box that is
"outside", or CVAT would go on showing the last one. Attributes tell the score and whether a box was
interpolated. A track has one label there: the one most of its boxes have.
"""

from __future__ import annotations

import logging
import re
import xml.etree.ElementTree as Xml
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any
from xml.etree.ElementTree import ParseError
from xml.sax.saxutils import escape

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from masa_cli.errors import SourceError
from masa_cli.formats.files import PartFile, explained
from masa_cli.formats.numbering import check_same_video
from masa_cli.formats.tables import (
    LARGEST,
    MAX_FRAMES,
    MAX_ID,
    NAMELESS,
    TrackTable,
    check_gap,
    numbered,
)
from masa_cli.formats.times import EvenRate, FrameTimes
from masa_cli.structures import FloatArray, Frame, IntArray, Tracks, VideoInfo

logger = logging.getLogger(__name__)

# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_ATTRIBUTES = "".join(
    f"<attribute><name>{name}</name><mutable>True</mutable><input_type>{kind}</input_type>"
    f"<default_value>{default}</default_value><values>{default}</values></attribute>"
    for name, kind, default in (("score", "text", ""), ("interpolated", "checkbox", "false"))
)

_FIX = "export it from CVAT as CVAT for video 1.1"
_RATE = "frame_rate"  # of the task: ours, of frames that come evenly; CVAT does not look at it
_CORNERS = ("xtl", "ytl", "xbr", "ybr")


def read_tracks(path: Path) -> TrackTable:
    """Read all boxes; between keyframes they are interpolated, as CVAT shows them.

    Polygons, ellipses and masks of tracks, and boxes that were turned, become the upright boxes
    around them, which a warning counts. Other shapes are left out, and counted in a warning.

    Raises:
        SourceError: it is no such XML, or a number is missing or impossible.
    """
    content = _Content()
    try:
        with explained(path):
            _read(path, content)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise SourceError(f"{path} cannot be read as CVAT's XML: {error}", fix=_FIX) from None
    tasks = content.task_ids or list(content.task_names)
    check_same_video([content.task_names.get(task, task) for task in tasks], path)
    check_same_video(tasks, path)
    _warn(path, content)
    labels, classes = numbered([label for _, label, _ in content.tracks])
    frames, parts = [np.empty(0, np.int64)], []
    for (id_, _, keyframes), label in zip(content.tracks, labels.tolist(), strict=True):
        for shown, mark in _shown(path, id_, keyframes):
            frames.append(np.array([keyframe.frame for keyframe in shown], np.int64))
            parts.append(_rows(shown, id_, label, mark))
    return TrackTable.from_rows(
        path,
        np.concatenate(frames),
        Tracks.joined(parts),
        classes or (NAMELESS,),
        num_frames=content.num_frames,
        times=FrameTimes.even(content.frame_rate) if content.frame_rate else None,
        size=(content.width, content.height) if content.width and content.height else None,
    )


class CvatWriter:
    """Writes all tracks when it is closed: the format goes track by track, boxes come by frame.

    Meanwhile 40 bytes per box are in memory.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        info: the video.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        self._file = PartFile(path)
        self._info = info
        self._classes = tuple(_legal(name) for name in classes)
        self._frames: list[IntArray] = []
        self._tracks: list[Tracks] = []
        self._num_frames = 0
        self._rate = EvenRate()

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take in one frame."""
        self._num_frames = frame.index + 1
        self._rate.see(frame)
        if len(tracks):
            self._frames.append(np.full(len(tracks), frame.index))
            self._tracks.append(tracks)

    def __enter__(self) -> CvatWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write_all()
        self._file.__exit__(kind, error, traceback)

    def _write_all(self) -> None:
        self._file.write(self._head().encode())
        if self._frames:
            frames, tracks = np.concatenate(self._frames), Tracks.joined(self._tracks)
            order = np.lexsort((frames, tracks.ids))
            starts = np.flatnonzero(np.diff(tracks.ids[order], prepend=0))
            for rows in np.split(order, starts[1:]):
                self._file.write(self._track(frames[rows], tracks[rows]) + b"\n")
        self._file.write(b"</annotations>\n")

    def _head(self) -> str:
        labels = "".join(
            f"<label><name>{escape(name)}</name><type>rectangle</type><attributes>{_ATTRIBUTES}"
            "</attributes></label>\n"
            for name in self._classes
        )
        info, last = self._info, max(self._num_frames - 1, 0)
        rate = self._rate.rate
        rate_text = "" if rate is None else f"<{_RATE}>{rate}</{_RATE}>"
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
            f"<meta><task><name>{escape(_legal(info.name))}</name><size>{self._num_frames}</size>"
            "<mode>interpolation</mode><overlap>0</overlap><start_frame>0</start_frame>"
            f"<stop_frame>{last}</stop_frame>\n<labels>\n{labels}</labels>\n"
            f"<original_size><width>{info.width}</width><height>{info.height}</height>"
            f"</original_size>{rate_text}</task></meta>\n"
        )

    def _track(self, frames: IntArray, tracks: Tracks) -> bytes:
        label = int(np.bincount(tracks.labels).argmax())
        track = Xml.Element(
            "track", id=str(tracks.ids[0]), label=self._classes[label], source="auto"
        )
        columns = (frames, tracks.boxes, tracks.scores, tracks.interpolated)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        following = [*frames[1:].tolist(), self._num_frames]
        for (frame, box, score, mark), after in zip(rows, following, strict=True):
            _append(track, frame, box, score, interpolated=mark)
            if after > frame + 1:
                _append(track, frame + 1, box, score, outside=True)
        return Xml.tostring(track, encoding="unicode").encode()


def _append(
    track: Xml.Element,
    frame: int,
    box: list[float],
    score: float,
    *,
    outside: bool = False,
    interpolated: bool = False,
) -> None:
    corners = {
        name: f"{number:.2f}"
        for name, number in zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True)
    }
    state = {"outside": str(int(outside)), "occluded": "0", "keyframe": "1", "z_order": "0"}
    element = Xml.SubElement(track, "box", {"frame": str(frame), **corners, **state})
    Xml.SubElement(element, "attribute", name="score").text = f"{score:.4f}"
    Xml.SubElement(element, "attribute", name="interpolated").text = str(interpolated).lower()


def _legal(name: str) -> str:
    return _NO_XML.sub("\ufffd", name)


@dataclass(frozen=True, slots=True)
class _Keyframe:
    """A keyframe of a track: where it is, or that it is not."""

    frame: int
    box: tuple[float, ...]
    score: float
    is_outside: bool
    is_interpolated: bool
    angle: float = 0.0  # degrees by which the box is turned around its centre, clockwise


@dataclass(slots=True)
class _Content:
    """What is read of the file."""

    num_frames: int = 0
    width: int = 0
    height: int = 0
    num_others: int = 0  # shapes without a box
    num_enclosed: int = 0  # shapes that were read as the box around them
    num_turned: int = 0  # boxes that are turned
    num_other_scores: int = 0  # attributes called score that are none
    frame_rate: Fraction | None = None
    task_names: dict[str, str] = field(default_factory=dict)  # by id; several in a project
    task_ids: list[str] = field(default_factory=list)  # that tracks name
    # Of each track its id, label and keyframes.
    tracks: list[tuple[int, str, list[_Keyframe]]] = field(default_factory=list)


def _rows(keyframes: list[_Keyframe], id_: int, label: int, interpolated: bool) -> Tracks:
    count = len(keyframes)
    return Tracks(
        _upright(keyframes),
        np.array([keyframe.score for keyframe in keyframes], np.float32),
        np.full(count, label),
        np.full(count, id_),
        np.full(count, interpolated),
    )


def _upright(keyframes: list[_Keyframe]) -> FloatArray:
    """(N, 4) float32: the upright box around each, which may be turned."""
    boxes = np.array([keyframe.box for keyframe in keyframes], np.float64).reshape(-1, 4)
    angles = np.radians([keyframe.angle for keyframe in keyframes])
    if not angles.any():
        return boxes.astype(np.float32)
    cosine, sine = np.abs(np.cos(angles)), np.abs(np.sin(angles))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    turned = (width * cosine + height * sine, width * sine + height * cosine)
    half = np.stack(turned, axis=1) / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def _shown(
    path: Path, id_: int, keyframes: list[_Keyframe]
) -> Iterator[tuple[list[_Keyframe], bool]]:
    """What a track shows, in pieces, each with whether it is interpolated."""
    keyframes = sorted(keyframes, key=lambda keyframe: keyframe.frame)
    following = (*keyframes[1:], None) if keyframes else ()
    for before, after in zip(keyframes, following, strict=True):
        if before.is_outside:
            continue
        yield [before], before.is_interpolated
        if after is None or after.frame <= before.frame + 1:
            continue
        # A box stays where it is until the frame in which it is outside.
        goal = before if after.is_outside else after
        check_gap(path, id_, before.frame, after.frame)
        filled = np.arange(before.frame + 1, after.frame)
        shares = ((filled - before.frame) / (after.frame - before.frame))[:, None]
        boxes = (1 - shares) * np.array(before.box) + shares * np.array(goal.box)
        # The shorter way round.
        angles = before.angle + shares[:, 0] * ((goal.angle - before.angle + 180) % 360 - 180)
        between = [
            _Keyframe(frame, tuple(box), before.score, False, True, angle)
            for frame, box, angle in zip(
                filled.tolist(), boxes.tolist(), angles.tolist(), strict=True
            )
        ]
        yield between, True


def _read(path: Path, content: _Content) -> None:
    """Take the file apart, element by element; ValueError for what is no CVAT of a video."""
    keyframes: list[_Keyframe] | None = None
    others: list[_Keyframe] = []  # of the same track, which count where it has no boxes
    root = ""
    for event, element in iterparse(path, events=("start", "end"), forbid_dtd=True):
        root = root or element.tag
        if event == "start" and element.tag == "track":
            keyframes, others = [], []
            id_ = _whole(element, "id", MAX_ID)
            content.tracks.append((id_, element.get("label") or NAMELESS, keyframes))
            content.task_ids += [element.get("task_id")] if element.get("task_id") else []
        elif event == "start":
            continue
        elif element.tag == "image":
            raise ValueError("it is CVAT for images, which knows no tracks")
        elif element.tag == "task":
            _read_task(element, content)
        elif element.tag in _CORNERS_OF and keyframes is not None:
            shapes = keyframes if element.tag == "box" else others
            shapes.append(_keyframe(element, content))
        elif element.get("frame") is not None:
            content.num_others += 1
        elif element.tag == "track" and keyframes is not None:
            if keyframes:
                content.num_others += len(others)
            else:
                keyframes.extend(others)
                content.num_enclosed += sum(not each.is_outside for each in others)
            element.clear()
    if root != "annotations":
        raise ValueError(f"its root is {root}, not annotations")


def _read_task(task: Any, content: _Content) -> None:  # noqa: ANN401 - defusedxml has no types
    for name, path in (
        ("num_frames", "size"),
        ("width", "original_size/width"),
        ("height", "original_size/height"),
    ):
        text = (task.findtext(path) or "").strip()
        if text.isdecimal() and len(text) < 10:
            setattr(content, name, int(text))
    number = (task.findtext("id") or str(len(content.task_names))).strip()
    content.task_names[number] = (task.findtext("name") or number).strip()
    rate = (task.findtext(_RATE) or "").strip()
    if re.fullmatch(r"[1-9]\d{0,8}(/[1-9]\d{0,8})?", rate):
        content.frame_rate = Fraction(rate)


def _keyframe(shape: Any, content: _Content) -> _Keyframe:  # noqa: ANN401 - no types
    attributes = {each.get("name"): (each.text or "").strip() for each in shape.iter("attribute")}
    box = _CORNERS_OF[shape.tag](shape)
    angle = _number(shape.get("rotation"), "rotation") if shape.get("rotation") else 0.0
    is_outside = shape.get("outside") == "1"
    content.num_turned += not is_outside and angle % 360 != 0
    return _Keyframe(
        _whole(shape, "frame", MAX_FRAMES - 1),
        box,
        _score(attributes, content),
        is_outside=is_outside,
        is_interpolated=attributes.get("interpolated") == "true",
        angle=angle,
    )


def _score(attributes: dict[str | None, str], content: _Content) -> float:
    """That of a box, 1 where it has none; users, too, have attributes called score."""
    text = attributes.get("score")
    if not text:
        return 1.0
    if "interpolated" in attributes:  # as only this program writes it
        return _number(text, "score")
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if 0 <= score <= 1:
        return score
    content.num_other_scores += 1
    return 1.0


def _corners_of_box(box: Any) -> tuple[float, ...]:  # noqa: ANN401 - defusedxml has no types
    return tuple(_number(box.get(name), name) for name in _CORNERS)


def _corners_of_polygon(polygon: Any) -> tuple[float, ...]:  # noqa: ANN401 - no types
    points = (polygon.get("points") or "").replace(";", ",").split(",")
    if len(points) % 2:
        raise ValueError(f'expected x,y;x,y of a polygon, got "{polygon.get("points")}"')
    numbers = [_number(each, "point") for each in points]
    across, down = numbers[::2], numbers[1::2]
    return min(across), min(down), max(across), max(down)


def _corners_of_ellipse(ellipse: Any) -> tuple[float, ...]:  # noqa: ANN401 - no types
    across, down, rx, ry = (_number(ellipse.get(key), key) for key in ("cx", "cy", "rx", "ry"))
    return across - rx, down - ry, across + rx, down + ry


def _corners_of_mask(mask: Any) -> tuple[float, ...]:  # noqa: ANN401 - no types
    names = ("left", "top", "width", "height")
    left, top, width, height = (_number(mask.get(name), name) for name in names)
    return left, top, left + width, top + height


# Shapes that have a box, and how it is read. That of a turned ellipse is turned with it.
_CORNERS_OF: Mapping[str, Callable[[Any], tuple[float, ...]]] = MappingProxyType(
    {
        "box": _corners_of_box,
        "polygon": _corners_of_polygon,
        "ellipse": _corners_of_ellipse,
        "mask": _corners_of_mask,
    }
)


def _warn(path: Path, content: _Content) -> None:
    """Say what was not read as it stands."""
    if content.num_enclosed:
        logger.warning(
            "%s: %d polygons, ellipses or masks were read as the upright boxes around them",
            path,
            content.num_enclosed,
        )
    if content.num_turned:
        logger.warning(
            "%s: %d shapes are turned; they were read as the upright boxes around them",
            path,
            content.num_turned,
        )
    if content.num_others:
        logger.warning(
            "%s: %d shapes that have no box (points, lines, skeletons, …) were left out",
            path,
            content.num_others,
        )
    if num_empty := sum(not keyframes for _, _, keyframes in content.tracks):
        logger.warning("%s: %d tracks without any box were left out", path, num_empty)
    if content.num_other_scores:
        logger.warning(
            '%s: attributes called "score" that are no numbers from 0 to 1 were not read as '
            "scores: %d",
            path,
            content.num_other_scores,
        )


def _whole(element: Any, name: str, maximum: int) -> int:  # noqa: ANN401 - defusedxml has no types
    text = element.get(name) or ""
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > maximum:
        raise ValueError(
            f'expected a whole {name} of a {element.tag} up to {maximum}, got "{text[:40]}"'
        )
    return int(text)


def _number(text: str | None, name: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = float("nan")
    if not abs(number) < LARGEST:
        raise ValueError(f'expected a finite {name} of a shape, got "{str(text)[:40]}"')
    return number
