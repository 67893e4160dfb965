"""The networks of a job, put together so that none looks at a frame twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from masa_cli.detectors import Detector
from masa_cli.detectors.selected import Selected
from masa_cli.detectors.text_search import TextSearch
from masa_cli.job import TrackJob
from masa_cli.replay import Recording
from masa_cli.selection import Selection
from masa_cli.structures import State
from masa_cli.trackers import MOTION, NoAppearance

if TYPE_CHECKING:
    from masa_cli.models.adapter import Adapter
    from masa_cli.models.frame_features import FrameFeatures

# ruff: noqa: PLC0415 - torch is imported only where a network is wanted


@dataclass(frozen=True, slots=True)
class Assembly:
    """What looks at the frames of a job."""

    detector: Detector
    embedder: Adapter | NoAppearance | Recording


def assemble(job: TrackJob, embedder_state: State | None = None) -> Assembly:
    """All that the job looks with; the state is of the embedder of an interrupted run.

    Raises:
        MasaError: a file of weights is not what it was taken for.
    """
    if job.recording is not None:
        return Assembly(job.recording, job.recording)
    detector, features = _detector(job)
    if job.selection != Selection():
        detector = Selected(detector, job.selection)
    embedder = _embedder(job, features)
    if embedder_state is not None and not isinstance(embedder, NoAppearance):
        embedder.restore(embedder_state)
    return Assembly(detector, embedder)


def _detector(job: TrackJob) -> tuple[Detector, FrameFeatures | None]:
    """The detector, and what its backbone sees, if it has one."""
    if not isinstance(job.detector, TextSearch):
        return job.detector, None
    from masa_cli.detectors.grounding_dino import build_text_detector

    detector = build_text_detector(
        job.detector, device=job.device, precision=job.precision, preparation=job.preparation
    )
    return detector, detector.features


def _embedder(job: TrackJob, features: FrameFeatures | None) -> Adapter | NoAppearance:
    """The adapter; on the detector's own backbone where both are of one file."""
    if job.association == MOTION:
        return NoAppearance()
    from masa_cli.models.adapter import build_adapter, resolve

    name, weights = resolve(job.adapter, job.weights_dir)
    search = job.detector
    is_shared = isinstance(search, TextSearch) and (search.model, search.weights) == (name, weights)
    return build_adapter(
        name,
        weights=weights,
        device=job.device,
        precision=job.precision,
        preparation=job.preparation,
        features=features if is_shared else None,
    )
