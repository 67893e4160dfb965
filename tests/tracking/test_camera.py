import cv2
import numpy as np
import pytest

from masa_cli.tracking.camera import CameraMotion, CameraMotionEstimator

NO_BOXES = np.empty((0, 4), np.float32)
WIDTH, HEIGHT = 1280, 720
EVERYWHERE = np.stack(
    np.meshgrid(np.linspace(0, WIDTH, 9), np.linspace(0, HEIGHT, 7)), axis=-1
).reshape(-1, 2)  # (63, 2) x, y


def texture(seed, height=HEIGHT, width=WIDTH):
    """(H, W, 3) blobs of some 20 pixels, whose corners survive being reduced."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 10, width // 10, 3))
    return (
        cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype("u1")
    )


def similarity(scale=1.0, degrees=0.0, shift=(0.0, 0.0)):
    """(2, 3) about the image's middle, then the shift; in pixels counted from corners."""
    angle = np.radians(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([WIDTH, HEIGHT]) / 2
    return np.column_stack([linear, middle - linear @ middle + shift])


def seen(scene, matrix, offset=0):
    """The scene after the motion; OpenCV counts pixels from their middles, hence the halves.

    A scene larger than the image by `offset` on each side leaves no empty borders.
    """
    linear, shift = matrix[:, :2], matrix[:, 2]
    position = 0.5 - offset
    centred = np.column_stack([linear, linear @ (position, position) + shift - 0.5])
    return cv2.warpAffine(scene, centred, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def moved(points, matrix):
    return points @ matrix[:, :2].T + matrix[:, 2]


def motion_between(first, second, boxes=NO_BOXES):
    watch = CameraMotionEstimator()
    watch.update(first, boxes)
    return watch.update(second, boxes)


def pan(shift, size=400):
    """Two images of one scene, the camera having turned so that all moves by `shift`."""
    scene = texture(1, HEIGHT + 2 * size, WIDTH + 2 * size)
    return tuple(seen(scene, similarity(shift=by), size) for by in ((0, 0), shift))


def is_identity(motion):
    return np.array_equal(motion.matrix, [[1, 0, 0], [0, 1, 0]]) and not motion.moves()


@pytest.mark.parametrize(
    "matrix",
    [
        similarity(shift=(1.5, 0)),
        similarity(shift=(-7.25, 3.5)),
        similarity(shift=(40, -25)),
        similarity(scale=1.01),
        similarity(scale=0.95, shift=(5, 5)),
        similarity(degrees=0.5),
        similarity(degrees=-3, scale=1.03, shift=(-12, 20)),
    ],
)
def test_known_motion_is_recovered(matrix):
    scene = texture(0, HEIGHT + 400, WIDTH + 400)
    motion = motion_between(seen(scene, similarity(), 200), seen(scene, matrix, 200))
    # 0.3 source pixels are 0.075 of the reduced image's, what Lucas-Kanade can do.
    assert np.abs(moved(EVERYWHERE, motion.matrix) - moved(EVERYWHERE, matrix)).max() < 0.3
    assert motion.moves()
    assert not motion.is_cut


def test_linear_part_and_shift_are_those_of_the_matrix():
    # a quarter turn clockwise on the screen, twice as large, then 10 right and 20 down
    motion = CameraMotion(np.array([[0.0, -2, 10], [2, 0, 20]]))
    np.testing.assert_array_equal(motion.linear, [[0, -2], [2, 0]])
    np.testing.assert_array_equal(motion.shift, [10, 20])


def test_matrix_of_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) float64"):
        CameraMotion(np.eye(3))


def test_first_frame_gives_the_identity():
    motion = CameraMotionEstimator().update(texture(0), NO_BOXES)
    assert is_identity(motion)
    assert not motion.is_cut


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_a_still_camera_gives_exactly_the_identity(seed):
    rng = np.random.default_rng(seed)
    watch, scene = CameraMotionEstimator(), texture(seed)
    for _ in range(4):
        noisy = (scene + rng.normal(0, 8, scene.shape)).clip(0, 255).astype(np.uint8)
        motion = watch.update(noisy, NO_BOXES)
        assert is_identity(motion)
        assert not motion.is_cut


def with_object(image, left):
    """The image with a textured object that covers 70 % of it, and the object's box."""
    image = image.copy()
    image[20:700, left : left + 950] = texture(9)[20:700, :950]
    return image, np.array([[left, 20, left + 950, 700]], np.float32)


def test_objects_in_boxes_do_not_disturb_a_still_camera():
    (first, boxes), (second, _) = with_object(texture(2), 100), with_object(texture(2), 130)
    assert is_identity(motion_between(first, second, boxes))
    # the boxes did it: without them the object is taken for the scene
    assert motion_between(first, second).shift[0] == pytest.approx(30, abs=1)


def test_objects_in_boxes_do_not_disturb_a_moving_camera():
    first, second = pan((-14, 6))
    (first, boxes), (second, _) = with_object(first, 100), with_object(second, 130)
    motion = motion_between(first, second, boxes)
    assert np.abs(moved(EVERYWHERE, motion.matrix) - EVERYWHERE - (-14, 6)).max() < 1
    assert motion_between(first, second).shift[0] == pytest.approx(30, abs=1)


@pytest.mark.parametrize("order", [1, -1])
def test_what_an_object_covers_or_uncovers_does_not_disturb(order):
    watch = CameraMotionEstimator()
    for left, top, right, bottom in [(60, 20, 1000, 700), (1100, 300, 1200, 400)][::order]:
        image = texture(2)
        image[top:bottom, left:right] = texture(9)[top:bottom, left:right]
        motion = watch.update(image, np.array([[left, top, right, bottom]], np.float32))
    assert is_identity(motion)


def test_small_objects_without_boxes_do_not_disturb():
    first, second = pan((10, 0))
    first[300:500, 300:500] = second[300:500, 270:470] = texture(3)[:200, :200]
    motion = motion_between(first, second)
    assert np.abs(moved(EVERYWHERE, motion.matrix) - EVERYWHERE - (10, 0)).max() < 0.3


def test_boxes_outside_the_image_and_empty_ones_are_harmless():
    first, second = pan((10, 0))
    boxes = np.array(
        [[-500, -500, -100, -100], [5000, 0, 6000, 90], [40, 40, 40, 40], [90, 90, 20, 20]],
        np.float32,
    )
    motion = motion_between(first, second, boxes)
    np.testing.assert_array_equal(motion.matrix, motion_between(first, second).matrix)


def test_box_over_the_whole_image_gives_the_identity():
    first, second = pan((30, 0))
    motion = motion_between(first, second, np.array([[-9, -9, 1300, 800]], np.float32))
    assert is_identity(motion)
    assert not motion.is_cut


def test_cut_is_noticed_once():
    watch = CameraMotionEstimator()
    dark, bright = texture(4) // 2, 128 + texture(5) // 2
    motions = [watch.update(image, NO_BOXES) for image in (dark, dark, bright, bright)]
    assert [motion.is_cut for motion in motions] == [False, False, True, False]
    assert all(is_identity(motion) for motion in motions)


@pytest.mark.parametrize("shift", [(120, 0), (-250, 60), (0, 200), (380, -50)])
def test_fast_pan_is_followed_and_is_no_cut(shift):
    motion = motion_between(*pan(shift))
    assert not motion.is_cut
    assert np.abs(moved(EVERYWHERE, motion.matrix) - EVERYWHERE - shift).max() < 1


def test_flash_is_no_cut():
    scene = texture(6)
    flash = (scene / 3 + 170).astype(np.uint8)
    watch = CameraMotionEstimator()
    for image in (scene // 2, flash, scene // 2):
        motion = watch.update(image, NO_BOXES)
        assert not motion.is_cut
        np.testing.assert_allclose(moved(EVERYWHERE, motion.matrix), EVERYWHERE, atol=1)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_blank_images_give_the_identity(grey):
    blank = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    motion = motion_between(blank, blank)
    assert is_identity(motion)
    assert not motion.is_cut


def test_going_blank_and_coming_back_are_cuts():
    blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert motion_between(texture(0), blank).is_cut
    assert motion_between(blank, texture(0)).is_cut


@pytest.mark.parametrize(
    "shape", [(0, 0), (1, 1), (8, 8), (31, 200), (32, 32), (3000, 40), (40, 3000)]
)
def test_tiny_and_narrow_images_do_not_crash(shape):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, *shape, 3), np.uint8)
    motion = motion_between(first, second, np.array([[1, 1, 5, 5]], np.float32))
    assert np.isfinite(motion.matrix).all()


