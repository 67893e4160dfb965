"""A camera, with one made of numbers in the place of OpenCV's."""

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.sources.camera_device import CameraDevice


class Camera:
    """Three pictures in blue, by OpenCV's order of colours."""

    def __init__(self, number):
        self.left, self.released = 3, False
        Camera.last = self

    def isOpened(self):
        return True

    def read(self):
        if not self.left:
            return False, None
        self.left -= 1
        picture = np.zeros((6, 8, 3), np.uint8)
        picture[..., 0] = 200
        return True, picture

    def get(self, _):
        return 0.0  # as cameras do that do not know

    def release(self):
        self.released = True


def test_frames_are_rgb_have_growing_times_and_the_camera_is_released(monkeypatch):
    monkeypatch.setattr("masa_cli.sources.camera_device.cv2.VideoCapture", Camera)
    source = CameraDevice(0)
    assert (source.info.name, source.info.width, source.info.height) == ("camera0", 8, 6)
    assert source.info.frame_rate == 30
    frames = list(source.frames())
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].image[0, 0].tolist() == [0, 0, 200]
    assert frames[0].time < frames[1].time < frames[2].time
    assert Camera.last.released


def test_a_camera_that_is_not_there_is_an_error():
    with pytest.raises(SourceError, match="camera 63 cannot be opened"):
        CameraDevice(63)
