import tracemalloc
from copy import copy
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pytest

from masa_cli.boxes import iou
from masa_cli.sources import textures
from masa_cli.sources.scenarios import SCENARIOS, SyntheticSettings
from masa_cli.sources.scene import Camera
from masa_cli.sources.synthetic import SyntheticVideo
from masa_cli.sources.textures import Sprite, draw_sprite
from masa_cli.structures import BoolArray, Image

DEFAULT = SyntheticSettings()
NOISELESS = SyntheticSettings(
    min_visible=0.25, miss_rate=0, occluded_miss_rate=0, jitter=0, score_noise=0, false_positives=0
)
# Frame 100 of the default, as it was when first rendered.
RECORDED_IDS = [1, 3, 4, 5, 6, 7]
RECORDED_BOXES = [
    [196.12, 104.50, 250.97, 168.99],
    [160.16, 142.06, 242.15, 224.05],
    [405.84, 156.12, 520.17, 270.45],
    [529.25, 145.19, 610.22, 275.92],
    [387.41, 171.50, 463.73, 294.58],
    [405.97, 201.81, 496.99, 309.25],
]


@pytest.fixture(scope="module")
def video() -> SyntheticVideo:
    return SyntheticVideo(DEFAULT)


def picture(video: SyntheticVideo, index: int) -> Image:
    return next(video.frames(index)).image


def only(video: SyntheticVideo, *numbers: int) -> SyntheticVideo:
    """The same video, in which other objects than these are not painted."""
    other = copy(video)
    other._sprites = [
        sprite if number in numbers else Sprite(sprite.colour * 0, sprite.alpha * 0)
        for number, sprite in enumerate(video._sprites)
    ]
    return other


def changed(first: Image, second: Image) -> BoolArray:
    return (first != second).any(axis=2)


def test_same_settings_give_the_same_video():
    first, second = SyntheticVideo(DEFAULT), SyntheticVideo(DEFAULT)
    for index in (0, 77, 149):
        np.testing.assert_array_equal(picture(first, index), picture(second, index))
        for one, other in (
            (first.ground_truth(index), second.ground_truth(index)),
            (first.detections(index), second.detections(index)),
        ):
            np.testing.assert_array_equal(one.boxes, other.boxes)
            np.testing.assert_array_equal(one.scores, other.scores)
            np.testing.assert_array_equal(one.labels, other.labels)


def test_truth_is_the_same_on_every_machine(video: SyntheticVideo):
    # The last digit of a sine may differ: by one step of the positions' grid at most.
    truth = video.ground_truth(100)
    assert truth.ids.tolist() == RECORDED_IDS
    np.testing.assert_allclose(truth.boxes, RECORDED_BOXES, atol=1 / 32 + 0.005)


def test_another_seed_gives_another_video(video: SyntheticVideo):
    other = SyntheticVideo(SyntheticSettings(seed=DEFAULT.seed + 1))
    assert changed(picture(video, 0), picture(other, 0)).mean() > 0.5
    assert not np.array_equal(video.ground_truth(0).boxes[:2], other.ground_truth(0).boxes[:2])


def test_frames_from_a_start_are_the_later_part_of_all():
    video = SyntheticVideo(replace(DEFAULT, num_frames=12, frame_rate=Fraction(30000, 1001)))
    everything, later = list(video.frames()), list(video.frames(8))
    assert [frame.index for frame in everything] == list(range(12))
    assert [frame.index for frame in later] == [8, 9, 10, 11]
    assert later[0].time == 8 * Fraction(1001, 30000) == 8 * video.info.time_base
    for one, other in zip(everything[8:], later, strict=True):
        assert one.time == other.time
        np.testing.assert_array_equal(one.image, other.image)


def test_objects_move_between_frames(video: SyntheticVideo):
    assert changed(picture(video, 10), picture(video, 11)).any()


@pytest.mark.parametrize("index", [0, 30, 60, 90, 120])
def test_truth_boxes_are_the_pixels_of_the_objects(video: SyntheticVideo, index: int):
    truth = video.ground_truth(index)
    assert len(truth) >= 3
    background = picture(only(video), index)
    for id_, box in zip(truth.ids, truth.boxes, strict=True):
        rows, columns = np.nonzero(changed(picture(only(video, id_ - 1), index), background))
        pixels = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        # A pixel that is covered by less than about 1/10 may keep its colour.
        np.testing.assert_allclose(pixels, box, atol=1.1)


