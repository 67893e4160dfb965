"""The preview window, with one made of lists in the place of OpenCV's."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from masa_cli.drawing import Annotator, DrawingSettings
from masa_cli.errors import SettingsError
from masa_cli.preview import Preview, check_display
from masa_cli.structures import Frame, Tracks
from masa_cli.watch import Watch


@pytest.fixture
def window(monkeypatch):
    """Pictures that were shown; `key` is pressed, `visible` is 1 until it is closed."""

    class Window:
        shown, key, visible, closed = [], -1, 1.0, 0

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda _, image: Window.shown.append(image.copy()))
    monkeypatch.setattr(cv2, "waitKey", lambda _: Window.key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: Window.visible)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: setattr(Window, "closed", 1))
    return Window


def show(watch):
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = 200  # red
    frame = Frame(0, Fraction(0), image)
    with Preview(Annotator(DrawingSettings()), ["car"], watch) as preview:
        preview.write(frame, Tracks.empty())


def test_frames_are_shown_in_the_order_of_colours_that_opencv_has(window):
    watch = Watch()
    show(watch)
    assert window.shown[0][0, 0].tolist() == [0, 0, 200]
    assert not watch.stop_requested
    assert window.closed


@pytest.mark.parametrize(("key", "visible"), [(ord("q"), 1.0), (27, 1.0), (-1, 0.0)])
def test_q_escape_and_closing_the_window_stop(window, key, visible):
    window.key, window.visible = key, visible
    watch = Watch()
    show(watch)
    assert watch.stop_requested


def test_an_opencv_without_windows_is_an_error(window, monkeypatch):
    def refuse(*_):
        error = cv2.error("The function is not implemented")
        error.err = "not implemented"
        raise error

    monkeypatch.setattr(cv2, "imshow", refuse)
    with pytest.raises(SettingsError, match="no window can be opened"):
        show(Watch())


def test_without_a_display_it_says_so(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(SettingsError, match="there is no display"):
        check_display()
    monkeypatch.setattr("sys.platform", "darwin")
    check_display()
