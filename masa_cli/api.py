"""masa from Python: the tracks of a video as they are found, or a tracker for a loop of one's own.

Nothing heavy is imported before one of the functions is called.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from masa_cli.detectors import Detector
    from masa_cli.jobs.job import TrackJob
    from masa_cli.structures import FloatArray, Image, IntArray, Tracks
    from masa_cli.tracking import Tracker


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
    association: str | Path = "hybrid",
    adapter: str | None = None,
    settings: Mapping[str, object] | None = None,
    min_score: float | None = None,
    detector: str = "auto",
    names: str | Path | None = None,
    tiles: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    runtime: str = "auto",
    threads: int | None = None,
    weights_dir: Path | None = None,
) -> Generator[TrackedFrame, None, None]:
    """The frames of a video with their tracks, one by one, each as soon as it is tracked.

    Identities are those of a live run (`masa track --jsonl -`): offline refinement needs the
    whole video. All is checked at once; the networks are loaded with the first frame.

    Args:
        source: a video, a folder of images, "-", a camera's number as text, or an address.
        dets: a file of detections, or any object with `classes` (names) and `detect`, which gives
            `Detections` for a list of `Frame`.
        prompt: names of what to find, in place of `dets`: "car, person on a bike:0.4".
        association: "hybrid", "motion", a preset of MASA, or a file of `masa tune`.
        adapter: what makes embeddings, a name or a file; "raw" by default, "gdino" for a prompt.
        settings: changes to the settings of the association, by name.
        min_score: boxes below are ignored.
        detector: what finds a prompt, or without one all classes of its own: a name, a file, or
            "hf:MODEL" and the like, as for `masa track`.
        names: file with the names of its classes, where it does not have them.
        tiles: "2x2" or "auto": parts of the frame that it looks at, too.
        device: auto, cpu, cuda or mps.
        precision: auto, float32, bfloat16 or float16.
        runtime: what computes networks: auto, torch or openvino.
        threads: that networks and OpenCV work with while a frame is tracked; by default as many as
            they have. Between frames all is as the caller has set it.
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
            class_names=Path(names) if names else None,
            tiles=tiles,
            min_score=min_score,
            adapter=adapter,
            association=str(association),
            changes=tuple(f"{name}={value}" for name, value in (settings or {}).items()),
            weights_dir=weights_dir,
            device=device,
            precision=precision,
            runtime=runtime,
            threads=threads,
        )
    )
    job.check()
    return _tracked(job)


def _tracked(job: TrackJob) -> Generator[TrackedFrame, None, None]:
    from masa_cli.jobs.run import live_frames
    from masa_cli.progress import RunProgress
    from masa_cli.threads import limited_steps

    for frame, tracks in limited_steps(live_frames(job, RunProgress()), job.threads):
        yield TrackedFrame(frame.index, float(frame.time), frame.image, tracks, job.classes)


class OnlineTracker:
    """A tracker for a loop of one's own: boxes of each frame in, identities out.

    Args:
        association: a name of TRACKERS.
        tracker: of that name.
        frame_rate: frames per second, where `update` is not told the time.
    """

    def __init__(self, association: str, tracker: Tracker, frame_rate: float) -> None:
        from masa_cli.tracking import find_tracker
        from masa_cli.tracking.camera import CameraMotionEstimator

        self._association, self._tracker, self._frame_rate = association, tracker, frame_rate
        self._row = find_tracker(association)
        self._camera = CameraMotionEstimator() if tracker.uses_camera_motion else None
        self._index, self._time = 0, -float("inf")
        self._dim: int | None = None  # numbers of an embedding; None until boxes have come

    def update(
        self,
        boxes: ArrayLike,
        scores: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        embeddings: ArrayLike | None = None,
        image: Image | None = None,
        time: float | None = None,
    ) -> Tracks:
        """The boxes of the next frame that carry an identity, with it.

        Args:
            boxes: (N, 4) xyxy, pixels.
            scores: (N,).
            labels: (N,) whole numbers, the classes; all are 0 where they are left out.
            embeddings: (N, D) of what the boxes show; without, motion alone decides, where the
                association can do without. Either all frames have them, or none.
            image: (H, W, 3) uint8 RGB; shows how the camera moved, and where the frame ends.
            time: seconds, growing; by the frame rate where it is left out.

        Raises:
            ValueError: an argument has another shape than it must.
            MasaError: the association needs embeddings.
        """
        import numpy as np

        from masa_cli.structures import CameraMotion, Detections, Observation
        from masa_cli.threads import limited

        rows = np.asarray(boxes, np.float32).reshape(-1, 4)
        classes = np.zeros(len(rows)) if labels is None else labels
        detections = Detections(
            rows, np.asarray(scores, np.float32), np.asarray(classes).astype(np.int64)
        )
        if not (np.isfinite(rows).all() and np.isfinite(detections.scores).all()):
            raise ValueError("boxes and scores must be finite numbers")
        motion, size = CameraMotion.identity(), None
        if image is not None:
            size = (image.shape[1], image.shape[0])
            motion = self._camera.update(image, rows) if self._camera else motion
        observation = Observation(
            self._index,
            self._next_time(time),
            detections,
            self._checked(embeddings, len(rows)),
            motion,
            size,
        )
        self._index += 1
        with limited():
            return self._tracker.update(observation).tracks

    def _next_time(self, time: float | None) -> float:
        now = self._index / self._frame_rate if time is None else float(time)
        if now <= self._time:
            raise ValueError(f"time must grow from frame to frame, got {now} after {self._time}")
        self._time = now
        return now

    def _checked(self, embeddings: ArrayLike | None, count: int) -> FloatArray:
        """(N, D) of this frame; D is 0 where there are none."""
        import numpy as np

        from masa_cli.errors import SettingsError

        given = np.empty((count, 0)) if embeddings is None else np.asarray(embeddings)
        found: FloatArray = given.astype(np.float32)
        if not count:
            return np.empty((0, self._dim or 0), np.float32)
        if not found.size and not self._row.works_without_embeddings:
            raise SettingsError(
                f"association {self._association} compares embeddings, but there are none",
                fix="give embeddings=..., or build a tracker that works without: hybrid, motion",
            )
        if found.ndim != 2 or len(found) != count or self._dim not in (None, found.shape[1]):
            expected = "D" if self._dim is None else self._dim
            raise ValueError(f"embeddings must be ({count}, {expected}), got {found.shape}")
        self._dim = found.shape[1]
        return found


def build_tracker(
    association: str | Path = "hybrid",
    *,
    frame_rate: float = 30.0,
    temperature: float = 1.0,
    settings: Mapping[str, object] | None = None,
) -> OnlineTracker:
    """A tracker for a loop of one's own; it reads no files, and needs no torch.

    Identities are those of a live run.

    Args:
        association: "hybrid", "motion", a preset of MASA, or a file of `masa tune`.
        frame_rate: frames per second, where `update` is not told the time.
        temperature: dot products of embeddings are divided by it, by MASA's presets.
        settings: changes to the settings of the association, by name.

    Raises:
        MasaError: there is no such association or setting.
    """
    from masa_cli.formats.preset import preset_for
    from masa_cli.tracking import build_tracker as build

    if not frame_rate > 0:
        raise ValueError(f"frame_rate must be positive, got {frame_rate}")
    preset = preset_for(association)
    own = [f"{name}={value}" for name, value in (settings or {}).items()]
    changes = (*preset.tracker_changes, *own)
    tracker = build(preset.association, changes=changes, temperature=temperature)
    return OnlineTracker(preset.association, tracker, frame_rate)
