"""What it costs to link many videos, of made-up embeddings: `masa link`.

    python -m tests.benchmarks.many_videos FOLDER [--videos 1000] [--tracks 12]
    masa link FOLDER/runs -o FOLDER/together

Of a pool of objects each video shows some, under the light of a camera of its own. The second
command is the one to be timed (its memory: /usr/bin/time -v).
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np

from masa_cli.formats.embeddings import EmbeddingsWriter, Kept, finish_embeddings
from masa_cli.formats.jsonl import TracksWriter
from masa_cli.structures import CameraMotion, Detections, Frame, Observation, Tracks, VideoInfo
from masa_cli.tracking.appearance import normalised

DIM, NUM_FRAMES, RATE = 128, 15, Fraction(10)
FACTS = {"adapter": "raw", "adapter weights": ""}


def write_run(folder: Path, objects: np.ndarray, seed: int) -> None:
    """Objects (N, DIM) side by side."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    count = len(objects)
    info = VideoInfo(folder.name, 1920, 1080, RATE, 1 / RATE, NUM_FRAMES)
    camera = 0.3 * rng.normal(size=DIM)
    left = 100.0 * np.arange(count, dtype=np.float32)
    zeros, ones = np.zeros(count, np.float32), np.ones(count, np.float32)
    boxes = np.stack([left, zeros, left + 60, zeros + 120], axis=1)
    labels, ids = np.zeros(count, np.int64), np.arange(1, count + 1)
    path = folder / "embeddings.masa"
    with (
        EmbeddingsWriter(path, Kept(info, ("person",), facts=FACTS)) as writer,
        TracksWriter(folder / "tracks.jsonl", ("person",)) as tracks,
    ):
        for index in range(NUM_FRAMES):
            seen = objects + camera + 0.5 * rng.normal(size=objects.shape)
            observation = Observation(
                index,
                index / 10,
                Detections(boxes, ones, labels),
                normalised(seen.astype(np.float32)),
                CameraMotion(np.eye(2, 3), is_cut=False),
                (1920, 1080),
            )
            writer.write(observation)
            frame = Frame.without_image(index, Fraction(index, 10))
            tracks.write(frame, Tracks(boxes, ones, labels, ids))
        offset = writer.offset
    finish_embeddings(path, offset, NUM_FRAMES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--tracks", type=int, default=12)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(3000, DIM))
    for number in range(options.videos):
        shown = pool[rng.choice(len(pool), options.tracks, replace=False)]
        write_run(options.folder / "runs" / f"cam{number:04d}", shown, number)


if __name__ == "__main__":
    main()
