"""A camera 6 m above a flat ground sees things that move at speeds that are known."""

import json

import numpy as np
import pytest

from masa_cli.analysis.ground import camera_motions, fit_ground, read_ground, ways
from masa_cli.errors import SourceError
from masa_cli.formats.embeddings import EmbeddingsWriter, Kept, finish_embeddings
from masa_cli.structures import CameraMotion, Detections
from tests.analysis.tables import table
from tests.jobs.kept import RATE, VideoInfo
from tests.tracking.frames import observed

FOCAL, MIDDLE = 900.0, np.array([640.0, 360.0])
HEIGHT, TILT = 6.0, np.radians(25)  # of the camera, metres; below the horizon
KNOWN = np.array([[-4, 8], [4, 8], [5, 25], [-5, 25], [0, 15], [2, 11]], np.float64)


def seen(points):
    """(N, 2) pixels of (N, 2) metres to the right and ahead."""
    across, ahead = np.asarray(points, np.float64).T
    depth = ahead * np.cos(TILT) + HEIGHT * np.sin(TILT)
    down = HEIGHT * np.cos(TILT) - ahead * np.sin(TILT)
    return MIDDLE + FOCAL * np.stack([across, down], axis=1) / depth[:, None]


def rows_of(way, id_=1, first=0):
    """Boxes whose feet are on the way; as high as 1.7 m are there."""
    feet = seen(way)
    heights = 1.7 * FOCAL / (np.asarray(way)[:, 1] * np.cos(TILT) + HEIGHT * np.sin(TILT))
    return [
        (first + index, id_, x - height / 6, y - height, x + height / 6, y)
        for index, ((x, y), height) in enumerate(zip(feet, heights, strict=True))
    ]


def walk(start, velocity, count=60, rate=20.0):
    return np.array(start) + np.arange(count)[:, None] / rate * np.array(velocity)


def measured(rows, rate=20.0, motions=None):
    tracks = table(rows)
    ground = fit_ground(seen(KNOWN), KNOWN)
    return ways(tracks, np.arange(tracks.num_frames) / rate, ground, motions)


def test_known_points_are_met():
    ground = fit_ground(seen(KNOWN), KNOWN)
    assert ground.residual < 1e-6
    places, _ = ground.places(seen([[1.5, 18.0]]))
    assert places[0] == pytest.approx([1.5, 18.0])


def test_the_residual_is_told_in_metres():
    wrong = KNOWN + np.array([[0, 0]] * 5 + [[0.5, 0]])
    ground = fit_ground(seen(KNOWN), wrong)
    assert 0.1 < ground.residuals[-1] < 0.5
    assert 0.05 < ground.residual < 0.5


def test_metres_by_pixel_are_those_of_a_small_step():
    ground = fit_ground(seen(KNOWN), KNOWN)
    point = seen([[1.0, 12.0]])
    places, scales = ground.places(point)
    for axis in (0, 1):
        step = np.zeros((1, 2))
        step[0, axis] = 1e-3
        moved, _ = ground.places(point + step)
        assert (moved - places)[0] / 1e-3 == pytest.approx(scales[0, :, axis], rel=1e-3, abs=1e-6)


def test_beyond_the_horizon_is_nowhere():
    places, _ = fit_ground(seen(KNOWN), KNOWN).places(np.array([[640.0, -300.0]]))
    assert np.isnan(places).all()


@pytest.mark.parametrize("velocity", [(1.4, 0.0), (0.0, 2.5), (-3.0, 4.0)])
def test_speed_and_distance_are_those_of_the_scene(velocity):
    (way,) = measured(rows_of(walk((0.5, 9.0), velocity)))
    speed = np.hypot(*velocity)
    assert way.speeds == pytest.approx(np.full(60, speed), rel=0.01)
    assert way.distance == pytest.approx(speed * 59 / 20, rel=0.01)
    assert way.mean_speed == pytest.approx(speed, rel=0.01)


def test_with_boxes_that_tremble_speeds_are_within_three_percent_and_within_their_deviation():
    generator = np.random.default_rng(0)
    rows, speeds = [], []
    for id_, (start, velocity) in enumerate(
        [((-3, 9), (1.2, 0.6)), ((3, 20), (-0.8, -1.6)), ((0, 10), (0.0, 5.0))], start=1
    ):
        for row in rows_of(walk(start, velocity), id_):
            noise = 0.01 * (row[5] - row[3]) * generator.normal(size=4)
            rows.append((row[0], id_, *(np.array(row[2:]) + noise)))
        speeds.append(np.hypot(*velocity))
    for way, speed in zip(measured(rows), speeds, strict=True):
        straight = np.hypot(*(way.places[-1] - way.places[0])) / way.seconds
        assert straight == pytest.approx(speed, rel=0.03)
        assert way.mean_speed == pytest.approx(speed, rel=0.03)
        off = np.abs(way.speeds - speed)
        assert (off < 3 * way.deviations).mean() > 0.9
        assert way.deviations.mean() < 0.25 * speed


