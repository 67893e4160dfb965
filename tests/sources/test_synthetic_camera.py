from dataclasses import replace

import cv2
import numpy as np
import pytest

from masa_cli.sources.scenarios import SCENARIOS
from masa_cli.sources.synthetic import SyntheticSettings, SyntheticVideo
from masa_cli.sources.synthetic_camera import Camera
from masa_cli.sources.textures import Sprite

MOVING = replace(SCENARIOS["camera-motion"], seed=1)


def picture(video, index):
    return next(video.frames(index)).image


def empty(video):
    """The same video, in which objects are not painted."""
    video._sprites = [Sprite(sprite.colour * 0, sprite.alpha * 0) for sprite in video._sprites]
    return video


def test_background_and_boxes_move_together():
    video = empty(SyntheticVideo(MOVING))
    grain = np.random.default_rng(0).integers(256, size=video._backdrop[0].shape).astype(np.uint8)
    video._backdrop = cv2.GaussianBlur(grain, (0, 0), 3)[None]  # the usual one is hazy
    corners = np.array([[100.0, 80], [540, 80], [100, 280], [540, 280]])  # of the scene
    points = np.concatenate([corners, corners], axis=1)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-6)
    shifts = []
    for index in range(0, 190, 18):
        first, second = (
            cv2.cvtColor(picture(video, at), cv2.COLOR_RGB2GRAY) for at in (index, index + 1)
        )
        there, here = (video._camera.boxes(points, at)[:, :2] for at in (index, index + 1))
        _, found = cv2.findTransformECC(
            first, second, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, stop
        )
        moved = (there - 0.5) @ found[:, :2].T + found[:, 2] + 0.5  # its pixels have whole numbers
        np.testing.assert_allclose(moved, here, atol=0.06)  # positions are rounded to 1/32
        shifts.append(np.hypot(*(here - there).T).max())
    assert max(shifts) > 4
    corners = [video._camera.place(index)[1] for index in range(200)]
    assert np.ptp(corners, axis=0)[0] > 200  # pixels that the view swings


def test_zoom_changes_the_size_of_all():
    video = SyntheticVideo(MOVING)
    scales = [video._camera.place(index)[0] for index in range(200)]
    assert min(scales) == pytest.approx(0.85, abs=0.005)
    assert max(scales) == pytest.approx(1, abs=0.005)
    for index in (10, 60):
        heights = [
            boxes[:, 3] - boxes[:, 1]
            for boxes in (video._everything(index), video._paths.boxes(index))
        ]
        np.testing.assert_allclose(heights[0] / heights[1], scales[index])


def test_a_box_is_where_its_pixels_are():
    camera = Camera(MOVING)
    room_x, room_y = camera.room
    scene = np.zeros((360 + 2 * room_y, 640 + 2 * room_x, 3), np.uint8)
    scene[room_y + 170 : room_y + 190, room_x + 300 : room_x + 340] = 255
    y, x = np.mgrid[:360, :640] + 0.5
    for index in range(0, 200, 9):
        light = camera.look(scene, index)[..., 0] / 255
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
        image = picture(video, index)
        edges = (image[0], image[-1], image[:, 0], image[:, -1])
        assert min(edge.min() for edge in edges) > 40  # beyond the scenery is black


def test_a_camera_at_rest_shows_the_scene_as_it_is():
    camera = Camera(SyntheticSettings())
    scene = np.random.default_rng(0).integers(256, size=(360, 640, 3)).astype(np.uint8)
    boxes = np.array([[-3.5, 7.25, 20.0, 31.03125]])
    assert camera.room == (0, 0)
    for index in (0, 77):
        np.testing.assert_array_equal(camera.look(scene, index), scene)
        np.testing.assert_array_equal(camera.boxes(boxes, index), boxes)


def test_a_wall_may_stand_at_the_edge_of_a_moving_frame():
    video = SyntheticVideo(replace(MOVING, wall_width=0.6, pan=0.6))
    for index in range(0, 200, 5):
        assert picture(video, index).shape == (360, 640, 3)
        assert (video._truth(index)[1] <= 1 + 1e-6).all()
