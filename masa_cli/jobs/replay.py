"""Association apart from what it costs to get there: keep what a tracker is given, give it again.

`Keeping` writes while a video is tracked. `Recording` and `Replaying` take the places of the video,
the detector, the adapter and the tracker afterwards; what the tracker is given is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from masa_cli.formats.embeddings import EmbeddingsReader, EmbeddingsWriter, KeptFrame
from masa_cli.structures import (
    Detections,
    FloatArray,
    Frame,
    Image,
    State,
    Trace,
    Tracks,
    VideoInfo,
)
from masa_cli.tracking import Associator
from masa_cli.tracking.camera import CameraMotion, CameraWatch

_OWN = "keeping "  # how the names of what Keeping remembers begin


class Keeping:
    """A tracker that writes down all it is given.

    It tracks by the embeddings as they are written, and watches the camera for the tracker, whether
    this one asks for it or not: another one may, later.

    Args:
        tracker: does the work.
        writer: takes the frames.
    """

    def __init__(self, tracker: Associator, writer: EmbeddingsWriter) -> None:
        self._tracker, self._writer = tracker, writer
        self._camera = CameraWatch()
        self._motion = CameraMotion.identity()

    @property
    def trace(self) -> Trace | None:
        """As the tracker's."""
        return self._tracker.trace

    def see(self, image: Image, boxes: FloatArray) -> None:
        """Find how the camera moved, and tell the tracker."""
        self._motion = self._camera.update(image, boxes)
        self._tracker.follow(self._motion, (image.shape[1], image.shape[0]))

    def follow(self, motion: CameraMotion, frame_size: tuple[int, int]) -> None:
        """Take the camera's motion from elsewhere."""
        self._motion = motion
        self._tracker.follow(motion, frame_size)

    def update(
        self, index: int, time: float, detections: Detections, embeddings: FloatArray
    ) -> Tracks:
        """Write one frame, then track it."""
        motion = self._motion
        frame = KeptFrame(index, time, detections, embeddings, motion.matrix, motion.is_cut)
        return self._tracker.update(index, time, detections, self._writer.write(frame))

    def state(self) -> State:
        """The tracker's, with what is remembered here among it."""
        own: State = {"offset": np.array(self._writer.offset), **self._camera.state()}
        return self._tracker.state() | {_OWN + name: value for name, value in own.items()}

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        own = {name.removeprefix(_OWN): state[name] for name in state if name.startswith(_OWN)}
        self._camera.restore(own)
        self._tracker.restore({name: state[name] for name in state if not name.startswith(_OWN)})


def offset_in(state: State) -> int | None:
    """Where the writer stood when `Keeping` had this state; None if the state is another's."""
    offset = state.get(_OWN + "offset")
    return None if offset is None else int(offset)


class Recording:
    """A file of embeddings as a source of frames without pictures, a detector and an embedder.

    Frames are used in the order in which they are read, each once per reading.

    Args:
        path: the file.

    Raises:
        SourceError: it is no file of embeddings; while reading, also where it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = EmbeddingsReader(path)
        self.kept = self._reader.kept
        self._ahead: dict[int, KeptFrame] = {}  # read, and not tracked yet

    @property
    def info(self) -> VideoInfo:
        """Of the video; its pictures are not here."""
        return self.kept.info

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        return self.kept.classes

    @property
    def temperature(self) -> float:
        """Of the adapter that made the embeddings."""
        return self.kept.temperature

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on."""
        self._ahead.clear()
        for frame in self._reader:
            if frame.index >= start:
                self._ahead[frame.index] = frame
                yield Frame.without_image(frame.index, Fraction(frame.time))

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The boxes that are kept of these frames."""
        return [self._ahead[frame.index].detections for frame in frames]

    def embed(self, frames: Sequence[Frame], boxes: Sequence[FloatArray]) -> list[FloatArray]:
        """Their embeddings."""
        return [self._ahead[frame.index].embeddings for frame in frames]

    def motion(self, index: int) -> CameraMotion:
        """How the camera moved; after that, the frame is forgotten."""
        frame = self._ahead.pop(index)
        return CameraMotion(frame.camera, frame.is_cut)

    def state(self) -> State:
        """Nothing: it is all in the file."""
        return {}


class Replaying:
    """A tracker that knows the camera from a recording.

    Args:
        tracker: does the work.
        recording: gives the frames, too.
    """

    def __init__(self, tracker: Associator, recording: Recording) -> None:
        self._tracker, self._recording = tracker, recording

    @property
    def trace(self) -> Trace | None:
        """As the tracker's."""
        return self._tracker.trace

    def see(self, image: Image, boxes: FloatArray) -> None:
        """Nothing: there is nothing to see."""

    def follow(self, motion: CameraMotion, frame_size: tuple[int, int]) -> None:
        """Take the camera's motion from elsewhere."""
        self._tracker.follow(motion, frame_size)

    def update(
        self, index: int, time: float, detections: Detections, embeddings: FloatArray
    ) -> Tracks:
        """Tell the tracker of the camera, then of the boxes."""
        info = self._recording.info
        self._tracker.follow(self._recording.motion(index), (info.width, info.height))
        return self._tracker.update(index, time, detections, embeddings)

    def state(self) -> State:
        """The tracker's."""
        return self._tracker.state()

    def restore(self, state: State) -> None:
        """Go on from a `state()`."""
        self._tracker.restore(state)
