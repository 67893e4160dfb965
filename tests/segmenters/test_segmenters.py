from fractions import Fraction

import numpy as np

from masa_cli.masks import as_array, pack
from masa_cli.pipeline import add_masks
from masa_cli.progress import RunProgress
from masa_cli.segmenters import Outliner
from masa_cli.structures import (
    CameraMotion,
    EndedTracklets,
    Frame,
    FrameTracks,
    TrackletRecord,
    Tracks,
)

FRAME = Frame(0, Fraction(0), np.zeros((40, 60, 3), np.uint8))


def mask_at(x, y):
    return pack(np.ones((3, 4), bool), (x, y), (40, 60))


class Corners:
    """A mask in the corner of each box; None for boxes at the left edge."""

    def __init__(self):
        self.asked = []

    def segment(self, frame, boxes):
        self.asked.append(boxes.tolist())
        return [mask_at(int(box[0]), int(box[1])) if box[0] else None for box in boxes]


def tracks(*corners, masks=None):
    boxes = np.float32([[x, y, x + 20, y + 20] for x, y in corners]).reshape(-1, 4)
    count = len(boxes)
    ones, ids = np.ones(count, np.float32), np.arange(1, count + 1)
    return Tracks(boxes, ones, np.zeros(count, np.int64), ids, masks=masks)


def test_tracks_get_masks_and_keep_all_else():
    before = tracks((0, 0), (5, 6))
    after = Outliner(Corners()).outline(FRAME, before)
    assert after.masks.tolist() == [None, mask_at(5, 6)]
    np.testing.assert_array_equal(after.boxes, before.boxes)
    np.testing.assert_array_equal(after.ids, before.ids)
    assert not before.has_mask.any()


def test_masks_that_came_with_the_boxes_stay():
    given = as_array([mask_at(30, 30), None])
    corners = Corners()
    after = Outliner(corners).outline(FRAME, tracks((1, 1), (5, 6), masks=given))
    assert after.masks.tolist() == [mask_at(30, 30), mask_at(5, 6)]
    assert corners.asked == [[[5, 6, 25, 26]]]


def test_nothing_is_asked_without_boxes():
    corners = Corners()
    assert len(Outliner(corners).outline(FRAME, Tracks.empty())) == 0
    assert corners.asked == []


def test_boxes_are_tightened_on_request():
    after = Outliner(Corners(), tightens=True).outline(FRAME, tracks((0, 0), (5, 6)))
    assert after.boxes.tolist() == [[0, 0, 20, 20], [5, 6, 9, 9]]
    given = as_array([mask_at(30, 30)])
    after = Outliner(None, tightens=True).outline(FRAME, tracks((1, 1), masks=given))
    assert after.boxes.tolist() == [[30, 30, 34, 33]]


def test_boxes_that_may_become_a_track_get_masks_too():
    record = TrackletRecord(
        np.empty(0, np.int64), tracks((5, 6)), EndedTracklets.none(), CameraMotion.identity()
    )

    def tracked():
        yield FRAME, FrameTracks(0, 0.0, tracks((1, 2)), record)

    ((_, after),) = add_masks(tracked(), Outliner(Corners()), progress=RunProgress())
    assert after.tracks.masks.tolist() == [mask_at(1, 2)]
    assert after.record.tentative.masks.tolist() == [mask_at(5, 6)]
