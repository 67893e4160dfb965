"""Observations, kept: boxes, embeddings, the camera's motion; one file for a video.

It is a row of arrays in numpy's own format (.npy), one behind the other, so that it can be appended
to, cut, and read by anyone with numpy: first the header, JSON as bytes; then for each frame FRAME
and its boxes; at last a FRAME with the index -1, whose time is the number of frames. Embeddings are
float16: a run that keeps them tracks by them as they are kept.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from tokenize import TokenError
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.lib import format as npy
from numpy.typing import NDArray

from masa_cli.errors import SourceError
from masa_cli.formats.files import PartFile, as_utf8, explained, part_of
from masa_cli.structures import CameraMotion, Detections, Frame, Observation, VideoInfo
from masa_cli.tracking import in_current_names

KIND = "masa embeddings 1"
FRAME = np.dtype([("index", "<i8"), ("time", "<f8"), ("camera", "<f8", (2, 3)), ("is_cut", "?")])
_END = -1
# What numpy makes of damage in the header of an array, which is a literal of Python.
_BROKEN = (ValueError, LookupError, TypeError, SyntaxError, TokenError, MemoryError)
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a video as a whole.

    Attributes:
        info: the video.
        classes: names that labels index.
        temperature: of the adapter that made the embeddings.
        found_by: what found the boxes: "file", "prompt" (a text detector) or "classes".
        facts: what the boxes depend on, by name.
    """

    info: VideoInfo
    classes: tuple[str, ...]
    temperature: float = 1.0
    found_by: str = "file"
    facts: Mapping[str, str] = field(default_factory=dict)


class EmbeddingsWriter:
    """Writes `<path>.part`; `finish_embeddings` makes it `path`, once the run is complete.

    Args:
        path: where the file will finally be.
        kept: what is known of the video.
        resume_at: the `offset` at which to go on with the `.part` file of an earlier run.
    """

    def __init__(self, path: Path, kept: Kept, *, resume_at: int | None = None) -> None:
        self._file = PartFile(path, resume_at=resume_at)
        if resume_at is None:
            self._file.write(_npy(np.frombuffer(_header(kept), np.uint8)))

    @property
    def offset(self) -> int:
        """Bytes written so far: a place to resume at."""
        return self._file.offset

    def write(self, observation: Observation) -> Observation:
        """Append one frame; returns the observation as a reader will find it."""
        found, motion = observation.detections, observation.motion
        rows = np.empty(len(found), _rows_dtype(observation.embeddings.shape[1]))
        rows["box"], rows["score"], rows["label"] = found.boxes, found.scores, found.labels
        rows["embedding"] = np.clip(observation.embeddings, -_LARGEST, _LARGEST)
        head = (observation.index, observation.time, motion.matrix, motion.is_cut)
        self._file.write(_npy(np.array(head, FRAME)) + _npy(rows))
        kept = np.ascontiguousarray(rows["embedding"], np.float32)
        return replace(observation, embeddings=kept)

    def tee(
        self, observations: Generator[tuple[Frame, Observation], None, None]
    ) -> Generator[tuple[Frame, Observation], None, None]:
        """Write each observation, and hand on what was written."""
        with closing(observations):
            for frame, observation in observations:
                yield frame, self.write(observation)

    def __enter__(self) -> EmbeddingsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()  # it stays a .part: the run may be interrupted, and gone on with


def finish_embeddings(path: Path, offset: int, num_frames: int) -> None:
    """Close the `.part` file of `path` with its end, and give it its name.

    Args:
        path: as the writer's.
        offset: of the writer after the last frame.
        num_frames: how many there are.
    """
    if path.exists() and not part_of(path).exists():
        return  # a run that was killed right after this, and goes on
    with PartFile(path, resume_at=offset) as file:
        file.write(_npy(np.array((_END, num_frames, np.eye(2, 3), False), FRAME)))


