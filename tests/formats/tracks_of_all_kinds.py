"""Tracks that no format finds easy, for round trips through all of them."""

from fractions import Fraction

import numpy as np

from masa_cli.structures import Frame, Tracks, VideoInfo

NAMES = ("car", 'a "b" <c> & [d], é日本 $(x); =1+1')
INFO = VideoInfo("clip[red]", 640, 480, Fraction(25), Fraction(1, 25))
NUM_FRAMES = 6


def tracks_at(index):
    """Track 1 is missing in frames 2 and 3, track 7 begins at 1, nothing is in the last frame."""
    rows = {
        1: (10.25 + index, 20, 60.5 + index, 90.75, 0.5, 0),
        7: (100, 200 + 2 * index, 180, 300 + 2 * index, 0.875, 1),
    }
    seen = {1: index not in (2, 3), 7: index >= 1}
    ids = [id_ for id_ in rows if seen[id_] and index < NUM_FRAMES - 1]
    columns = np.array([rows[id_] for id_ in ids]).reshape(-1, 6)
    return Tracks(
        columns[:, :4].astype(np.float32),
        columns[:, 4].astype(np.float32),
        columns[:, 5].astype(np.int64),
        np.array(ids, np.int64),
        np.array([id_ == 7 and index == 3 for id_ in ids], np.bool_),
    )


def write_all(writer, frames=range(NUM_FRAMES)):
    with writer:
        for index in frames:
            writer.write(Frame.without_image(index, Fraction(index, 25)), tracks_at(index))
