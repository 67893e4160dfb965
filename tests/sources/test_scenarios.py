from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from masa_cli.errors import SettingsError
from masa_cli.sources.scenarios import DEFAULT_DEMO, DEMOS, SCENARIOS, SyntheticSettings
from masa_cli.sources.synthetic import SyntheticVideo, scenario
from masa_cli.sources.textures import Sprite

FAMILIES = tuple(SCENARIOS)
SEED = 1


@cache
def truth_of(name, seed=SEED):
    """(T, K, 4) boxes before the frame cuts them off, and (T, K) visible fractions."""
    video = scenario(name, seed)
    indices = range(video.info.num_frames)
    count = len(video._paths.sizes)
    boxes = np.array([video._all_boxes(index)[:count] for index in indices])
    return boxes, np.array([video._truth(index)[1] for index in indices])


def picture(video, index):
    return next(video.frames(index)).image


def runs(flags):
    """(start, end) of each stretch of true flags that neither starts nor ends the video."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(a, b) for a, b in steps.reshape(-1, 2) if a > 0 and b < len(flags)]


def absences(name, seed):
    """Seconds for which objects were out of the frame."""
    boxes, _ = truth_of(name, seed)
    out = (boxes[..., 2] <= 0) | (boxes[..., 0] >= 640)
    rate = float(SCENARIOS[name].settings.frame_rate)
    return [(b - a) / rate for column in out.T for a, b in runs(column)]


# Sums of all coordinates of frame 40, seed 1, truth and detections, as they were first rendered.
RECORDED = {
    "crossings": (3962.6, 3565.0),
    "look-alikes": (3884.7, 3429.5),
    "long-occlusions": (4577.0, 2232.9),
    "re-entry": (3567.2, 3573.1),
    "low-frame-rate": (4852.9, 3460.1),
    "camera-motion": (5265.0, 3460.5),
    "crowding": (15778.2, 12076.5),
    "noise-and-misses": (3962.6, 6144.1),
    "edge-births": (4691.7, 4694.4),
    "cut": (3962.6, 3565.0),
}


def test_families_are_rows_with_a_line_for_users():
    assert SCENARIOS["crossings"].settings == DEMOS["textures"].settings == SyntheticSettings()
    assert set(SCENARIOS) < set(DEMOS)
    assert DEMOS[DEFAULT_DEMO].settings.look == "photographs"
    for row in DEMOS.values():
        assert 10 < len(row.summary) < 80


@pytest.mark.parametrize("name", RECORDED)
def test_earlier_families_stay_as_they_are(name):
    video = scenario(name, SEED)
    truth, found = video.ground_truth(40).boxes, video.detections(40).boxes
    # The last digit of a sine may move a coordinate by a step of the grid.
    assert truth.sum() == pytest.approx(RECORDED[name][0], abs=truth.size / 32)
    assert found.sum() == pytest.approx(RECORDED[name][1], abs=found.size / 32)


def test_an_unknown_family_is_named():
    with pytest.raises(SettingsError, match="crossing") as caught:
        scenario("crossing", 1)
    assert "look-alikes" in caught.value.fix


@pytest.mark.parametrize("name", FAMILIES)
def test_seeds_decide_everything(name):
    first, again, other = scenario(name, 5), scenario(name, 5), scenario(name, 6)
    index = first.info.num_frames - 7  # frames before it are not asked for
    np.testing.assert_array_equal(picture(first, index), picture(again, index))
    np.testing.assert_array_equal(first.detections(index).boxes, again.detections(index).boxes)
    assert (picture(first, index) != picture(other, index)).mean() > 0.5
    assert not np.array_equal(first._all_boxes(index), other._all_boxes(index))


@pytest.mark.parametrize("name", FAMILIES)
def test_there_is_somebody_to_track(name):
    _, visible = truth_of(name)
    assert (visible > 0.5).sum(axis=1).mean() >= 2
    assert ((visible > 0.5).any(axis=0)).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_truth_boxes_hold_the_pixels_of_their_objects(name):
    video = scenario(name, SEED)
    sprites = video._sprites
    num_frames = video.info.num_frames
    for index in (num_frames // 5, num_frames // 2, num_frames - 1):
        whole = picture(video, index)
        truth = video.ground_truth(index)
        seen = truth.scores > 0.3
        assert seen.any()
        for id_, box in zip(truth.ids[seen], truth.boxes[seen], strict=True):
            blank = Sprite(sprites[id_ - 1].colour * 0, sprites[id_ - 1].alpha * 0)
            video._sprites = [blank if k == id_ - 1 else s for k, s in enumerate(sprites)]
            rows, columns = np.nonzero((picture(video, index) != whole).any(axis=2))
            video._sprites = sprites
            found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            # Inside the box up to a rounded pixel; what others hide may be missing.
            assert (found[:2] >= box[:2] - 1.1).all()
            assert (found[2:] <= box[2:] + 1.1).all()


def test_crossings_cross():
    boxes, _ = truth_of("crossings")
    centres = boxes[..., 0] + boxes[..., 2]
    order = np.sign(centres[:, :, None] - centres[:, None])
    assert (order.min(axis=0) < order.max(axis=0)).sum() / 2 >= 10  # pairs that swap sides


def test_look_alikes_look_alike():
    def looks(name):
        """Each object as drawn, at one size."""
        video = scenario(name, SEED)
        return [
            cv2.resize(sprite.colour, (48, 48), interpolation=cv2.INTER_AREA)
            for sprite in video._sprites
        ]

    def differences(pictures):
        table = np.array([[cv2.absdiff(a, b).mean() for b in pictures] for a in pictures])
        return table[~np.eye(len(pictures), dtype=bool)]

    # Grey levels: pairs differ by their patterns, look-alikes by what resampling does to edges.
    assert differences(looks("look-alikes")).max() < 6
    assert differences(looks("crossings")).min() > 12
    sizes = scenario("look-alikes", SEED)._paths.sizes
    assert (sizes.max(axis=0) / sizes.min(axis=0)).max() < 1.3  # within 10 %, and the depth


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_long_occlusions_hide_for_one_to_three_seconds_inside_the_frame(seed):
    boxes, visible = truth_of("long-occlusions", seed)
    inside = (boxes[..., 0] > 0) & (boxes[..., 2] < 640)
    hidden = (visible < 0.01) & inside
    lengths = [(b - a) / 25 for column in hidden.T for a, b in runs(column)]
    long = [length for length in lengths if 1 <= length <= 3.2]
    assert len(long) >= 4
    assert max(lengths) < 4


def test_the_wall_is_nobody():
    video = scenario("long-occlusions", SEED)
    assert len(video._walls) == 1
    (wall,) = video._walls
    for index in range(0, 300, 20):
        found = video.detections(index)
        real = found.boxes[found.scores > 0.5]
        assert not ((real[:, 0] > wall[0] + 20) & (real[:, 2] < wall[2] - 20)).any()
    assert len(video.ground_truth(0)) <= 7
    assert picture(video, 0)[:, int(wall[0]) + 1].std() < 20  # concrete from top to bottom
    np.testing.assert_array_equal(
        picture(video, 0)[:, int(wall[0]) : int(wall[2])],
        picture(video, 200)[:, int(wall[0]) : int(wall[2])],
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_re_entry_is_after_three_to_six_seconds(seed):
    away = absences("re-entry", seed)
    assert len(away) >= 7
    assert min(away) >= 3
    assert max(away) <= 6.2  # when small they leave a little sooner, and enter a little later


def test_low_frame_rate_moves_far_between_frames():
    assert scenario("low-frame-rate", SEED).info.frame_rate == 5
    steps = {}
    for name in ("low-frame-rate", "crossings"):
        boxes, visible = truth_of(name)
        moved = np.abs(np.diff(boxes[..., 0], axis=0))[visible[1:] > 0.5]
        steps[name] = np.median(moved)
    assert steps["low-frame-rate"] > 4 * steps["crossings"]


def test_crowding_crowds():
    boxes, visible = truth_of("crowding")
    assert boxes.shape[1] >= 18
    assert (visible > 0.1).sum(axis=1).mean() > 12
    partly = ((visible > 0.1) & (visible < 0.9)).sum(axis=1).mean()
    assert partly > 4  # behind another, at any time


def test_noise_and_misses_are_as_set():
    settings = SCENARIOS["noise-and-misses"].settings
    assert (settings.jitter, settings.miss_rate) == (0.06, 0.15)
    video = scenario("noise-and-misses", SEED)
    wrong, confident = 0, 0
    for index in range(200):
        true, found = video._truth(index)[0], video.detections(index)
        centre = (found.boxes[:, None, :2] + found.boxes[:, None, 2:]) / 2
        far = np.abs(centre - (true[:, :2] + true[:, 2:]) / 2).max(axis=2).min(axis=1) > 60
        wrong, confident = wrong + far.sum(), confident + (far & (found.scores > 0.6)).sum()
    assert wrong / 200 > 1.5
    assert confident > 20  # they look like objects to a threshold


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_at_an_edge_one_enters_when_and_where_another_has_left(seed):
    boxes, _ = truth_of("edge-births", seed)
    meetings = {pair: 0 for pair in range(4)}
    for edge, out in ((0, boxes[..., 2] <= 0), (640, boxes[..., 0] >= 640)):
        for pair in meetings:
            leader, follower = 2 * pair, 2 * pair + 1
            for leaves, _ in runs(out[:, leader]):
                for _, enters in runs(out[:, follower]):
                    if abs(enters - leaves) / 25 > 0.3:
                        continue
                    meetings[pair] += 1
                    gone, come = boxes[leaves, leader], boxes[enters, follower]
                    # The same place: within a box height down, a box width across.
                    assert abs(gone[3] - come[3]) < 0.2 * (gone[3] - gone[1])
                    for box in (gone, come):
                        assert min(abs(box[::2] - edge)) < box[2] - box[0]
    assert sum(count > 0 for count in meetings.values()) >= 3
    assert sum(meetings.values()) >= 5


def test_a_relay_is_run_by_objects_of_other_looks():
    paths = scenario("edge-births", SEED)._paths
    assert len(set(paths.appearances)) == 8
    np.testing.assert_array_equal(paths.sizes[::2], paths.sizes[1::2])


def test_the_cut_is_at_half_time_and_nowhere_else():
    video = scenario("cut", SEED)
    small = [cv2.resize(frame.image, (160, 90)).astype(int) for frame in video.frames()]
    change = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2, 3))
    assert change.argmax() == 99  # between frames 99 and 100
    assert change[99] > 5 * np.delete(change, 99).max()
    boxes, visible = truth_of("cut")
    both = (visible[99] > 0) | (visible[100] > 0)
    jumps = np.abs(boxes[100] - boxes[99])[both].max(axis=1)
    assert np.median(jumps) > 100  # pixels
    steps = np.abs(np.delete(np.diff(boxes, axis=0), 99, axis=0))
    assert steps.max() < 40
    np.testing.assert_array_equal(
        video._paths.boxes(99), scenario("crossings", SEED)._paths.boxes(99)
    )
    assert (visible[:100] > 0.5).any(axis=0).sum() >= 6
    assert ((visible[:100] > 0.5).any(axis=0) & (visible[100:] > 0.5).any(axis=0)).sum() >= 6


def test_turning_look_alikes_turn_and_their_boxes_stay_tight():
    video = scenario("turning-look-alikes", SEED)
    boxes, _ = truth_of("turning-look-alikes")
    aspects = (boxes[..., 2] - boxes[..., 0]) / (boxes[..., 3] - boxes[..., 1])
    assert (aspects.max(axis=0) > 2).all()  # across
    assert (aspects.min(axis=0) < 0.8).sum() >= 4  # upright, or nearly
    assert len({sprite.colour[40:44, 40:44].tobytes() for sprite in video._sprites}) < 8
    tight = []
    sprites = video._sprites
    for index in (0, 60, 120, 180):
        truth = video.ground_truth(index)
        whole = (truth.boxes > 2).all(axis=1) & (truth.boxes < (638, 358, 638, 358)).all(axis=1)
        for id_, box in zip(truth.ids[whole], truth.boxes[whole], strict=True):
            nobody = [Sprite(each.colour * 0, each.alpha * 0) for each in sprites]
            video._sprites = nobody
            empty = picture(video, index)
            video._sprites = [
                s if k == id_ - 1 else n
                for k, (s, n) in enumerate(zip(sprites, nobody, strict=True))
            ]
            rows, columns = np.nonzero((picture(video, index) != empty).any(axis=2))
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            tight.append(np.abs(found - box).max())
            video._sprites = sprites
    assert len(tight) > 10
    assert max(tight) < 2.0  # pixels: the tips are round, and faint at the edge


def test_turning_objects_point_to_where_they_go():
    video = scenario("turning-look-alikes", SEED)
    boxes, _ = truth_of("turning-look-alikes")
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    for index in range(10, 240, 15):
        moved = centres[index + 1] - centres[index - 1]
        pointing = video._paths.turned(index).matrices[:, :, 0]  # where the right side has gone
        fast = np.linalg.norm(moved, axis=1) > 3
        cosines = (moved * pointing).sum(axis=1) / np.maximum(np.linalg.norm(moved, axis=1), 1e-9)
        assert (cosines[fast] > 0.97).all()


def test_escapes_are_sudden_and_now_and_then():
    boxes, visible = truth_of("sudden-escapes")
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    width = np.median(boxes[..., 2] - boxes[..., 0])
    far = np.linalg.norm(centres[4:] - centres[:-4], axis=2) > 1.5 * width
    darts = sum(len(runs(column)) for column in far.T)
    assert 15 < darts < 50  # of seven objects in 10 s, one in 1.5 s each
    assert far.mean() < 0.2
    assert (visible > 0.5).mean() > 0.7  # they do not leave for good


def test_a_walking_camera_goes_on_and_bobs():
    video = scenario("walking-camera", SEED)
    poses = [video._camera.pose(index) for index in range(250)]
    middles = np.array([corner + np.array([320, 180]) / scale for scale, corner in poses])
    way = middles[25:, 0] - middles[:-25, 0]
    assert (way > 80).all()  # pixels in a second, of 128 on average
    down = middles[:, 1] - middles[:, 1].mean()
    rates = np.fft.rfftfreq(250, 1 / 25)
    assert rates[np.abs(np.fft.rfft(down)).argmax()] == pytest.approx(1.9, abs=0.1)  # Hz
    for index in (0, 125, 249):  # beyond the scenery is black
        assert min(picture(video, index)[:, edge].min() for edge in (0, -1)) > 0


def test_a_weak_detector_is_wrong_at_the_same_places_and_finds_parts():
    settings = SCENARIOS["weak-detector"].settings
    video = scenario("weak-detector", SEED)
    there = np.array([len(video._ghosts(index)[0]) for index in range(200)])
    # Six, each there 0.4 of the time and then found in 0.8 of the frames.
    assert there.mean() == pytest.approx(6 * 0.4 * 0.8, rel=0.15)
    first, later = video._ghosts(0)[0], np.concatenate([video._ghosts(k)[0] for k in (1, 2, 3)])
    distances = np.abs(first[:, None] - later).max(axis=2)
    assert (distances.min(axis=1) < 12).all()  # the same place, some pixels off
    boxes, scores = np.array([[10.0, 20, 50, 120]] * 7), np.full(7, 0.8)
    parts, part_scores = zip(
        *(video._parts(index, boxes, scores, np.zeros(7, int))[:2] for index in range(200)),
        strict=True,
    )
    parts, part_scores = np.concatenate(parts), np.concatenate(part_scores)
    assert len(parts) / 1400 == pytest.approx(settings.part_rate, abs=0.04)
    assert (parts[:, [0, 2]] == (10, 50)).all()
    assert ((parts[:, 1] == 20) ^ (parts[:, 3] == 120)).all()  # one end of the box
    assert (part_scores < 0.8).all()
    found = sum((video.detections(k).scores > 0.05).sum() for k in range(0, 200, 10))
    true = sum(len(video.ground_truth(k)) for k in range(0, 200, 10))
    assert found > 1.2 * true


@pytest.mark.parametrize(("name", "scale"), [("scores-to-100", 100), ("low-scores", 0.3)])
def test_only_the_scale_of_scores_differs(name, scale):
    video, usual = scenario(name, SEED), scenario("crossings", SEED)
    for index in range(0, 150, 15):
        found, expected = video.detections(index), usual.detections(index)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_allclose(found.scores, scale * expected.scores, rtol=1e-6)
        assert found.scores.max() < scale


def test_wide_objects_are_wide():
    boxes, _ = truth_of("wide-objects")
    aspects = (boxes[..., 2] - boxes[..., 0]) / (boxes[..., 3] - boxes[..., 1])
    assert aspects.min() > 2.5
    assert 3.5 < aspects.mean() < 4.5


def test_two_frames_per_second():
    video = scenario("2-fps", SEED)
    assert video.info.frame_rate == 2
    boxes, visible = truth_of("2-fps")
    seen = (visible[1:] > 0.5) & (visible[:-1] > 0.5)
    moved = np.abs(np.diff(boxes[..., 0], axis=0))[seen]
    widths = (boxes[1:, :, 2] - boxes[1:, :, 0])[seen]
    assert np.median(moved / widths) > 0.8  # boxes of one object hardly overlap


@pytest.mark.parametrize(
    "change", [{"roam": 1.1}, {"walk": -1}, {"stretch": 0}, {"score_scale": 0}, {"part_rate": 2}]
)
def test_settings_of_families_that_cannot_work_are_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SyntheticSettings(**change)


def test_no_frames_and_no_objects_are_fine():
    for name in ("walking-camera", "sudden-escapes", "turning-look-alikes", "weak-detector"):
        settings = replace(SCENARIOS[name].settings, num_objects=0, num_frames=1)
        video = SyntheticVideo(settings)
        assert len(video.ground_truth(0)) == 0
        assert picture(video, 0).shape == (360, 640, 3)
        assert list(SyntheticVideo(replace(settings, num_frames=0)).frames()) == []