class EmbeddingsReader:
    """The frames of a file of embeddings, one by one; iterating again starts again.

    Args:
        path: the file.

    Raises:
        SourceError: it is no such file; while iterating, also where it is damaged or cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path), path.open("rb") as file:
            try:
                self.kept = _kept(_array(file))
            except (*_BROKEN, ArithmeticError) as error:
                raise SourceError(
                    f"{path} is no file of embeddings of masa: {error}",
                    fix="give the embeddings.masa that masa track --save-embeddings wrote",
                ) from error

    @property
    def info(self) -> VideoInfo:
        """Of the video; its images are not here."""
        return self.kept.info

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        return self.kept.classes

    @property
    def temperature(self) -> float:
        """Of the adapter that made the embeddings."""
        return self.kept.temperature

    def frames(self, start: int = 0) -> Generator[Frame, None, None]:
        """The frames from number `start` on, of which only the times are known."""
        for frame, _ in self.observations(start):
            yield frame

    def observations(
        self, start: int = 0, *, after_each: Callable[[], None] = lambda: None
    ) -> Generator[tuple[Frame, Observation], None, None]:
        """Each frame without its image, and what was observed in it, from number `start` on.

        Args:
            start: frame to begin with.
            after_each: called when a frame has gone through what follows.
        """
        for observation in self:
            if observation.index >= start:
                time = Fraction(observation.time)
                yield Frame.without_image(observation.index, time), observation
                after_each()

    def __iter__(self) -> Iterator[Observation]:
        index = 0
        with explained(self.path), self.path.open("rb") as file:
            _array(file)
            while True:
                try:
                    observation = _observation(file, index, self.kept)
                except _BROKEN as error:
                    raise SourceError(
                        f"{self.path} is damaged or cut short after {index} frames: {error}",
                        fix="go on with the interrupted run (masa track --resume), or track again",
                    ) from error
                if observation is None:
                    return
                yield observation
                index += 1


def _rows_dtype(dim: int) -> np.dtype[Any]:
    return np.dtype(
        [("box", "<f4", (4,)), ("score", "<f4"), ("label", "<i4"), ("embedding", "<f2", (dim,))]
    )


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    npy.write_array(file, array, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _array(file: BinaryIO) -> NDArray[Any]:
    """The next array; ValueError where there is none, or one larger than what is there."""
    if npy.read_magic(file) != (1, 0):
        raise ValueError("an array of another version")
    shape, _, dtype = npy.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("an array of objects")
    size = math.prod(shape) * dtype.itemsize
    data = file.read(size) if size < 2**40 else b""
    if len(data) != size:
        raise ValueError("the file ends within an array")
    return np.frombuffer(data, dtype).reshape(shape)


def _observation(file: BinaryIO, index: int, kept: Kept) -> Observation | None:
    """The next frame; None at the end."""
    head = _array(file)
    if head.dtype != FRAME or head.shape != ():
        raise ValueError("something else than a frame")
    if head["index"] == _END:
        if head["time"] != index:
            raise ValueError(f"there should be {head['time']:.0f}")
        return None
    rows = _array(file)
    dim = rows["embedding"].shape[-1]
    if head["index"] != index or rows.dtype != _rows_dtype(dim) or rows.ndim != 1:
        raise ValueError("something else than the boxes of the next frame")
    if np.any((rows["label"] < 0) | (rows["label"] >= len(kept.classes))):
        raise ValueError("a label without a name")
    found = Detections(
        np.ascontiguousarray(rows["box"], np.float32),
        np.ascontiguousarray(rows["score"], np.float32),
        rows["label"].astype(np.int64),
    )
    embeddings = np.ascontiguousarray(rows["embedding"], np.float32)
    motion = CameraMotion(np.array(head["camera"], np.float64), bool(head["is_cut"]))
    size = (kept.info.width, kept.info.height) if kept.info.width else None
    return Observation(index, float(head["time"]), found, embeddings, motion, size)


def _header(kept: Kept) -> bytes:
    info = kept.info
    return orjson.dumps(
        {
            "kind": KIND,
            "name": as_utf8(info.name),
            "width": info.width,
            "height": info.height,
            "frame_rate": str(info.frame_rate),
            "time_base": str(info.time_base),
            "num_frames": info.num_frames,
            "start": str(info.start),
            "classes": kept.classes,
            "temperature": kept.temperature,
            "found_by": kept.found_by,
            "facts": {name: as_utf8(fact) for name, fact in kept.facts.items()},
        }
    )


def _kept(header: NDArray[Any]) -> Kept:
    """What `_header` wrote; ValueError, KeyError or TypeError for anything else."""
    if header.dtype != np.uint8:
        raise ValueError("its first array is no text")
    fields = orjson.loads(header.tobytes())
    if not isinstance(fields, dict) or fields.get("kind") != KIND:
        raise ValueError(f'its header does not say "{KIND}"')
    num_frames = fields["num_frames"]
    info = VideoInfo(
        name=str(fields["name"]),
        width=int(fields["width"]),
        height=int(fields["height"]),
        frame_rate=Fraction(fields["frame_rate"]),
        time_base=Fraction(fields["time_base"]),
        num_frames=None if num_frames is None else int(num_frames),
        start=Fraction(fields["start"]),
    )
    return Kept(
        info,
        tuple(map(str, fields["classes"])),
        float(fields["temperature"]),
        str(fields["found_by"]),
        {str(name): str(fact) for name, fact in dict(fields["facts"]).items()},
    )


_DEFAULTS = "usual settings"  # the name of this fact


def defaults_as_fact(changes: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """Name and text under which a run remembers the settings that went with its detector.

    Args:
        changes: "name=value" texts, by the name of the association.
    """
    return _DEFAULTS, json.dumps({name: list(each) for name, each in changes.items()})


def defaults_in(facts: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """Those that a run remembered, perhaps none; what is no such changes is passed over."""
    try:
        found = json.loads(facts.get(_DEFAULTS, "{}"))
    except json.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    lists = {name: each for name, each in found.items() if isinstance(each, list)}
    return in_current_names({name: tuple(map(str, each)) for name, each in lists.items()})
