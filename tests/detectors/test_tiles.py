"""Tiles: small objects are found in them, and none twice where tiles meet."""

from fractions import Fraction

import numpy as np
import pytest

from masa_cli.detectors.tiles import TiledDetector, Tiling, merge, parse_tiles
from masa_cli.errors import UsageError
from masa_cli.masks import pack, unpack
from masa_cli.structures import Detections, Frame


class Bright:
    """Finds bright rectangles, each of its own brightness; none whose sides are below `least`."""

    classes = ("thing",)

    def __init__(self, share=0.0, masks=False):
        self._share, self._masks, self.calls = share, masks, []

    def detect(self, frames):
        self.calls.append([(frame.index, frame.image.shape[:2]) for frame in frames])
        return [self._detect(frame.image[..., 0]) for frame in frames]

    def _detect(self, image):
        boxes, masks = [], []
        for value in np.unique(image[image > 0]):
            y, x = (image == value).nonzero()
            box = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            if min(box[2] - box[0], box[3] - box[1]) >= self._share * max(image.shape):
                boxes.append(box)
                masks.append(pack(image == value, (0, 0), image.shape) if self._masks else None)
        array = np.float32(boxes).reshape(-1, 4)
        kept = np.full(len(boxes), None)
        kept[:] = masks
        ones = np.full(len(boxes), 0.8, np.float32)
        return Detections(array, ones, np.zeros(len(boxes), np.int64), kept)


def frame(*boxes, size=(200, 400), index=0):
    image = np.zeros((*size, 3), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        image[y1:y2, x1:x2] = 100 + number
    return Frame(index, Fraction(index), image)


def found(detector, *frames, tiles="2x2"):
    tiled = TiledDetector(detector, parse_tiles(tiles, 0.2), 300)
    return [sorted(each.boxes.tolist()) for each in tiled.detect(frames)]


def test_tiles_cover_the_frame_with_their_overlap():
    tiles = Tiling(2, 2, 0.2).of((400, 200))
    assert tiles == [(0, 0, 223, 112), (177, 0, 400, 112), (0, 88, 223, 200), (177, 88, 400, 200)]
    assert len({(x2 - x1, y2 - y1) for x1, y1, x2, y2 in Tiling(3, 2, 0.25).of((1913, 1077))}) == 1


@pytest.mark.parametrize(
    ("size", "count"), [((640, 480), 0), ((1920, 1080), 2), ((3840, 2160), 6), ((1281, 100), 2)]
)
def test_auto_takes_as_many_as_the_frame_needs(size, count):
    assert len(parse_tiles("auto", 0.2).of(size)) == count


def test_what_is_too_small_in_the_frame_is_found_in_a_tile():
    small = (30, 30, 50, 50)
    assert found(Bright(share=0.08), frame(small)) == [[list(small)]]
    assert found(Bright(share=0.08), frame(small), tiles="1x1") == [[]]


@pytest.mark.parametrize(
    "box",
    [
        (150, 20, 260, 60),  # over the seam, and longer than the overlap
        (190, 20, 210, 60),  # within the overlap: whole in both tiles
        (170, 80, 230, 120),  # where all four meet
        (100, 40, 300, 160),  # larger than a tile can show
        (0, 0, 400, 200),  # the frame
        (20, 60, 60, 150),  # over the lower seam
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.08, 0.12], ids=["seen", "small", "smaller"])
def test_an_object_at_a_seam_is_found_once(box, share):
    smallest = min(box[2] - box[0], box[3] - box[1])
    if smallest < share * 223:
        pytest.skip("no tile shows it large enough")
    assert found(Bright(share), frame(box)) == [[list(box)]]


def test_neighbours_at_a_seam_stay_two():
    boxes = [[120, 20, 200, 60], [202, 20, 280, 60], [190, 130, 230, 180]]
    assert found(Bright(), frame(*boxes)) == [sorted(boxes)]


def test_pieces_are_put_together_where_nothing_shows_the_whole():
    left = Detections(np.float32([[150, 20, 223, 60]]), np.float32([0.6]), np.array([0]))
    right = Detections(np.float32([[0, 20, 80, 61]]), np.float32([0.7]), np.array([0]))
    tiles = [((0, 0, 223, 200), left), ((177, 0, 400, 200), right)]
    merged = merge(Detections.empty(), tiles, (200, 400))
    assert merged.boxes.tolist() == [[150, 20, 257, 61]]
    assert merged.scores.tolist() == pytest.approx([0.7])
    other = Detections(right.boxes, right.scores, np.array([1]))
    assert len(merge(Detections.empty(), [tiles[0], (tiles[1][0], other)], (200, 400))) == 2


def test_frames_and_tiles_are_one_batch_and_frames_come_last():
    detector = Bright()
    frames = [frame((30, 30, 50, 50), index=4), frame((200, 90, 300, 150), index=5)]
    assert found(detector, *frames) == [[[30, 30, 50, 50]], [[200, 90, 300, 150]]]
    (call,) = detector.calls
    assert [index for index, _ in call][-2:] == [4, 5]
    assert len({index for index, _ in call}) == len(call) == 10


def test_masks_of_tiles_lie_in_the_frame():
    tiled = TiledDetector(Bright(share=0.08, masks=True), parse_tiles("2x2", 0.2), 300)
    (one,) = tiled.detect([frame((300, 150, 320, 170))])
    pixels, corner = unpack(one.masks[0])
    assert (pixels.sum(), corner) == (400, (300, 150))


@pytest.mark.parametrize(("text", "overlap"), [("2", 0.2), ("0x2", 0.2), ("9x9", 0.2), ("2x2", 1)])
def test_what_is_no_tiling_is_told(text, overlap):
    with pytest.raises(UsageError, match="--tile"):
        parse_tiles(text, overlap)
    assert parse_tiles(None, 0.2) is None
