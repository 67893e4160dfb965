"""Panels of a grey video, each with one box of its own."""

from fractions import Fraction

import numpy as np
import pytest

from masa_cli.render.annotator import Annotator, DrawingSettings, Panel, Panels
from masa_cli.structures import Frame, FrameTracks, Tracks, VideoInfo


def info(width=200, height=100):
    return VideoInfo("video", width, height, Fraction(25), Fraction(1, 25))


def frame(index, size=(100, 200)):
    return Frame(index, Fraction(index, 25), np.full((*size, 3), 128, np.uint8))


def panel(name, indices):
    """A box at (50, 50) to (90, 90) in these frames."""
    one = np.array([1])
    tracks = Tracks(np.array([[50, 50, 90, 90]], np.float32), one.astype(np.float32), one * 0, one)
    frames = [FrameTracks(index, index / 25, tracks) for index in indices]
    return Panel(name, frames, lambda: ["object"], Annotator(DrawingSettings(labels=False)))


def has_box(image):
    return bool((image[50, 52:88] != 128).any())


@pytest.mark.parametrize(
    ("count", "layout", "size"),
    [
        (1, "grid", (200, 100)),
        (2, "side-by-side", (402, 100)),
        (3, "side-by-side", (604, 100)),
        (2, "grid", (402, 100)),
        (3, "grid", (402, 202)),
        (5, "grid", (604, 202)),
    ],
)
def test_panels_fill_rows_with_a_gap_between_them(count, layout, size):
    panels = Panels([panel(str(number), [0]) for number in range(count)], layout, info())
    image = panels.draw(frame(0), Tracks.empty(), []).image
    assert (panels.info.width, panels.info.height) == size
    assert image.shape == (size[1], size[0], 3)


def test_each_panel_shows_its_own_tracks_in_their_own_frames():
    panels = Panels([panel("a", [0, 2]), panel("b", [1, 2])], "side-by-side", info())
    shown = []
    for index in range(4):
        image = panels.draw(frame(index), Tracks.empty(), []).image
        shown.append((has_box(image[:, :200]), has_box(image[:, 202:])))
    assert shown == [(True, False), (False, True), (True, True), (False, False)]


def test_the_name_is_in_the_corner_and_a_long_one_fits():
    panels = Panels([panel("x" * 500, [])], "grid", info())
    image = panels.draw(frame(0), Tracks.empty(), []).image
    assert (image[:12] != 128).any()
    assert (image[40:] == 128).all()


def test_large_frames_are_reduced_so_that_all_fit():
    panels = Panels([panel("a", [0]), panel("b", [0])], "side-by-side", info(3840, 2160))
    assert panels.info.width <= 3840
    image = panels.draw(frame(0, (2160, 3840)), Tracks.empty(), []).image
    assert image.shape == (panels.info.height, panels.info.width, 3)
