"""What a run came to, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from masa_cli.structures import Frame, Tracks


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished run did.

    Attributes:
        num_frames: of the video.
        num_boxes: with an identity.
        num_tracks: different identities.
        num_masks: boxes with a mask.
        most_in_frame: boxes in the frame that has most of them.
        written: files that are complete.
    """

    num_frames: int
    num_boxes: int
    num_tracks: int
    num_masks: int
    most_in_frame: int
    written: tuple[Path, ...]

    @property
    def boxes_per_frame(self) -> float:
        """On average."""
        return self.num_boxes / max(self.num_frames, 1)


class Tally:
    """A sink that counts."""

    def __init__(self) -> None:
        self._num_frames = 0
        self._num_boxes = self._num_masks = self._most_in_frame = 0
        self._ids: set[int] = set()

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Count one frame."""
        self._num_frames = frame.index + 1
        self._num_boxes += len(tracks)
        self._num_masks += int(tracks.has_mask.sum())
        self._most_in_frame = max(self._most_in_frame, len(tracks))
        self._ids.update(tracks.ids.tolist())

    def summary(self, written: Sequence[Path]) -> Summary:
        """The counts so far."""
        return Summary(
            self._num_frames,
            self._num_boxes,
            len(self._ids),
            self._num_masks,
            self._most_in_frame,
            tuple(written),
        )
