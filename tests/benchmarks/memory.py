"""Peak memory of tracking a short and a ten times longer video: it must not grow with the video.

    python tests/benchmarks/memory.py [--association motion]

Tracks a synthetic video (192 x 108 pixels, 7 objects) of 2,000 and one of 20,000 frames, each in a
process of its own, through the whole job: rendering, embedding, association, spool, annotated
video, MOT and JSON. Prints both peak resident sizes and their difference (aim: below 40 MB).
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from masa_cli.detectors import given
from masa_cli.jobs.job import Association, Perception, TrackInput, TrackJob
from masa_cli.jobs.outputs import Outputs
from masa_cli.jobs.run import run
from masa_cli.progress import RunProgress
from masa_cli.sources.synthetic import SyntheticSettings, SyntheticVideo

SHORT, LONG = 2_000, 20_000


def track_synthetic(num_frames, association):
    """Peak resident size of this process in MB, after tracking that many frames."""
    video = SyntheticVideo(SyntheticSettings(num_frames=num_frames, width=192, height=108))
    with tempfile.TemporaryDirectory() as folder:
        parts = TrackInput(video), Perception(given(video)), Association(association)
        run(TrackJob(*parts, Outputs(Path(folder), "synthetic")), RunProgress())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--association", default="masa-demo")
    parser.add_argument("--frames", type=int)
    arguments = parser.parse_args()
    if arguments.frames:
        print(track_synthetic(arguments.frames, arguments.association))
        return
    peaks = []
    for num_frames in (SHORT, LONG):
        command = [sys.executable, __file__, "--frames", str(num_frames)]
        start = time.perf_counter()
        output = subprocess.run(
            [*command, "--association", arguments.association],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        peaks.append(float(output))
        rate = num_frames / (time.perf_counter() - start)
        print(f"{num_frames:6} frames: peak {peaks[-1]:7.1f} MB, {rate:.0f} frames/s")
    print(f"difference: {peaks[1] - peaks[0]:.1f} MB, ratio {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
