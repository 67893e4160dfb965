"""CVAT's XML for video (version 1.1): tracks out, for correction by hand.

A track holds its boxes in every frame as keyframes, and after each gap's beginning one box that is
"outside", or CVAT would go on showing the last one. Attributes tell the score and whether a box was
interpolated. A track has one label there: the one most of its boxes have.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as Xml
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from xml.sax.saxutils import escape

import numpy as np

from masa_cli.formats.part_file import PartFile
from masa_cli.structures import Frame, IntArray, Tracks, VideoInfo

# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_ATTRIBUTES = "".join(
    f"<attribute><name>{name}</name><mutable>True</mutable><input_type>{kind}</input_type>"
    f"<default_value>{default}</default_value><values>{default}</values></attribute>"
    for name, kind, default in (("score", "text", ""), ("interpolated", "checkbox", "false"))
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

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take in one frame."""
        self._num_frames = frame.index + 1
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
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
            f"<meta><task><name>{escape(_legal(info.name))}</name><size>{self._num_frames}</size>"
            "<mode>interpolation</mode><overlap>0</overlap><start_frame>0</start_frame>"
            f"<stop_frame>{last}</stop_frame>\n<labels>\n{labels}</labels>\n"
            f"<original_size><width>{info.width}</width><height>{info.height}</height>"
            "</original_size></task></meta>\n"
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
