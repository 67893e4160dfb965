"""masa from Python: tracks of each frame as they are found.

Nothing heavy is imported before `track` is called.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masa_cli.detectors import Detector
    from masa_cli.jobs.job import TrackJob
    from masa_cli.structures import FloatArray, Image, IntArray, Tracks


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFrame:
    """One frame and what is tracked in it.

    Attributes:
        index: of the frame, from 0.
        time: seconds.
        image: (H, W, 3) uint8 RGB; (0, 0, 3) where there are no pictures.
        tracks: boxes, ids, scores and labels.
        classes: names that labels index.
    """

    index: int
    time: float
    image: Image
    tracks: Tracks
    classes: tuple[str, ...]

    @property
    def boxes(self) -> FloatArray:
        """(N, 4) float32 xyxy in pixels of the image."""
        return self.tracks.boxes

    @property
    def ids(self) -> IntArray:
        """(N,) identities, from 1."""
        return self.tracks.ids

    @property
    def scores(self) -> FloatArray:
        """(N,) float32."""
        return self.tracks.scores

    @property
    def names(self) -> list[str]:
        """(N,) the name of each class."""
        return [self.classes[label] for label in self.tracks.labels]

    def __len__(self) -> int:
        return len(self.tracks)


def track(
    source: str | Path,
    *,
    dets: str | Path | Detector | None = None,
    prompt: str | None = None,
    association: str = "hybrid",
    adapter: str | None = None,
    settings: Mapping[str, object] | None = None,
    min_score: float | None = None,
    detector: str = "auto",
    device: str = "auto",
    precision: str = "float32",
    weights_dir: Path | None = None,
) -> Generator[TrackedFrame, None, None]:
    """The frames of a video with their tracks, one by one, each as soon as it is tracked.

    Identities are those of a live run (`masa track --jsonl -`): the second look needs the whole
    video. All is checked at once; the networks are loaded with the first frame.

    Args:
        source: a video, a folder of images, "-", a camera's number as text, or an address.
        dets: a file of detections, or any object with `classes` (names) and `detect`, which gives
            `Detections` for a list of `Frame`.
        prompt: names of what to find, in place of `dets`: "car, person on a bike:0.4".
        association: "hybrid", "motion" or a preset of MASA.
        adapter: what makes embeddings, a name or a file; "raw" by default, "gdino" for a prompt.
        settings: changes to the settings of the association, by name.
        min_score: boxes below are ignored.
        detector: what finds a prompt.
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.
        weights_dir: folder of weights.

    Raises:
        MasaError: something is wrong with what is given; its `fix` says how to go on.
    """
    from masa_cli.jobs.plan import Options, plan_job

    job = plan_job(
        Options(
            source=source,
            dets=Path(dets) if isinstance(dets, str) else dets,
            prompt=prompt,
            detector=detector,
            min_score=min_score,
            adapter=adapter,
            association=association,
            changes=tuple(f"{name}={value}" for name, value in (settings or {}).items()),
            weights_dir=weights_dir,
            device=device,
            precision=precision,
        )
    )
    job.check()
    return _tracked(job)


def _tracked(job: TrackJob) -> Generator[TrackedFrame, None, None]:
    from masa_cli.jobs.run import live_frames
    from masa_cli.progress import RunProgress

    for frame, tracks in live_frames(job, RunProgress()):
        yield TrackedFrame(
            frame.index, float(frame.time), frame.image, tracks, job.detector.classes
        )