def test_small_image_is_not_reduced():
    image = texture(7, 60, 80)
    watch = CameraMotionEstimator()
    watch.update(image, NO_BOXES)
    assert watch.state()["image"].shape == (60, 80)
    motion = motion_between(image[:, 3:], image[:, :-3])
    assert motion.shift == pytest.approx((3, 0), abs=0.3)


@pytest.mark.parametrize("size", [(1280, 720), (1278, 718), (1279, 719), (639, 359), (641, 361)])
def test_every_size_is_measured_in_its_own_pixels(size):
    linear = similarity(degrees=1, scale=1.02)[:, :2]  # about the upper left corner
    first, second = (
        cv2.resize(seen(texture(0, HEIGHT + 400, WIDTH + 400), matrix, 200), size)
        for matrix in (similarity(), np.column_stack([linear, (-15, 0)]))
    )
    shift = np.array((-15, 0)) * size[0] / WIDTH
    motion = motion_between(first, second)
    # sizes of another shape squeeze the image by 0.1 %, a pixel at most
    np.testing.assert_allclose(motion.shift, shift, atol=0.3)
    np.testing.assert_allclose(motion.linear, linear, atol=0.001)


def test_other_size_is_a_cut():
    assert motion_between(texture(0), texture(0, 720, 720)).is_cut