def test_objects_are_painted_at_fractions_of_a_pixel(video: SyntheticVideo):
    block = video.classes.index("block")
    white = copy(video)
    white._background = video._background * 0
    errors = []
    for index in range(0, 150, 4):
        truth = video.ground_truth(index)
        inside = (truth.boxes[:, 0] > 0) & (truth.boxes[:, 2] < 640) & (truth.labels == block)
        for id_, box in zip(truth.ids[inside], truth.boxes[inside], strict=True):
            alpha = video._sprites[id_ - 1].alpha
            white._sprites = [Sprite(alpha[..., None].repeat(3, axis=2), alpha)] * 7
            cover = picture(only(white, id_ - 1), index)[..., 0] / 255
            y, x = np.mgrid[:360, :640] + 0.5
            centre = [(cover * x).sum() / cover.sum(), (cover * y).sum() / cover.sum()]
            errors.append(centre - (box[:2] + box[2:]) / 2)  # a block is symmetric
    assert len(errors) > 10
    # At a scale s, edges are ramps of s pixels: their place is exact within (1 - s) / 2.
    assert np.abs(errors).max() < 0.14
    assert np.abs(np.mean(errors, axis=0)).max() < 0.03


def test_visible_fraction_is_the_share_of_pixels_left_by_those_in_front(video: SyntheticVideo):
    compared = []
    everyone = range(DEFAULT.num_objects)
    for index in range(0, 150, 10):
        truth = video.ground_truth(index)
        inside = (truth.boxes[:, 0] > 0) & (truth.boxes[:, 2] < DEFAULT.width)
        for id_, visible in zip(truth.ids[inside], truth.scores[inside], strict=True):
            others = [number for number in everyone if number != id_ - 1]
            seen = changed(picture(video, index), picture(only(video, *others), index))
            whole = changed(picture(only(video, id_ - 1), index), picture(only(video), index))
            # Pixels at edges, where two objects share one, count in full here.
            assert seen.sum() / whole.sum() == pytest.approx(visible, abs=0.05)
            compared.append(visible)
    assert min(compared) < 0.5
    assert max(compared) == 1


def test_an_object_half_out_of_the_frame_is_half_visible():
    video = SyntheticVideo(replace(DEFAULT, num_objects=1, num_frames=500))
    halves = []
    for index in range(500):
        full_width = np.ptp(video._paths.boxes(index)[0, ::2])
        truth = video.ground_truth(index)
        shares = np.ptp(truth.boxes[:, ::2], axis=1) / full_width
        halves.extend(truth.scores[np.abs(shares - 0.5) < 0.02])
    assert halves
    np.testing.assert_allclose(halves, 0.5, atol=0.04)  # an ellipse: 4 / pi of area per width


def test_objects_leave_and_return_with_their_id_after_one_to_two_seconds():
    absences, labels = [], {}
    video = SyntheticVideo(replace(DEFAULT, min_visible=0))
    last = {}
    for index in range(1000):
        truth = video.ground_truth(index)
        for id_, box, label in zip(truth.ids, truth.boxes, truth.labels, strict=True):
            assert labels.setdefault(id_, label) == label
            then, edge = last.get(id_, (index, False))
            if edge and index - then > 5:
                absences.append((index - then) / 25)
            last[id_] = index, box[0] == 0 or box[2] == DEFAULT.width
    assert len(absences) > 20
    assert min(absences) >= 1 - 1 / 25
    assert max(absences) <= 2 + 2 / 25


def test_the_default_clip_has_returns_and_occlusions(video: SyntheticVideo):
    visible = np.zeros((150, 7))
    for index in range(150):
        truth = video.ground_truth(index)
        visible[index, truth.ids - 1] = truth.scores
    returned = 0
    for column in visible.T:
        seen = np.flatnonzero(column > 0.5)
        returned += np.diff(seen).max() > 25
    assert returned >= 5
    assert (visible > 0.5).mean(axis=0).min() > 0.4  # everyone is worth tracking
    middle = (visible[1:-1] < 0.5) & (visible[:-2] > visible[1:-1]) & (visible[2:] > visible[1:-1])
    assert middle.any(axis=0).sum() >= 4  # low between higher: passed behind somebody