def test_who_stands_does_not_go_far_though_its_box_trembles():
    generator = np.random.default_rng(1)
    rows = [
        (*row[:2], *(np.array(row[2:]) + 0.005 * (row[5] - row[3]) * generator.normal(size=4)))
        for row in rows_of(walk((0, 12), (0, 0)))
    ]
    (way,) = measured(rows)
    raw = np.hypot(*np.diff(walk((0, 12), (0, 0)), axis=0).T).sum()
    assert raw == 0
    assert way.distance < 0.6
    assert way.speeds.max() < 0.5


def test_far_away_the_deviation_is_larger():
    near, far = measured(rows_of(walk((0, 9), (0, 1))) + rows_of(walk((0, 40), (0, 1)), 2))
    assert far.deviations.mean() > near.deviations.mean()


def test_gaps_and_interpolated_boxes_are_bridged():
    rows = rows_of(walk((0, 9), (1.5, 0)))
    kept = rows[:20] + [(*row, 0.9, 0, 1) for row in rows[20:30]] + rows[45:]
    (way,) = measured(kept)
    assert len(way.frames) == 35
    assert way.speeds == pytest.approx(np.full(35, 1.5), rel=0.01)


def test_who_is_seen_once_has_no_speed():
    (way,) = measured(rows_of(walk((0, 9), (1, 0), count=1)))
    assert (way.distance, way.mean_speed, way.seconds) == (0, 0, 0)
    assert way.speeds.tolist() == [0]


def test_who_is_never_on_the_ground_is_left_out():
    assert measured([(0, 1, 600, -400, 640, -300), (1, 1, 600, -400, 640, -300)]) == []
    assert measured([]) == []


def kept_motions(path, matrices, cut_at=None):
    """A file of observations without boxes: only the camera moves."""
    info = VideoInfo("video", 1280, 720, RATE, 1 / RATE, len(matrices))
    none = Detections.empty()
    with EmbeddingsWriter(path, Kept(info, ("thing",))) as writer:
        for index, matrix in enumerate(matrices):
            motion = CameraMotion(np.array(matrix, np.float64), index == cut_at)
            writer.write(observed(index, index / 25, none, motion=motion))
        offset = writer.offset
    finish_embeddings(path, offset, len(matrices))


def test_the_motion_of_the_camera_is_taken_out(tmp_path):
    """It pans by 3 pixels a frame, so that all seems to go to the left."""
    pan = [[1, 0, -3], [0, 1, 0]]
    still = np.eye(2, 3).tolist()
    kept_motions(tmp_path / "embeddings.masa", [still] + [pan] * 59)
    rows = [
        (frame, id_, x1 - 3 * frame, y1, x2 - 3 * frame, y2)
        for frame, id_, x1, y1, x2, y2 in rows_of(walk((0, 9), (1.5, 0.5)))
    ]
    motions = camera_motions(tmp_path / "embeddings.masa", 0)
    (way,) = measured(rows, motions=motions)
    assert way.mean_speed == pytest.approx(np.hypot(1.5, 0.5), rel=0.01)
    (uncompensated,) = measured(rows)
    assert abs(uncompensated.mean_speed - np.hypot(1.5, 0.5)) > 0.2


def test_the_ground_may_be_told_in_any_frame_and_ends_at_a_cut(tmp_path):
    pan = [[1, 0, -3], [0, 1, 0]]
    kept_motions(tmp_path / "e.masa", [np.eye(2, 3).tolist(), pan, pan, pan], cut_at=3)
    motions = camera_motions(tmp_path / "e.masa", 1)
    points = [(matrix @ (10, 10, 1))[:2].tolist() for matrix in motions[:3]]
    assert points == [[7, 10], [10, 10], [13, 10]]
    assert np.isnan(motions[3]).any()
    with pytest.raises(SourceError, match="has 4 frames"):
        camera_motions(tmp_path / "e.masa", 4)


def test_a_file_has_pairs_as_objects_or_as_rows(tmp_path):
    pixels = seen(KNOWN)
    objects = [
        {"image": p, "ground": m} for p, m in zip(pixels.tolist(), KNOWN.tolist(), strict=True)
    ]
    rows = np.concatenate([pixels, KNOWN], axis=1).tolist()
    for number, content in enumerate([{"points": objects, "frame": 3}, objects, rows]):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(content))
        ground = read_ground(path)
        assert ground.residual < 1e-6
        assert ground.frame == (3 if number == 0 else 0)


SQUARE = [[0, 0, 0, 0], [9, 0, 1, 0], [9, 9, 1, 1], [0, 9, 0, 1]]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("nonsense", "is not JSON"),
        ({}, "no list of points"),
        ({"points": SQUARE, "frame": -1}, "no list of points"),
        (SQUARE[:3], "3 points"),
        ([*SQUARE[:3], [1, 2, 3]], "point 4"),
        ([*SQUARE[:3], {"image": [1, "x"], "ground": [1, 2]}], "point 4"),
        ([[n, n, n, n] for n in range(5)], "on one line"),
        ([*SQUARE[:3], [9, 4, 1, 2]], "on one line"),
        ([SQUARE[0]] * 4, "on one line"),
    ],
    ids=str,
)
def test_what_tells_no_ground_is_refused(tmp_path, content, complaint):
    path = tmp_path / "ground.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SourceError, match=complaint):
        read_ground(path)
