"""Frames known by number alone, for tracking a file of detections by motion."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from masa_cli.sources.excerpt import Wanted
from masa_cli.structures import Frame, VideoInfo


class Timeline:
    """A source of frames without pictures: every image is (0, 0, 3), width and height are 0."""

    def __init__(self, name: str, num_frames: int, frame_rate: Fraction) -> None:
        self._num_frames = num_frames
        self._info = VideoInfo(
            name=name,
            width=0,
            height=0,
            frame_rate=frame_rate,
            time_base=1 / frame_rate,
            num_frames=num_frames,
        )

    @property
    def info(self) -> VideoInfo:
        """What the frames will be."""
        return self._info

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on, one every 1 / frame_rate seconds."""
        return self.chosen(lambda index, _: index >= start)

    def chosen(self, wanted: Wanted) -> Iterator[Frame]:
        """The frames that are wanted."""
        for index in range(self._num_frames):
            if wanted(index, index * self._info.time_base):
                yield Frame.without_image(index, index * self._info.time_base)
