"""Frames of a live source that nobody had time for leave no gaps in the results."""

import time
from fractions import Fraction

import numpy as np

from masa_cli.detectors.from_file import FromFile
from masa_cli.formats.detections import read_detections
from masa_cli.job import TrackJob
from masa_cli.live_run import live_frames
from masa_cli.results import Results
from masa_cli.structures import Frame, VideoInfo
from masa_cli.watch import Watch


class Camera:
    """A hundred frames, whether somebody looks or not."""

    newest_only = True
    info = VideoInfo("camera0", 16, 16, Fraction(100), Fraction(1, 100))

    def frames(self, start=0):
        for index in range(100):
            time.sleep(0.001)
            yield Frame(index, Fraction(index, 100), np.zeros((16, 16, 3), np.uint8))


def test_frames_are_numbered_without_gaps_and_keep_their_times(tmp_path):
    dets = tmp_path / "dets.txt"
    dets.write_text("")
    detector = FromFile(read_detections(dets))
    job = TrackJob(Camera(), detector, Results(tmp_path, "x"), association="motion")
    seen = []
    for frame, _ in live_frames(job, Watch()):
        seen.append(frame)
        time.sleep(0.005)
    assert len(seen) < 60
    assert [frame.index for frame in seen] == list(range(len(seen)))
    ticks = [int(frame.time * 100) for frame in seen]
    assert ticks == sorted(set(ticks))
    assert ticks[-1] == 99
