"""The networks of a job, put together so that none looks at a frame twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from masa_cli.detectors import Detector
from masa_cli.detectors.filter import Selected, Selection
from masa_cli.detectors.request import MODEL, ClassSearch, Everything, TextSearch
from masa_cli.formats.embeddings import EmbeddingsReader
from masa_cli.jobs.choose import LEARNED
from masa_cli.jobs.job import TrackJob
from masa_cli.pipeline import Embedder, NoEmbeddings
from masa_cli.segmenters import Outliner, Segmenter
from masa_cli.segmenters.grabcut import GrabCutSegmenter
from masa_cli.structures import State
from masa_cli.tracking import find_tracker

if TYPE_CHECKING:
    from masa_cli.models.adapter import Adapter
    from masa_cli.models.features import FrameFeatures, Pyramid


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
    shared = _Shared(job)
    detector = _detector(job, shared)
    if job.selection != Selection():
        detector = Selected(detector, job.selection)
    segmenter = _segmenter(job, shared)
    embedder = _embedder(job, shared)  # after all that may want more of its backbone
    if embedder_state is not None and not isinstance(embedder, NoEmbeddings):
        embedder.restore(embedder_state)
    outlines = segmenter is not None or job.tightens
    return Networks(
        detector, embedder, Outliner(segmenter, tightens=job.tightens) if outlines else None
    )


class _Shared:
    """Backbones, and fused maps behind them: built for who asks first, shared by all others."""

    def __init__(self, job: TrackJob) -> None:
        self.device, self.precision = job.device, job.precision
        self.preparation, self.side = job.preparation, job.side
        self.backbones: dict[tuple[str, Path | None], FrameFeatures] = {}
        self._pyramids: dict[tuple[str, Path | None], Pyramid] = {}

    def backbone(self, name: str, weights: Path | None) -> FrameFeatures:
        """Of a variant of the adapter or of Segment Anything."""
        if (name, weights) not in self.backbones:
            self.backbones[name, weights] = self._build(name, weights)
        return self.backbones[name, weights]

    def pyramid(self, name: str, weights: Path | None) -> Pyramid:
        """Of a variant of the adapter."""
        if (name, weights) not in self._pyramids:
            from masa_cli.models.adapter import build_pyramid

            features = self.backbone(name, weights)
            self._pyramids[name, weights] = build_pyramid(
                name, features, weights=weights, device=self.device, precision=self.precision
            )
        return self._pyramids[name, weights]

    def described(self, name: str, weights: Path | None) -> Pyramid:
        """The maps that a variant describes boxes on."""
        from masa_cli.models.features import Pyramid
        from masa_cli.models.trained_weights import variant_in

        if variant_in(name, weights).reads == "fused":
            return self.pyramid(name, weights)
        if (name, weights) not in self.backbones:  # nobody else will want the rest of it
            self.backbones[name, weights] = self._build(name, weights, whole=False)
        return Pyramid.unfused(self.backbone(name, weights))

    def _build(self, name: str, weights: Path | None, *, whole: bool = True) -> FrameFeatures:
        from masa_cli.models.adapter import build_features
        from masa_cli.models.sam import build_sam_features
        from masa_cli.models.variants import VARIANTS

        if name in VARIANTS:
            return build_features(
                name,
                weights=weights,
                preparation=self.preparation,
                side=self.side,
                whole=whole,
                device=self.device,
                precision=self.precision,
            )
        if weights is None:
            raise ValueError(f"{name} cannot be built without its weights")
        return build_sam_features(
            name, weights=weights, device=self.device, precision=self.precision
        )


def _detector(job: TrackJob, shared: _Shared) -> Detector:
    search = job.detector
    if isinstance(search, TextSearch):
        from masa_cli.detectors.grounding_dino import build_text_detector

        detector = build_text_detector(
            search,
            preparation=job.preparation,
            side=job.side,
            device=job.device,
            precision=job.precision,
        )
        shared.backbones[search.model, search.weights] = detector.features
        return detector
    if isinstance(search, ClassSearch) or (
        isinstance(search, Everything) and search.model == MODEL
    ):
        from masa_cli.detectors.lite import build_class_detector

        pyramid = shared.pyramid(MODEL, search.weights)
        return build_class_detector(search, pyramid, device=job.device, precision=job.precision)
    if isinstance(search, Everything):
        if search.proposals == "grid":
            from masa_cli.detectors.class_agnostic import build_grid_detector

            features = shared.backbone(search.model, search.weights)
            return build_grid_detector(search, features)
        from masa_cli.detectors.class_agnostic import build_object_detector

        pyramid = shared.pyramid(search.model, search.weights)
        return build_object_detector(search, pyramid, device=job.device, precision=job.precision)
    if isinstance(search, EmbeddingsReader):
        raise TypeError("a recording needs no detector")
    return search


def _embedder(job: TrackJob, shared: _Shared) -> Adapter | NoEmbeddings:
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


def _segmenter(job: TrackJob, shared: _Shared) -> Segmenter | None:
    plan = job.segmenter
    if plan is None:
        return None
    if plan.weights is None:
        return GrabCutSegmenter()
    if plan.name == LEARNED:
        from masa_cli.segmenters.networks import build_learned_segmenter

        pyramid = shared.pyramid(plan.name, plan.weights)
        return build_learned_segmenter(plan.name, plan.weights, pyramid)
    from masa_cli.segmenters.networks import build_sam_segmenter

    return build_sam_segmenter(plan.name, plan.weights, shared.backbone(plan.name, plan.weights))
