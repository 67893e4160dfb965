"""The running mean over frames."""

import numpy as np

from masa_cli.models.scene_mean import MAX_FRAMES, SceneMean


def test_it_is_the_mean_of_all_frames_with_the_newest():
    mean = SceneMean(2)
    np.testing.assert_array_equal(mean.after(np.array([4, -8], np.float32)), [4, -8])
    np.testing.assert_array_equal(mean.after(np.array([0, 0], np.float32)), [2, -4])
    np.testing.assert_array_equal(mean.after(np.array([5, 2], np.float32)), [3, -2])


def test_a_long_video_does_not_stop_it_from_moving():
    mean = SceneMean(1)
    for _ in range(3 * MAX_FRAMES):
        mean.after(np.zeros(1, np.float32))
    assert mean.after(np.ones(1, np.float32))[0] == 1 / MAX_FRAMES


def test_a_mean_given_out_stays_as_it_was():
    mean = SceneMean(1)
    first, state = mean.after(np.ones(1, np.float32)), mean.state()
    mean.after(np.zeros(1, np.float32))
    assert first == 1
    assert state["mean"] == 1


def test_a_restored_mean_goes_on_bit_for_bit():
    generator = np.random.default_rng(0)
    frames = generator.normal(size=(9, 5)).astype(np.float32)
    one, another = SceneMean(5), SceneMean(5)
    for frame in frames[:6]:
        one.after(frame)
    another.restore(one.state())
    for frame in frames[6:]:
        np.testing.assert_array_equal(one.after(frame), another.after(frame))
