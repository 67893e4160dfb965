"""The annotated video: what the drawing makes of each frame goes into a video file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

from masa_cli.drawing import Annotator
from masa_cli.formats.video import VideoWriter
from masa_cli.structures import Frame, Tracks
from masa_cli.watch import Watch


class AnnotatedVideo:
    """A sink of tracks; a context manager, as the writer is.

    Args:
        writer: takes the drawn frames.
        annotator: draws them.
        classes: gives the names known so far; reading tracks may add some.
        watch: measures drawing and encoding.
    """

    def __init__(
        self,
        writer: VideoWriter,
        annotator: Annotator,
        classes: Callable[[], Sequence[str]],
        watch: Watch,
    ) -> None:
        self._writer, self._annotator = writer, annotator
        self._classes, self._watch = classes, watch

    def __enter__(self) -> AnnotatedVideo:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._watch.stage("encode"):
            self._writer.__exit__(kind, error, traceback)

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draw and append one frame."""
        with self._watch.stage("draw"):
            drawn = self._annotator.draw(frame, tracks, self._classes())
        with self._watch.stage("encode"):
            self._writer.write(drawn)