def walk(num_frames):
    """Images of a camera that shakes, stops and cuts, with boxes."""
    rng = np.random.default_rng(8)
    scenes = [texture(8, HEIGHT + 200, WIDTH + 200), texture(9, HEIGHT + 200, WIDTH + 200) // 3]
    for index in range(num_frames):
        shift = rng.uniform(-60, 60, 2) if index % 3 else (0, 0)
        corner = rng.uniform(0, 600, (5, 2))
        boxes = np.concatenate([corner, corner + 80], axis=1).astype(np.float32)
        yield seen(scenes[index > num_frames // 2], similarity(shift=shift), 100), boxes


def test_restored_watch_goes_on_bitwise():
    frames = list(walk(8))
    straight = CameraMotionEstimator()
    expected = [straight.update(*frame) for frame in frames]
    assert sum(motion.moves() for motion in expected) > 4
    assert sum(motion.is_cut for motion in expected) == 1
    for stop in range(len(frames) + 1):
        first, second = CameraMotionEstimator(), CameraMotionEstimator()
        for frame in frames[:stop]:
            first.update(*frame)
        second.restore({name: array.copy() for name, array in first.state().items()})
        for frame, wanted in zip(frames[stop:], expected[stop:], strict=True):
            motion = second.update(*frame)
            assert motion.matrix.tobytes() == wanted.matrix.tobytes()
            assert motion.is_cut == wanted.is_cut


def test_state_is_not_changed_by_later_frames():
    watch = CameraMotionEstimator()
    frames = list(walk(3))
    watch.update(*frames[0])
    state = watch.state()
    kept = {name: array.copy() for name, array in state.items()}
    frames[0][1][:] = 0
    watch.update(*frames[1])
    for name, array in state.items():
        np.testing.assert_array_equal(array, kept[name])


def test_result_depends_on_no_other_random_numbers():
    first, second = texture(8), seen(texture(8), similarity(degrees=2, shift=(30, 9)))
    results = []
    for seed in (0, 1, 12345):
        cv2.setRNGSeed(seed)
        cv2.randu(np.empty((50, 50), np.uint8), 0, 255)
        results.append(motion_between(first, second).matrix.tobytes())
    assert len(set(results)) == 1
    for threads in (1, 2):
        before = cv2.getNumThreads()
        try:
            cv2.setNumThreads(threads)
            assert motion_between(first, second).matrix.tobytes() == results[0]
        finally:
            cv2.setNumThreads(before)


def test_images_are_left_alone():
    first, second = pan((10, 0))
    copies = first.copy(), second.copy()
    motion_between(first, second)
    np.testing.assert_array_equal(first, copies[0])
    np.testing.assert_array_equal(second, copies[1])
