"""Validation on videos whose boxes are known: does the real tracker keep identities apart?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from masa_cli.errors import SourceError
from masa_cli.evaluation.extras import require
from masa_cli.evaluation.motchallenge import evaluate
from masa_cli.formats.mot import MotRows, MotWriter, read_truth
from masa_cli.models.adapter import Adapter
from masa_cli.sources import Source, open_source
from masa_cli.structures import Detections, Frame
from masa_cli.trackers import build_tracker

ASSOCIATION = "masa-demo"  # appearance alone: what is trained shall decide


@dataclass(frozen=True, slots=True, eq=False)
class KnownVideo:
    """A video and the truth about it.

    Attributes:
        name: of the sequence.
        source: its frames.
        truth: boxes with identities.
    """

    name: str
    source: Source
    truth: MotRows

    def frames(self) -> Iterator[tuple[Frame, Detections]]:
        """The frames that the truth tells of, with its boxes."""
        rows = self.truth
        counted = rows.scores != 0  # the flag of rows that count
        last = int(rows.frames[counted].max())
        for frame in self.source.frames():
            if frame.index > last:
                return
            boxes = rows.boxes[counted & (rows.frames == frame.index)].astype(np.float32)
            yield (
                frame,
                Detections(boxes, np.ones(len(boxes), np.float32), np.zeros(len(boxes), np.int64)),
            )


def find_videos(folder: Path) -> list[KnownVideo]:
    """The sequences in a folder: each a folder with gt/gt.txt and img1, or a video file.

    Raises:
        SourceError: there are none, or one is incomplete.
        SettingsError: what scores them is not installed.
    """
    require("trackeval")
    truths = sorted(folder.glob("*/gt/gt.txt"))
    if not truths:
        raise SourceError(
            f"{folder} holds no sequences", fix="give a folder of <sequence>/gt/gt.txt"
        )
    found = []
    for truth in truths:
        sequence = truth.parents[1]
        rows = read_truth(truth)
        if not (rows.scores != 0).any():
            raise SourceError(f"{truth} has no boxes that count", fix="leave the sequence out")
        found.append(KnownVideo(sequence.name, open_source(_pictures(sequence)), rows))
    return found


def _pictures(sequence: Path) -> Path:
    """The folder of frames of a sequence, or its one video."""
    if (sequence / "img1").is_dir():
        return sequence / "img1"
    files = [
        path
        for path in sequence.iterdir()
        if path.is_file() and path.suffix not in {".ini", ".txt"}
    ]
    if len(files) != 1:
        raise SourceError(
            f"{sequence} has neither img1 nor one video file",
            fix="put its frames into img1, or its video beside gt",
        )
    return files[0]


def score_videos(
    videos: Sequence[KnownVideo], folder: Path, results: Path, adapter: Adapter
) -> dict[str, float]:
    """IDF1 and AssA over all videos, 0 to 1.

    Args:
        videos: of the folder.
        folder: where their truth is.
        results: folder for what the tracker finds.
        adapter: gives the boxes their embeddings.
    """
    results.mkdir(parents=True, exist_ok=True)
    for video in videos:
        tracker = build_tracker(ASSOCIATION, temperature=adapter.temperature)
        with MotWriter(results / f"{video.name}.txt") as writer:
            for frame, detections in video.frames():
                (embeddings,) = adapter.embed([frame], [detections.boxes])
                tracker.see(frame.image, detections.boxes)
                time = float(frame.time)
                writer.write(frame, tracker.update(frame.index, time, detections, embeddings))
    scores = evaluate(folder, results, protocol="mot").combined
    return {"IDF1": scores["IDF1"], "AssA": scores["AssA"]}
