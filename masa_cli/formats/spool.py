"""The file between the two passes: tracks as they are found, and what is needed to go on.

`tracks.jsonl.part` grows by one line per frame; `checkpoint.part` beside it, the resume state, is
replaced as a whole from time to time. A run that ends in any way can go on from what was saved.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats.jsonl import Record, TracksWriter, margin_fields, read_records
from masa_cli.masks import mask_fields
from masa_cli.structures import (
    CameraMotion,
    EndedTracklets,
    Frame,
    FrameTracks,
    State,
    TrackletRecord,
)

KEY = "record"
_EMBEDDING = np.dtype("<f2")  # as embeddings are written: three digits suffice to compare them


def record_fields(record: TrackletRecord, classes: Sequence[str]) -> dict[str, object]:
    """What orjson can write; `classes` are the names that labels index."""
    tentative, ended, motion = record.tentative, record.ended, record.motion
    fields: dict[str, object] = {
        "tracklets": np.ascontiguousarray(record.tracklets),
        "boxes": np.ascontiguousarray(tentative.boxes),
        "ids": np.ascontiguousarray(tentative.ids),
        "labels": [classes[label] for label in tentative.labels],
        "scores": np.ascontiguousarray(tentative.scores),
        "ended": np.ascontiguousarray(ended.numbers),
        "embeddings": base64.b64encode(ended.embeddings.astype(_EMBEDDING).tobytes()).decode(),
        "cut": motion.is_cut,
    }
    fields |= margin_fields(tentative)
    if tentative.has_mask.any():
        fields["masks"] = mask_fields(tentative.masks)
    if motion.moves():
        fields["camera"] = np.ascontiguousarray(motion.matrix)
    return fields


class RecordReader:
    """The frames of a spool with their records: iterate for them; each time starts again.

    Raises OutputError where a line has no record of ours.

    Args:
        path: the spool.
        classes: names that labels index.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path = path
        self._classes = {name: label for label, name in enumerate(classes)}

    def __iter__(self) -> Iterator[FrameTracks]:
        for line in read_records(self._path):
            try:
                record = self._record(line)
            except (KeyError, TypeError, ValueError, binascii.Error) as error:
                raise OutputError(
                    f"{self._path} line {line.number}: no record of this program: {error}",
                    fix="start again with --overwrite instead of --resume",
                ) from error
            yield FrameTracks(line.frame(), line.time(), line.tracks(self._classes), record)

    def _record(self, line: Record) -> TrackletRecord:
        fields = line.fields[KEY]
        tentative = Record(line.path, line.number, line.line, fields).tracks(self._classes)
        numbers = np.array(fields["ended"], np.int64)
        data = base64.b64decode(fields["embeddings"], validate=True)
        embeddings = np.frombuffer(data, _EMBEDDING).astype(np.float32)
        dim = len(embeddings) // max(len(numbers), 1)
        camera: NDArray[np.float64] = np.array(fields.get("camera", np.eye(2, 3)), np.float64)
        return TrackletRecord(
            tracklets=np.array(fields["tracklets"], np.int64),
            tentative=tentative,
            ended=EndedTracklets(numbers, embeddings.reshape(len(numbers), dim)),
            motion=CameraMotion(camera, bool(fields["cut"])),
        )


# What a run depends on, in words: a run goes on only with the same.
Conditions = Mapping[str, str]

SECONDS_BETWEEN_SAVES = 5.0


