"""Runs that were kept, made without images: objects that pass one another, and their truth."""

from fractions import Fraction

import numpy as np

from masa_cli.formats.embeddings import EmbeddingsWriter, Kept, finish_embeddings
from masa_cli.structures import Detections, Observation, VideoInfo

RATE = Fraction(25)


def keep_run(folder, name, *, num_frames=110, score=0.9, num_objects=3, facts=None):
    """`<folder>/<name>/embeddings.masa` and `<folder>/truth/<name>.txt`."""
    run, truth = folder / name, folder / "truth" / f"{name}.txt"
    run.mkdir(parents=True)
    truth.parent.mkdir(exist_ok=True)
    info = VideoInfo("video", 640, 480, RATE, 1 / RATE, num_frames)
    path, lines = run / "embeddings.masa", []
    with EmbeddingsWriter(path, Kept(info, ("thing",), facts=facts or {})) as writer:
        for index in range(num_frames):
            boxes = boxes_at(index, num_objects)
            detections = Detections(
                boxes, np.full(num_objects, score, np.float32), np.zeros(num_objects, np.int64)
            )
            embeddings = np.eye(num_objects, 8, dtype=np.float32)
            writer.write(
                Observation(index, index / 25, detections, embeddings, frame_size=(640, 480))
            )
            for number, (left, top, right, bottom) in enumerate(boxes.tolist(), start=1):
                sides = f"{right - left},{bottom - top}"
                lines.append(f"{index + 1},{number},{left},{top},{sides},1,-1,-1,-1\n")
        offset = writer.offset
    finish_embeddings(path, offset, num_frames)
    truth.write_text("".join(lines))
    return run, truth


def boxes_at(index, num_objects):
    """They swing, each at a pace and height of its own."""
    number = np.arange(num_objects)
    left = 300 + 120 * np.sin(index / (40 + 5 * number) + number)
    top = 20.0 + 110 * number
    return np.stack([left, top, left + 40, top + 80], axis=1).astype(np.float32)