def test_many_objects_cover_no_more_of_the_frame():
    sizes = [
        SyntheticVideo(replace(DEFAULT, num_objects=count))._paths.sizes.prod(axis=1).sum()
        for count in (7, 70)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.2)  # each size is drawn within 10 %


def test_boxes_lie_within_the_frame_and_have_area():
    noisy = replace(DEFAULT, jitter=0.5, false_positives=3, num_objects=20)
    video = SyntheticVideo(noisy)
    for index in range(0, 1000, 7):
        for found in (video.ground_truth(index), video.detections(index)):
            assert (found.boxes >= 0).all()
            assert (found.boxes <= [640, 360, 640, 360]).all()
            assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_without_noise_detections_are_the_truth():
    video = SyntheticVideo(NOISELESS)
    for index in range(0, 150, 5):
        truth, found = video.ground_truth(index), video.detections(index)
        order = np.argsort(-truth.scores, kind="stable")
        np.testing.assert_array_equal(found.boxes, truth.boxes[order])
        np.testing.assert_array_equal(found.labels, truth.labels[order])
        np.testing.assert_allclose(found.scores, 0.35 + 0.6 * truth.scores[order], atol=1e-6)


def test_misses_are_as_rare_as_set_and_more_frequent_for_the_hidden():
    video = SyntheticVideo(
        replace(NOISELESS, min_visible=0, miss_rate=0.1, occluded_miss_rate=0.6, seed=3)
    )
    visible, found = [], []
    for index in range(0, 3000, 2):
        truth = video.ground_truth(index)
        boxes = video.detections(index).boxes
        visible.extend(truth.scores)
        found.extend((truth.boxes[:, None] == boxes).all(axis=2).any(axis=1))
    visible, missed = np.array(visible), ~np.array(found)
    assert missed[visible < 0.25].all()
    # About 4000 and 300 samples: three standard deviations are 0.015 and 0.09.
    assert missed[visible > 0.999].mean() == pytest.approx(0.1, abs=0.015)
    assert missed[(visible > 0.25) & (visible < 0.45)].mean() == pytest.approx(0.54, abs=0.09)


def test_false_positives_are_as_many_as_set_and_score_low():
    blind = replace(DEFAULT, miss_rate=1, occluded_miss_rate=1, false_positives=0.3)
    video = SyntheticVideo(blind)
    found = [video.detections(index) for index in range(1500)]
    # The number is Poisson: three standard deviations of its mean are 3 sqrt(0.3 / 1500).
    assert np.mean([len(detections) for detections in found]) == pytest.approx(0.3, abs=0.043)
    scores = np.concatenate([detections.scores for detections in found])
    assert scores.min() >= 0.1
    assert scores.max() < 0.5


def test_jitter_is_in_proportion_to_the_size():
    video = SyntheticVideo(replace(NOISELESS, num_objects=1, jitter=0.05))
    offsets = []
    for index in range(1500):
        truth, found = video.ground_truth(index), video.detections(index)
        if len(truth) and truth.scores[0] == 1:
            offsets.append((found.boxes[0] - truth.boxes[0]) / np.tile(video._paths.sizes[0], 2))
    assert len(offsets) > 500
    assert np.mean(offsets) == pytest.approx(0, abs=0.005)
    np.testing.assert_allclose(np.std(offsets, axis=0), 0.05, rtol=0.1)


def test_scores_fall_with_visibility_and_come_sorted(video: SyntheticVideo):
    seen, hidden = [], []
    for index in range(150):
        truth, found = video.ground_truth(index), video.detections(index)
        assert (np.diff(found.scores) <= 0).all()
        overlap = iou(found.boxes, truth.boxes)
        for row in np.flatnonzero(overlap.max(axis=1, initial=0) > 0.8):
            visible = truth.scores[overlap[row].argmax()]
            (seen if visible > 0.95 else hidden).append(found.scores[row])
    assert np.mean(seen) > np.mean(hidden) + 0.1