@dataclass(frozen=True, slots=True)
class ResumeState:
    """Where a run stood.

    Attributes:
        conditions: what the run depends on.
        next_frame: index of the first frame that is not in the spool.
        offset: bytes of the spool that hold the frames before it.
        complete: whether there are no more frames.
        states: of everything that remembers, by name.
    """

    conditions: Conditions
    next_frame: int
    offset: int
    complete: bool
    states: Mapping[str, State]

    def write(self, path: Path) -> None:
        """Replace the file at `path`; a reader finds the old one or the new one, whole."""
        arrays: dict[str, Any] = {  # Any, for numpy's types take every name for an option
            f"{owner}/{key}": array
            for owner, state in self.states.items()
            for key, array in state.items()
        }
        meta = json.dumps(
            [dict(self.conditions), self.next_frame, self.offset, self.complete, [*self.states]]
        )
        new = path.with_name(path.name + ".new")
        try:
            with new.open("wb") as file:
                np.savez(file, meta=np.array(meta), **arrays)
            os.replace(new, path)
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written: {error.strerror}",
                fix="choose a folder that may be written to and has space left",
            ) from error

    @staticmethod
    def read(path: Path) -> ResumeState:
        """Read what `write` wrote.

        Raises:
            OutputError: the file is missing or is no such state.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                conditions, next_frame, offset, complete, owners = json.loads(str(file["meta"]))
                states: dict[str, State] = {owner: {} for owner in owners}
                for name in file.files:
                    owner, slash, key = name.partition("/")
                    if slash:
                        states[owner][key] = file[name]
        except FileNotFoundError:
            raise OutputError(
                f"{path} does not exist: there is no interrupted run to go on with",
                fix="start without --resume",
            ) from None
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise OutputError(
                f"{path} is no state of an interrupted run: {error}",
                fix="start again with --overwrite instead of --resume",
            ) from error
        return ResumeState(conditions, next_frame, offset, complete, states)

    def check(self, conditions: Conditions) -> None:
        """Raise SettingsError unless a run under these conditions would go on as it began."""
        theirs, ours = self.conditions.get("masa"), conditions.get("masa")
        if theirs != ours:
            raise SettingsError(
                f"the interrupted run was begun by masa {theirs}, and masa {ours} cannot go on "
                "with it",
                fix="finish it with that version, or start again with --overwrite",
            )
        names = sorted({*self.conditions, *conditions})
        changed = [
            f"{name} was {self.conditions.get(name)}, is {conditions.get(name)}"
            for name in names
            if self.conditions.get(name) != conditions.get(name)
        ]
        if changed:
            raise SettingsError(
                f"the interrupted run cannot go on with other settings: {'; '.join(changed)}",
                fix="repeat the command of that run, or start again with --overwrite",
            )


class Spool:
    """Takes the tracks of each frame as they are found; a context manager.

    It is never renamed here: the second pass decides what becomes of `tracks.jsonl.part`.

    Args:
        tracks: where the tracks will finally be; the spool is `<tracks>.part`.
        resume_state: where that of this run is saved.
        classes: names that labels index.
        conditions: what the run depends on.
        earlier: the state to go on from, checked.
    """

    def __init__(
        self,
        tracks: Path,
        resume_state: Path,
        classes: Sequence[str],
        conditions: Conditions,
        earlier: ResumeState | None = None,
    ) -> None:
        self.next_frame = earlier.next_frame if earlier else 0
        self._resume_state = resume_state
        self._classes = classes
        self._conditions = conditions
        self._writer = TracksWriter(tracks, classes, resume_at=earlier.offset if earlier else None)
        self._saved_at = time.monotonic()

    def write(self, frame: Frame, found: FrameTracks, *, with_record: bool = False) -> None:
        """Append one frame, the one with index `next_frame`; with its record, to be refined."""
        record = found.record if with_record else None
        more = {KEY: record_fields(record, self._classes)} if record else {}
        self._writer.write(frame, found.tracks, more)
        self.next_frame = frame.index + 1

    @property
    def is_due(self) -> bool:
        """Whether the last saved state is some seconds old."""
        return time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES

    def save(self, states: Mapping[str, State], *, complete: bool = False) -> None:
        """Save the state: all frames up to here are done, and this is remembered of them."""
        ResumeState(self._conditions, self.next_frame, self._writer.offset, complete, states).write(
            self._resume_state
        )
        self._saved_at = time.monotonic()

    def close(self) -> None:
        """Close the file, which stays a `.part`."""
        self._writer.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
