"""A window that shows each frame as it is tracked."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import cv2

from masa_cli.drawing import Annotator
from masa_cli.errors import SettingsError
from masa_cli.structures import Frame, Tracks
from masa_cli.watch import Watch

_TITLE = "masa (q to stop)"
_STOP_KEYS = (ord("q"), 27)  # 27: escape


class Preview:
    """A sink that draws; q, escape or closing the window asks to stop. A context manager.

    Args:
        annotator: draws.
        classes: names that labels index.
        watch: is asked to stop.

    Raises:
        SettingsError: there is no display, or OpenCV is one without windows.
    """

    def __init__(self, annotator: Annotator, classes: Sequence[str], watch: Watch) -> None:
        check_display()
        self._annotator, self._classes, self._watch = annotator, classes, watch

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Show one frame."""
        drawn = self._annotator.draw(frame, tracks, self._classes)
        try:
            cv2.imshow(_TITLE, drawn.image[..., ::-1])
            key = cv2.waitKey(1) & 0xFF
            is_closed = cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error as error:
            raise SettingsError(
                f"no window can be opened: {error.err}", fix="leave out --preview"
            ) from error
        if key in _STOP_KEYS or is_closed:
            self._watch.stop_requested = True

    def __enter__(self) -> Preview:
        return self

    def __exit__(self, *error: object) -> None:
        cv2.destroyAllWindows()


def check_display() -> None:
    """Raise SettingsError where no window can be shown; OpenCV itself would end the process."""
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not has_display:
        raise SettingsError(
            "there is no display for a window (DISPLAY and WAYLAND_DISPLAY are not set)",
            fix="leave out --preview, or use a machine with a screen",
        )
