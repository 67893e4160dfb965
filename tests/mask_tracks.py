"""Tracks with masks: what tests of formats need."""

from fractions import Fraction

import numpy as np

from masa_cli.masks import as_array, pack
from masa_cli.structures import Frame, Tracks, VideoInfo

SIZE = (20, 30)  # height, width
RATE = Fraction(25)
INFO = VideoInfo("street", SIZE[1], SIZE[0], RATE, 1 / RATE, 3)
CLASSES = ("dog", "person")


def square(x1, y1, x2, y2):
    return pack(np.ones((y2 - y1, x2 - x1), bool), (x1, y1), SIZE)


def frame(index):
    return Frame.without_image(index, index / RATE)


def three_frames():
    """Two tracks whose masks overlap, a box without a mask; then nothing; then one track."""
    boxes = np.float32([[0, 0, 10, 10], [5, 0, 15, 10], [20, 10, 28, 18]])
    first = Tracks(
        boxes,
        np.float32([0.5, 0.75, 0.25]),
        np.array([0, 1, 0]),
        np.array([7, 3, 9]),
        masks=as_array([square(0, 0, 10, 10), square(5, 0, 15, 10), None]),
    )
    last = Tracks(
        boxes[:1] + 1,
        np.float32([1]),
        np.array([0]),
        np.array([7]),
        masks=as_array([square(1, 1, 11, 11)]),
    )
    return [first, Tracks.empty(), last]


def write_three_frames(writer):
    with writer:
        for index, tracks in enumerate(three_frames()):
            writer.write(frame(index), tracks)
