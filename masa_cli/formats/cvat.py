"""CVAT's XML for video (version 1.1): tracks out, for correction by hand, and in again.

A track holds its boxes in every frame as keyframes, and after each gap's beginning one box that is
"outside", or CVAT would go on showing the last one. Attributes tell the score and whether a box was
interpolated. A track has one label there: the one most of its boxes have.
"""

from __future__ import annotations

import logging
import re
import xml.etree.ElementTree as Xml
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from xml.sax.saxutils import escape

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from masa_cli.errors import SourceError
from masa_cli.formats.cvat_shapes import (
    CORNERS_OF,
    Keyframe,
    number_in,
    shown,
    upright,
    whole,
)
from masa_cli.formats.files import FileWriter, PartFile, explained
from masa_cli.formats.numbering import check_same_video
from masa_cli.formats.tables import (
    MAX_FRAMES,
    MAX_ID,
    NAMELESS,
    TrackTable,
    numbered,
)
from masa_cli.formats.times import EvenRate, FrameTimes
from masa_cli.structures import Frame, IntArray, Tracks, VideoInfo

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


def read_tracks(path: Path) -> TrackTable:
    """Read all boxes; between keyframes they are interpolated, as CVAT shows them.

    Polygons, ellipses, cuboids and masks of tracks, and boxes that were turned, become the upright
    boxes around them, which a warning counts. Other shapes are left out, and counted, too.

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
        for piece, mark in shown(path, id_, keyframes):
            frames.append(np.array([keyframe.frame for keyframe in piece], np.int64))
            parts.append(_rows(piece, id_, label, mark))
    return TrackTable.from_rows(
        path,
        np.concatenate(frames),
        Tracks.joined(parts),
        classes or (NAMELESS,),
        num_frames=content.num_frames,
        times=FrameTimes.even(content.frame_rate) if content.frame_rate else None,
        size=(content.width, content.height) if content.width and content.height else None,
    )


class CvatWriter(FileWriter[PartFile]):
    """Writes all tracks when it is closed: the format goes track by track, boxes come by frame.

    Meanwhile 40 bytes per box are in memory.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        info: the video.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        super().__init__(PartFile(path))
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

    def _write_end(self) -> None:
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
    tracks: list[tuple[int, str, list[Keyframe]]] = field(default_factory=list)


def _rows(keyframes: list[Keyframe], id_: int, label: int, interpolated: bool) -> Tracks:
    count = len(keyframes)
    return Tracks(
        upright(keyframes),
        np.array([keyframe.score for keyframe in keyframes], np.float32),
        np.full(count, label),
        np.full(count, id_),
        np.full(count, interpolated),
    )


def _read(path: Path, content: _Content) -> None:
    """Take the file apart, element by element; ValueError for what is no CVAT of a video."""
    keyframes: list[Keyframe] | None = None
    others: list[Keyframe] = []  # of the same track, which count where it has no boxes
    root = ""
    for event, element in iterparse(path, events=("start", "end"), forbid_dtd=True):
        root = root or element.tag
        if event == "start" and element.tag == "track":
            keyframes, others = [], []
            id_ = whole(element, "id", MAX_ID)
            content.tracks.append((id_, element.get("label") or NAMELESS, keyframes))
            content.task_ids += [element.get("task_id")] if element.get("task_id") else []
        elif event == "start":
            continue
        elif element.tag == "image":
            raise ValueError("it is CVAT for images, which knows no tracks")
        elif element.tag == "task":
            _read_task(element, content)
        elif element.tag in CORNERS_OF and keyframes is not None:
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


def _keyframe(shape: Any, content: _Content) -> Keyframe:  # noqa: ANN401 - no types
    attributes = {each.get("name"): (each.text or "").strip() for each in shape.iter("attribute")}
    box = CORNERS_OF[shape.tag](shape)
    angle = number_in(shape.get("rotation"), "rotation") if shape.get("rotation") else 0.0
    is_outside = shape.get("outside") == "1"
    content.num_turned += not is_outside and angle % 360 != 0
    return Keyframe(
        whole(shape, "frame", MAX_FRAMES - 1),
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
        return number_in(text, "score")
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if 0 <= score <= 1:
        return score
    content.num_other_scores += 1
    return 1.0


def _warn(path: Path, content: _Content) -> None:
    """Say what was not read as it stands."""
    if content.num_enclosed:
        logger.warning(
            "%s: %d polygons, ellipses, cuboids or masks were read as the boxes around them",
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
