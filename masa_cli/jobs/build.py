"""The networks of a job, put together so that none looks at a frame twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from masa_cli.detectors import Detector
from masa_cli.detectors.filter import FilteredDetector, Selection
from masa_cli.jobs.job import TrackJob
from masa_cli.pipeline import Embedder, NoEmbeddings
from masa_cli.segmenters import Outliner
from masa_cli.structures import State
from masa_cli.tracking import find_tracker

if TYPE_CHECKING:
    from masa_cli.models.adapter import Adapter, SharedNetworks


@dataclass(frozen=True, slots=True)
class Networks:
    """What looks at the frames of a job."""

    detector: Detector
    embedder: Embedder
    outliner: Outliner | None


def build_networks(job: TrackJob, embedder_state: State | None = None) -> Networks:
    """All that the job looks with; the state is of the embedder of an interrupted run.

    Raises:
        MasaError: a file of weights is not what it was taken for.
    """
    from masa_cli.models.adapter import SharedNetworks

    shared = SharedNetworks(
        device=job.device, precision=job.precision, preprocessing=job.preparation, side=job.side
    )
    detector = job.detector.build(shared)
    if job.selection != Selection():
        detector = FilteredDetector(detector, job.selection)
    segmenter = job.segmenter.build(shared) if job.segmenter else None
    embedder = _embedder(job, shared)  # after all that may want more of its backbone
    if embedder_state is not None and not isinstance(embedder, NoEmbeddings):
        embedder.restore(embedder_state)
    outlines = segmenter is not None or job.tightens
    return Networks(
        detector, embedder, Outliner(segmenter, tightens=job.tightens) if outlines else None
    )


def _embedder(job: TrackJob, shared: SharedNetworks) -> Adapter | NoEmbeddings:
    if not find_tracker(job.association).needs_embeddings:
        return NoEmbeddings()
    from masa_cli.models.adapter import build_adapter, resolve

    name, weights = resolve(job.adapter, job.weights_dir)
    return build_adapter(
        name,
        weights=weights,
        pyramid=shared.described(name, weights),
        device=job.device,
        precision=job.precision,
    )
