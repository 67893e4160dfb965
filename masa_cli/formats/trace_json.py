"""The trace of a frame as a part of its line in the spool, for the second look."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masa_cli.errors import OutputError
from masa_cli.formats.mask_json import mask_fields
from masa_cli.formats.tracks_record import Record, read_records
from masa_cli.second_look.tracklets import Line
from masa_cli.structures import Tracks
from masa_cli.trace import Trace

KEY = "trace"

_LOOKS = np.dtype("<f2")  # as the looks are written: three digits are enough to compare them


def trace_fields(trace: Trace, classes: Sequence[str]) -> dict[str, object]:
    """What orjson can write; `classes` are the names that labels index."""
    tentative = trace.tentative
    fields: dict[str, object] = {
        "tracklets": np.ascontiguousarray(trace.tracklets),
        "boxes": np.ascontiguousarray(tentative.boxes),
        "ids": np.ascontiguousarray(tentative.ids),
        "labels": [classes[label] for label in tentative.labels],
        "scores": np.ascontiguousarray(tentative.scores),
        "ended": np.ascontiguousarray(trace.ended),
        "looks": base64.b64encode(trace.looks.astype(_LOOKS).tobytes()).decode(),
        "cut": trace.is_cut,
    }
    if tentative.has_mask.any():
        fields["masks"] = mask_fields(tentative.masks)
    if not np.array_equal(trace.camera, np.eye(2, 3)):
        fields["camera"] = np.ascontiguousarray(trace.camera)
    return fields


class TracedReader:
    """The frames of a spool with their traces: iterate for lines; each time starts again.

    Raises OutputError where a line has no trace of ours.

    Args:
        path: the spool.
        classes: names that labels index.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path = path
        self._classes = {name: label for label, name in enumerate(classes)}

    def __iter__(self) -> Iterator[Line]:
        for record in read_records(self._path):
            try:
                trace = self._trace(record)
            except (KeyError, TypeError, ValueError, binascii.Error) as error:
                raise OutputError(
                    f"{self._path} line {record.number}: no trace of this program: {error}",
                    fix="start again with --overwrite instead of --resume",
                ) from error
            yield record.frame(), record.time(), record.tracks(self._classes), trace

    def _trace(self, record: Record) -> Trace:
        fields = record.fields[KEY]
        tentative: Tracks = Record(record.path, record.number, record.line, fields).tracks(
            self._classes
        )
        ended = np.array(fields["ended"], np.int64)
        looks = np.frombuffer(base64.b64decode(fields["looks"], validate=True), _LOOKS).astype(
            np.float32
        )
        camera: NDArray[np.float64] = np.array(fields.get("camera", np.eye(2, 3)), np.float64)
        return Trace(
            tracklets=np.array(fields["tracklets"], np.int64),
            tentative=tentative,
            ended=ended,
            looks=looks.reshape(len(ended), -1) if len(ended) else looks.reshape(0, 0),
            camera=camera,
            is_cut=bool(fields["cut"]),
        )
