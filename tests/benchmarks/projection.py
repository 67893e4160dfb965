"""Time of one projection of the history-aware transformation, beside the published eigenproblem.

    python -m tests.benchmarks.projection

Each frame of `masa-hat` fits one, and projects the boxes and the means of its tracks. The published
formulas (a covariance per track, a generalised eigenproblem) are written with numpy and scipy in
float64, as is ours; medians of the same run. The last column: the largest difference of a cosine
after projection.
"""

import time

import numpy as np

from masa_cli.tracking.hat import PRESETS, Projection
from tests.tracking.test_hat import published, remembered, written_out

DIM, RUNS = 256, 5
SETTINGS = PRESETS["masa-hat"]


def median_ms(function):
    function()  # warm-up
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


def cosines(rows):
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def main():
    print("tracks  embeddings   ours ms   published ms   times faster   difference of cosines")
    for num_tracks in (5, 10, 30, 50, 100):
        history = remembered(num_tracks, DIM, num_places=SETTINGS.history_frames)
        boxes = history.embeddings[:, 0]

        def ours(history=history, boxes=boxes):
            return Projection.fit(history, SETTINGS).of(boxes)

        def theirs(history=history, boxes=boxes):
            rows = written_out(history, SETTINGS.history_decay)
            vectors, centre = published(*rows, SETTINGS)
            return (boxes - centre) @ vectors

        own, other = median_ms(ours), median_ms(theirs)
        gap = np.abs(cosines(ours()) - cosines(theirs())).max()
        count = history.lengths.sum()
        print(f"{num_tracks:6} {count:11} {own:9.1f} {other:14.1f} {other / own:14.1f} {gap:23.1e}")


if __name__ == "__main__":
    main()