def test_it_is_a_detector_too(video: SyntheticVideo):
    first, second = video.detect(list(islice(video.frames(20), 2)))
    np.testing.assert_array_equal(first.boxes, video.detections(20).boxes)
    np.testing.assert_array_equal(second.boxes, video.detections(21).boxes)
    assert video.classes == ("ellipse", "block", "figure")


def test_pairs_share_shape_and_colour_but_not_the_pattern(monkeypatch: pytest.MonkeyPatch):
    def colour_in_the_middle(number: int) -> tuple[int, ...]:
        return tuple(draw_sprite(number, "block", 60, 60, seed=0).colour[30, 30].tolist())

    def plain(mix: float):
        return lambda rng, x, y: np.full_like(x, mix)

    # All alike: what differs are the colours.
    monkeypatch.setattr(textures, "PATTERNS", {"a": plain(0.5)})
    colours = [colour_in_the_middle(number) for number in range(6)]
    assert colours[0::2] == colours[1::2]
    assert len(set(colours)) == 3
    # Each its own shade: within a pair, colours differ if patterns do.
    shades = {str(shade): plain(shade / 4) for shade in range(5)}
    monkeypatch.setattr(textures, "PATTERNS", shades)
    assert len({colour_in_the_middle(number) for number in range(10)}) == 10
    labels = SyntheticVideo(DEFAULT)._paths.labels
    np.testing.assert_array_equal(labels[0:6:2], labels[1:6:2])


@pytest.mark.parametrize("pattern", textures.PATTERNS)
def test_patterns_have_both_colours_and_stay_within_them(pattern: str):
    y, x = np.mgrid[:90, :70] + 0.5
    mix = textures.PATTERNS[pattern](np.random.default_rng(1), x, y)
    assert mix.shape == (90, 70)
    assert mix.min() == 0
    assert mix.max() == 1
    assert 0.1 < mix.mean() < 0.9


def test_memory_does_not_grow_with_the_frames():
    video = SyntheticVideo(replace(DEFAULT, num_frames=1_000_000))
    frames = video.frames(500_000)
    next(frames)
    tracemalloc.start()
    for frame in islice(frames, 60):
        video.detect([frame])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * frame.image.nbytes  # 60, if they were kept


@pytest.mark.parametrize("change", [{"num_objects": 0}, {"num_frames": 0}])
def test_nothing_to_show(change):
    video = SyntheticVideo(replace(DEFAULT, false_positives=0, **change))
    assert len(list(islice(video.frames(), 3))) == min(3, video.info.num_frames)
    assert len(video.detections(0)) <= len(video._sprites)
    assert len(video.ground_truth(0)) <= len(video._sprites)


@pytest.mark.parametrize("size", [(64, 64), (960, 540), (90, 400)])
def test_any_size_works(size):
    video = SyntheticVideo(replace(DEFAULT, width=size[0], height=size[1], num_objects=12))
    assert (video.info.width, video.info.height) == size
    for index in (0, 40, 90):
        assert picture(video, index).shape == (size[1], size[0], 3)
        assert len(video.ground_truth(index)) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"width": 63},
        {"frame_rate": Fraction(0)},
        {"num_frames": -1},
        {"seed": -1},
        {"miss_rate": 1.1},
        {"false_positives": -0.1},
        {"max_false_score": 1.1},
        {"num_appearances": -1},
        {"num_shots": 0},
        {"pace": 0},
        {"zoom": 1},
        {"min_absence": 3},
        {"max_absence": 4},
    ],
)
def test_settings_that_cannot_work_are_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SyntheticSettings(**change)


MOVING = replace(SCENARIOS["camera-motion"].settings, seed=1)


def camera_picture(video, index):
    return next(video.frames(index)).image


def empty(video):
    """The same video, in which objects are not painted."""
    video._sprites = [Sprite(sprite.colour * 0, sprite.alpha * 0) for sprite in video._sprites]
    return video


