"""A tracking job as data, in four parts: input, perception, association, outputs.

`TrackJob.check` tells what cannot work before anything heavy is loaded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from masa_cli import __version__, formats
from masa_cli.detectors import GIVEN, DetectorRequest
from masa_cli.detectors.filter import Selection
from masa_cli.detectors.tiles import Tiling
from masa_cli.errors import SettingsError
from masa_cli.formats.embeddings import EmbeddingsReader
from masa_cli.formats.files import fingerprint
from masa_cli.formats.preset import OF_LINKING, is_of_linking
from masa_cli.formats.tables import DetectionTable
from masa_cli.jobs.outputs import Outputs
from masa_cli.models.variants import VARIANTS, find_variant
from masa_cli.pipeline import Refinement
from masa_cli.segmenters import SegmenterRequest
from masa_cli.settings import with_changes
from masa_cli.sources import Source
from masa_cli.tracking import DEFAULT, DEFAULT_WITHOUT_IMAGES, Tracker, build_tracker, find_tracker
from masa_cli.tracking.linking import LinkingSettings
from masa_cli.tracking.targets import Target


@dataclass(frozen=True, slots=True)
class TrackInput:
    """What is tracked.

    Attributes:
        source: frames, with images or without.
        origin: file of the source, whose sound goes into the annotated video.
        files: files and folders that are read, and must not be overwritten.
        facts: what else the boxes depend on, by name, for --resume.
        recording: what an earlier run observed; then no network is asked, `source` is only drawn.
        table: the boxes, where all of those of a file are tracked.
        targets: what was pointed at, and is all that is tracked; none: everything is.
    """

    source: Source
    origin: Path | None = None
    files: tuple[Path, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    recording: EmbeddingsReader | None = None
    table: DetectionTable | None = None
    targets: tuple[Target, ...] = ()

    @property
    def has_images(self) -> bool:
        """Whether the frames can be looked at."""
        return self.source.info.width > 0


@dataclass(frozen=True, slots=True)
class Perception:
    """How frames are seen: by a detector, an adapter and perhaps a segmenter.

    Attributes:
        detector: what finds the boxes; it is loaded when all is checked.
        selection: which of the boxes are tracked at all.
        adapter: of embeddings, a variant's name or a file; not used by trackers that need none.
        weights_dir: folder of weights, where the user named one.
        segmenter: what finds masks, for boxes that have none; None: nothing does.
        fits_boxes: whether boxes are fitted to their masks.
        preprocessing: how frames become network inputs, a name in `variants.PREPROCESSINGS`.
        side: pixels of the longer side of frames as networks see them; None: their defaults.
        device: auto, cpu, cuda or mps.
        precision: auto, float32, bfloat16 or float16; `TrackJob.precision` says what auto is.
        runtime: auto, torch or openvino.
        batch_size: frames per forward pass.
        tiling: how frames are divided for the detector; None: it looks at them as a whole.
    """

    detector: DetectorRequest
    selection: Selection = field(default_factory=Selection)
    adapter: str = "raw"
    weights_dir: Path | None = None
    segmenter: SegmenterRequest | None = None
    fits_boxes: bool = False
    preprocessing: str = "demo"
    side: int | None = None
    device: str = "auto"
    precision: str = "auto"
    runtime: str = "torch"
    batch_size: int = 1
    tiling: Tiling | None = None

    @property
    def has_masks(self) -> bool:
        """Whether tracks get masks, found or given."""
        return self.segmenter is not None or self.detector.has_masks

    def find_adapter(self) -> tuple[str, Path | None]:
        """Variant and weights of the adapter; raises what `models.adapter.resolve` raises."""
        from masa_cli.models.adapter import resolve

        return resolve(self.adapter, self.weights_dir)


@dataclass(frozen=True, slots=True)
class Association:
    """How boxes become tracks.

    Attributes:
        name: of a row of `tracking.TRACKERS`.
        changes: "name=value" changes to its settings, or to those of the offline refinement.
        refine: whether the whole video is refined offline, where the tracker allows it.
        min_track_length: identities seen in fewer frames are left out.
        clean_up: whether whole-video clean-up is wanted.
    """

    name: str = DEFAULT
    changes: tuple[str, ...] = ()
    refine: bool = True
    min_track_length: int = 1
    clean_up: bool = False

    @property
    def needs_embeddings(self) -> bool:
        """Whether boxes are compared by appearance."""
        return find_tracker(self.name).needs_embeddings

    @property
    def refinement(self) -> Refinement:
        """What is done with the tracks of the whole video; SettingsError for wrong changes."""
        refines = self.refine and find_tracker(self.name).is_refinable
        return Refinement(
            linking=self.linking_settings if refines else None,
            min_track_length=self.min_track_length,
            clean_up=self.clean_up,
        )

    @property
    def tracker_changes(self) -> tuple[str, ...]:
        """Changes to the settings of the tracker."""
        return tuple(change for change in self.changes if not is_of_linking(change))

    @property
    def linking_settings(self) -> LinkingSettings:
        """Of the offline refinement; SettingsError for changes that cannot be made."""
        changes = [change.partition(".")[2] for change in self.changes if is_of_linking(change)]
        return with_changes(LinkingSettings(), changes)

    def build_tracker(self, temperature: float = 1.0) -> Tracker:
        """The tracker, for embeddings of that temperature; SettingsError if there is none such."""
        return build_tracker(self.name, changes=self.tracker_changes, temperature=temperature)

    def check(self) -> None:
        """Raise SettingsError for a tracker or settings that there are not."""
        self.build_tracker()
        if self.linking_settings != LinkingSettings() and self.refinement.linking is None:
            raise SettingsError(
                f"nothing is refined offline, so --set {OF_LINKING}NAME=VALUE changes nothing",
                fix=f"leave them out, or use --association {DEFAULT} without --no-refine",
            )


@dataclass(frozen=True, slots=True)
class TrackJob:
    """What to track, how, and where the results go.

    Attributes:
        input: what is tracked.
        perception: how frames are seen.
        association: how boxes become tracks.
        outputs: what is written.
        threads: that each library works with (torch, OpenCV, FFmpeg); None: its default.
    """

    input: TrackInput
    perception: Perception
    association: Association
    outputs: Outputs
    threads: int | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index: those of what is detected, then of what was pointed at."""
        return (*self.perception.detector.classes, *(each.name for each in self.input.targets))

    @property
    def uses_adapter(self) -> bool:
        """Whether embeddings are made in this run."""
        return self.association.needs_embeddings and self.input.recording is None

    @property
    def weights(self) -> tuple[Path, ...]:
        """All files of weights that are loaded, each once."""
        seen = self.perception
        detector, masks = seen.detector.files, seen.segmenter
        segmenter = (masks.weights, *masks.further) if masks else ()
        adapter = seen.find_adapter()[1] if self.uses_adapter else None
        return tuple(dict.fromkeys(path for path in (*detector, adapter, *segmenter) if path))

    @property
    def precision(self) -> str:
        """What networks compute in: what was asked for, or what auto is for them here."""
        seen = self.perception
        if seen.precision != "auto":
            return seen.precision
        if not self.networks:
            return "float32"
        from masa_cli.models.device import quickest_precision

        return quickest_precision(self.networks, seen.runtime, seen.device)

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of variants or detectors: what looks at frames, beside what a plug-in does."""
        row = self.perception.detector.row
        return (*(() if row is GIVEN else (row.weights or row.name,)), *self._beside_detector)

    @property
    def frames_at_once(self) -> int:
        """That all who look at frames are quick to look at side by side, on cores of a CPU."""
        row = self.perception.detector.row
        # A detector of one's own may not be made for several threads.
        detector = row.frames_at_once if row is not GIVEN or self.input.table else 1
        others = [VARIANTS.get(name) for name in self._beside_detector]
        return min([detector, *(other.frames_at_once if other else 1 for other in others)])

    @property
    def _beside_detector(self) -> tuple[str, ...]:
        """Names of the networks of adapter and segmenter."""
        seen = self.perception
        adapter = (seen.find_adapter()[0],) if self.uses_adapter else ()
        segmenter = (seen.segmenter.name,) if seen.segmenter and seen.segmenter.weights else ()
        return (*adapter, *segmenter)

    @property
    def conditions(self) -> dict[str, str]:
        """All that the tracks depend on: a run can be resumed only with the same."""
        seen, association = self.perception, self.association
        own = {
            "adapter": seen.adapter,
            "preprocessing": seen.preprocessing,
            "side": seen.side,
            "association": association.name,
            "changes": association.changes,
            "device": seen.device,
            "precision": self.precision,
            "runtime": seen.runtime,
            "batch_size": seen.batch_size,
            "tiles": seen.tiling,
            "segmenter": seen.segmenter,
            "fits_boxes": seen.fits_boxes,
            "refine": association.refinement,
            "--save-embeddings": self.outputs.wants_embeddings,
            "wanted boxes": seen.selection,
            "gallery": self.outputs.gallery,
        }
        files = {str(path): fingerprint(path) for path in self.input.files}
        video = {f"video: {name}": each for name, each in asdict(self.input.source.info).items()}
        every = {"masa": __version__, **files, **video, **dict(self.input.facts), **own}
        return {name: str(each) for name, each in every.items()}

    def check(self) -> None:
        """Raise SettingsError for what cannot work, before anything heavy is loaded."""
        seen = self.perception
        self.association.check()
        formats.check_formats(self.outputs.also, self.input.source.info)
        seen.selection.check(seen.detector.classes)
        if self.association.clean_up:
            self._check_images(
                "clean-up measures boxes against the size of the image", "--clean-up"
            )
        self._check_masks()
        self._check_kept()
        has_weights = seen.detector.weights or (seen.segmenter and seen.segmenter.weights)
        if has_weights or self.uses_adapter:
            self._check_placement()
        if not self.uses_adapter:
            return
        if not self.input.has_images:
            raise SettingsError(
                f"association {self.association.name} compares appearance, but there are no images",
                fix="give the video or the folder of frames as well, or use --association "
                f"{DEFAULT_WITHOUT_IMAGES}",
            )
        find_variant(seen.find_adapter()[0]).preprocess_as(seen.preprocessing, seen.side)

    def _check_placement(self) -> None:
        """Raise SettingsError for a device, precision or runtime that this machine lacks."""
        from masa_cli.models.device import choose_placement
        from masa_cli.models.runtime import choose_runtime

        seen = self.perception
        choose_runtime(seen.runtime, choose_placement(seen.device, self.precision)[0])

    def check_live(self) -> None:
        """Raise SettingsError for what is wanted that needs the whole video."""
        unfit = {
            "--clean-up": self.association.clean_up,
            "--min-track-length": self.association.min_track_length > 1,
            "--save-embeddings": self.outputs.wants_embeddings,
        }
        for option in [option for option, is_wanted in unfit.items() if is_wanted]:
            raise SettingsError(
                f"{option} needs the whole video, but its frames are finished one by one",
                fix=f"leave out {option}, or track a file",
            )

    def _check_images(self, why: str, options: str) -> None:
        if not self.input.has_images:
            raise SettingsError(
                f"{why}, but there are no images",
                fix=f"give the video or the folder of frames as well, or leave out {options}",
            )

    def _check_kept(self) -> None:
        """Embeddings can be kept only where there are some, and masks are not kept with them."""
        if not self.outputs.keeps_embeddings:
            return
        if self.perception.has_masks and self.outputs.wants_embeddings:
            raise SettingsError(
                "masks are not kept with embeddings, and would be missing after masa retrack",
                fix="leave out --save-embeddings, or the masks",
            )
        if not self.association.needs_embeddings:
            raise SettingsError(
                f"association {self.association.name} makes no embeddings that could be kept",
                fix="leave out --save-embeddings and --gallery, or use another --association",
            )

    def _check_masks(self) -> None:
        outputs = self.outputs
        wants = list(formats.needing_masks(outputs.also))
        wants += ["--masks-png"] if outputs.wants_id_maps else []
        wants += ["--fit-boxes"] if self.perception.fits_boxes else []
        if wants and not self.perception.has_masks:
            raise SettingsError(
                f"{wants[0]} needs masks, but only boxes are tracked",
                fix=f"add --masks, or leave out {wants[0]}",
            )
        if self.perception.segmenter or outputs.wants_id_maps:
            self._check_images("masks need images", "--masks and --masks-png")
