"""Time of one association step: N boxes against at least as many remembered tracks, 256-d.

    python tests/benchmarks/association.py

Prints milliseconds per frame (median of the runs after a warm-up) and, in the same run, the ratio
to a matrix product of the same size, which tells a slow machine from slow code. The reference's own
figures on two cores, from a Python loop over torch tensors: 6.3 / 14.6 / 27 / 301 ms for the TAO
tracker and 15.7 / 53 / 61 / 207 ms for the BDD tracker at 10 / 50 / 100 / 300 boxes; it has nothing
like `hybrid`.
"""

import time
from dataclasses import replace

import numpy as np

from masa_cli.structures import Detections, Observation
from masa_cli.tracking.hybrid import HybridSettings, HybridTracker
from masa_cli.tracking.masa import PRESETS, MasaTracker

REFERENCE = {
    "masa-demo": {10: 6.3, 50: 14.6, 100: 27.0, 300: 301.0},
    "masa-bdd": {10: 15.7, 50: 53.0, 100: 61.0, 300: 207.0},
}
SIZES = ((10, 10), (50, 50), (50, 80), (100, 100), (300, 300), (300, 1000))
DIM, WARM_UP, RUNS = 256, 10, 200
WIDTH, HEIGHT, FRAME_SECONDS = 1920, 1080, 0.04
FIRST = 5  # frames in which all are seen, and confirmed
BIRTH_SCORE = 0.95  # only the first frames' boxes reach it, so the number of tracks stays put


def make_frames(generator, means, num_boxes, num_frames):
    """Objects scattered over an HD frame, each with its embedding plus noise, in random order."""
    corners = generator.uniform((0, 0), (WIDTH - 100, HEIGHT - 100), (len(means), 2))
    for _ in range(num_frames):
        who = generator.permutation(len(means))[:num_boxes]
        corner = corners[who] + generator.normal(0, 2, (num_boxes, 2))
        boxes = np.concatenate([corner, corner + np.array((20, 45))], axis=1).astype(np.float32)
        scores = generator.uniform(0.3, BIRTH_SCORE, num_boxes).astype(np.float32)
        noise = generator.normal(0, 0.3, (num_boxes, DIM))
        yield (
            Detections(boxes, scores, np.zeros(num_boxes, np.int64)),
            (means[who] + noise).astype(np.float32),
        )


def build(preset):
    if preset in PRESETS:
        return MasaTracker(replace(PRESETS[preset], memory_frames=10**6, birth_score=BIRTH_SCORE))
    forever = HybridSettings(birth_score=BIRTH_SCORE, memory_seconds=1e4, camera_motion=False)
    return HybridTracker(forever)


def observation(index, detections, embeddings):
    time_ = index * FRAME_SECONDS
    return Observation(index, time_, detections, embeddings, frame_size=(WIDTH, HEIGHT))


def time_updates(preset, num_boxes, num_tracks):
    """Seconds of each update, and of the bare matrix product of the same size."""
    generator = np.random.default_rng(0)
    means = generator.normal(0, 0.5, (num_tracks, DIM))
    tracker = build(preset)
    places = generator.bit_generator.state  # the same for the first frames and for all others
    first, embeddings = next(make_frames(generator, means, num_tracks, 1))
    certain = Detections(first.boxes, np.ones(num_tracks, np.float32), first.labels)
    for index in range(FIRST):
        tracker.update(observation(index, certain, embeddings))
    remembered = embeddings.T
    updates, products = [], []
    generator.bit_generator.state = places
    frames = make_frames(generator, means, num_boxes, WARM_UP + RUNS)
    for index, (detections, embeddings) in enumerate(frames, start=FIRST):
        start = time.perf_counter()
        tracks = tracker.update(observation(index, detections, embeddings)).tracks
        middle = time.perf_counter()
        embeddings @ remembered
        products.append(time.perf_counter() - middle)
        updates.append(middle - start)
    assert len(tracks) > num_boxes / 2, "nothing was joined: this would time an idle tracker"
    return np.array(updates[WARM_UP:]), np.array(products[WARM_UP:])


def main():
    print("preset            boxes  tracks   median ms   10-90 %        x product   reference x")
    for preset in (*REFERENCE, "hybrid"):
        reference = REFERENCE.get(preset, {})
        for num_boxes, num_tracks in SIZES:
            updates, products = time_updates(preset, num_boxes, num_tracks)
            low, median, high = np.percentile(updates * 1e3, (10, 50, 90))
            ratio = np.median(updates) / np.median(products)
            known = reference.get(num_boxes) if num_boxes == num_tracks else None
            versus = f"{known / median:10.0f}" if known else "         -"
            print(
                f"{preset:16} {num_boxes:6} {num_tracks:7} {median:10.2f}  "
                f"{low:6.2f}-{high:6.2f} {ratio:12.1f} {versus}"
            )


if __name__ == "__main__":
    main()