def test_background_and_boxes_move_together():
    video = empty(SyntheticVideo(MOVING))
    grain = np.random.default_rng(0).integers(256, size=video._background[0].shape).astype(np.uint8)
    video._background = cv2.GaussianBlur(grain, (0, 0), 3)[None]  # the usual one is hazy
    corners = np.array([[100.0, 80], [540, 80], [100, 280], [540, 280]])  # of the scene
    points = np.concatenate([corners, corners], axis=1)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-6)
    shifts = []
    for index in range(0, 190, 18):
        first, second = (
            cv2.cvtColor(camera_picture(video, at), cv2.COLOR_RGB2GRAY) for at in (index, index + 1)
        )
        there, here = (video._camera.boxes(points, at)[:, :2] for at in (index, index + 1))
        _, found = cv2.findTransformECC(
            first, second, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, stop
        )
        moved = (there - 0.5) @ found[:, :2].T + found[:, 2] + 0.5  # its pixels have whole numbers
        np.testing.assert_allclose(moved, here, atol=0.06)  # positions are rounded to 1/32
        shifts.append(np.hypot(*(here - there).T).max())
    assert max(shifts) > 4
    corners = [video._camera.pose(index)[1] for index in range(200)]
    assert np.ptp(corners, axis=0)[0] > 200  # pixels that the view swings


def test_zoom_changes_the_size_of_all():
    video = SyntheticVideo(MOVING)
    scales = [video._camera.pose(index)[0] for index in range(200)]
    assert min(scales) == pytest.approx(0.85, abs=0.005)
    assert max(scales) == pytest.approx(1, abs=0.005)
    for index in (10, 60):
        heights = [
            boxes[:, 3] - boxes[:, 1]
            for boxes in (video._all_boxes(index), video._paths.boxes(index))
        ]
        np.testing.assert_allclose(heights[0] / heights[1], scales[index])


def test_a_box_is_where_its_pixels_are():
    camera = Camera(MOVING)
    room_x, room_y = camera.room
    scene = np.zeros((360 + 2 * room_y, 640 + 2 * room_x, 3), np.uint8)
    scene[room_y + 170 : room_y + 190, room_x + 300 : room_x + 340] = 255
    y, x = np.mgrid[:360, :640] + 0.5
    for index in range(0, 200, 9):
        light = camera.view(scene, index)[..., 0] / 255
        box = camera.boxes(np.array([[300.0, 170, 340, 190]]), index)[0]
        centre = [(light * x).sum() / light.sum(), (light * y).sum() / light.sum()]
        # A hard edge is exact within (1 - scale) / 2, and so is the middle between two.
        np.testing.assert_allclose(centre, (box[:2] + box[2:]) / 2, atol=0.08)
        assert light.sum() == pytest.approx((box[2:] - box[:2]).prod(), rel=0.02)


def test_it_zooms_about_the_middle():
    camera = Camera(replace(MOVING, pan=0, shake=0))
    middle = np.array([[320.0, 180, 320, 180]])
    for index in range(0, 150, 10):
        np.testing.assert_allclose(camera.boxes(middle, index), middle, atol=1 / 16)


def test_the_scenery_fills_the_moving_frame():
    video = empty(SyntheticVideo(MOVING))
    for index in range(200):
        image = camera_picture(video, index)
        edges = (image[0], image[-1], image[:, 0], image[:, -1])
        assert min(edge.min() for edge in edges) > 40  # beyond the scenery is black


def test_a_camera_at_rest_shows_the_scene_as_it_is():
    camera = Camera(SyntheticSettings())
    scene = np.random.default_rng(0).integers(256, size=(360, 640, 3)).astype(np.uint8)
    boxes = np.array([[-3.5, 7.25, 20.0, 31.03125]])
    assert camera.room == (0, 0)
    for index in (0, 77):
        np.testing.assert_array_equal(camera.view(scene, index), scene)
        np.testing.assert_array_equal(camera.boxes(boxes, index), boxes)


def test_a_wall_may_stand_at_the_edge_of_a_moving_frame():
    video = SyntheticVideo(replace(MOVING, wall_width=0.6, pan=0.6))
    for index in range(0, 200, 5):
        assert camera_picture(video, index).shape == (360, 640, 3)
        assert (video._truth(index)[1] <= 1 + 1e-6).all()
