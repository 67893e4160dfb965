"""The networks of a job, put together so that none looks at a frame twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from masa_cli.detectors import Detector
from masa_cli.detectors.filter import FilteredDetector, Selection
from masa_cli.detectors.tiles import TiledDetector
from masa_cli.jobs.job import Perception, TrackJob
from masa_cli.models import SharedNetworks
from masa_cli.pipeline import Embedder, NoEmbeddings
from masa_cli.segmenters import TrackSegmenter
from masa_cli.structures import State

if TYPE_CHECKING:
    from masa_cli.models.adapter import Adapter


@dataclass(frozen=True, slots=True)
class Networks:
    """What looks at the frames of a job.

    Attributes:
        detector: finds boxes.
        embedder: describes them.
        track_segmenter: gives masks; None: nobody wants any.
        ahead: batches to be detected while others go through what follows.
    """

    detector: Detector
    embedder: Embedder
    track_segmenter: TrackSegmenter | None
    ahead: int = 0


def build_networks(
    job: TrackJob,
    embedder_state: State | None = None,
    preparing: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    looks_ahead: bool = False,
) -> Networks:
    """All that the job looks with.

    Args:
        job: what to do.
        embedder_state: of the embedder of an interrupted run.
        preparing: gives what is entered while networks are made ready for a size of frames, with
            the first one that they see.
        looks_ahead: whether frames may be looked at while those before them are not done with, as
            those of a file, unless what is pointed at in one tells where to look in the next.

    Raises:
        MasaError: a file of weights is not what it was taken for.
    """
    seen = job.perception
    ahead = _batches_ahead(job) if looks_ahead else 0
    shared = SharedNetworks(
        device=seen.device,
        precision=job.precision,
        preprocessing=seen.preprocessing,
        side=seen.side,
        runtime=seen.runtime,
        preparing=preparing,
        ahead=ahead,
    )
    detector = seen.detector.build(shared)
    if seen.tiling:
        detector = TiledDetector(detector, seen.tiling, seen.detector.settings.max_boxes)
    if seen.selection != Selection():
        detector = FilteredDetector(detector, seen.selection)
    segmenter = seen.segmenter.build(shared) if seen.segmenter else None
    # After all that may want more of its backbone.
    embedder = _adapter(seen, shared, embedder_state) if job.uses_adapter else NoEmbeddings()
    gives_masks = segmenter is not None or seen.fits_boxes
    track_segmenter = TrackSegmenter(segmenter, fits_boxes=seen.fits_boxes) if gives_masks else None
    return Networks(detector, embedder, track_segmenter, ahead)


def _batches_ahead(job: TrackJob) -> int:
    if not job.networks or job.input.targets:
        return 0
    from masa_cli.models.device import batches_ahead

    seen = job.perception
    return batches_ahead(job.frames_at_once, seen.runtime, seen.device)


def _adapter(seen: Perception, shared: SharedNetworks, state: State | None) -> Adapter:
    from masa_cli.models.adapter import build_adapter

    name, weights = seen.find_adapter()
    adapter = build_adapter(
        name,
        weights=weights,
        pyramid=shared.described(name, weights),
        device=seen.device,
        precision=shared.precision,
    )
    if state is not None:
        adapter.restore(state)
    return adapter
