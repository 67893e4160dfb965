"""A tracking job in its settings: what to track, how, and where the results go."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from masa_cli import __version__, formats
from masa_cli.detectors import DetectorRequest
from masa_cli.detectors.filter import Selection
from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats.embeddings import EmbeddingsReader
from masa_cli.formats.files import make_folder, refuse_existing, refuse_inputs, refuse_long_names
from masa_cli.formats.tables import DetectionTable
from masa_cli.models.variants import find_variant
from masa_cli.pipeline import Refinement
from masa_cli.render.annotator import DrawingSettings
from masa_cli.segmenters import SegmenterRequest
from masa_cli.settings import with_changes
from masa_cli.sources import Source
from masa_cli.tracking import DEFAULT, DEFAULT_WITHOUT_IMAGES, build_tracker, find_tracker
from masa_cli.tracking.linking import LinkingSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Results:
    """The files of one run in one folder.

    Attributes:
        folder: holds them all.
        stem: name of the video and the MOT file.
        wants_video: annotated video, `<stem>.mp4`.
        wants_mot: MOTChallenge results, `<stem>.txt`.
        wants_tracks: `tracks.jsonl`.
        wants_embeddings: `embeddings.masa`.
        wants_id_maps: a picture of identities for each frame, in `<stem>.masks`.
        also: names of further formats, written to `<stem>.<ending of the format>`.
    """

    folder: Path
    stem: str
    wants_video: bool = True
    wants_mot: bool = True
    wants_tracks: bool = True
    wants_embeddings: bool = False
    wants_id_maps: bool = False
    also: tuple[str, ...] = ()

    @property
    def video(self) -> Path:
        """The annotated video."""
        return self.folder / f"{self.stem}.mp4"

    @property
    def mot(self) -> Path:
        """MOTChallenge results."""
        return self.folder / f"{self.stem}.txt"

    @property
    def tracks(self) -> Path:
        """Everything that is known of the tracks; `.part` of it is the spool."""
        return self.folder / "tracks.jsonl"

    @property
    def embeddings(self) -> Path:
        """What the tracker was given, to associate it anew."""
        return self.folder / "embeddings.masa"

    def in_format(self, name: str) -> Path:
        """The file of one of the formats in `also`, or its folder."""
        return self.folder / formats.file_name(self.stem, name)

    @property
    def id_maps(self) -> Path:
        """The folder of pictures of identities."""
        return self.folder / f"{self.stem}.masks"

    @property
    def spool(self) -> Path:
        """Tracks as the first pass leaves them."""
        return self.folder / "tracks.jsonl.part"

    @property
    def finished(self) -> Path:
        """Tracks after a second look or a clean-up, until they take the place of the spool."""
        return self.folder / "tracks.finished.jsonl"

    @property
    def resume_state(self) -> Path:
        """What an interrupted run needs to go on."""
        return self.folder / "checkpoint.part"

    def wanted(self) -> list[Path]:
        """The files that will be there after a complete run."""
        choices = (
            (self.video, self.wants_video),
            (self.mot, self.wants_mot),
            (self.tracks, self.wants_tracks),
            (self.embeddings, self.wants_embeddings),
            (self.id_maps, self.wants_id_maps),
        )
        own = [path for path, is_wanted in choices if is_wanted]
        return own + [self.in_format(name) for name in self.also]

    def prepare(
        self, *, inputs: Sequence[Path], overwrite: bool = False, resume: bool = False
    ) -> None:
        """Make the folder, or say why results cannot go there.

        Args:
            inputs: files of the user that must not be overwritten, whatever the options.
            overwrite: whether earlier results may be replaced.
            resume: whether an interrupted run may be gone on with.

        Raises:
            OutputError: nothing wanted, results exist, inputs would be lost, no space, no access.
        """
        if not self.wanted():
            raise OutputError(
                "no result is wanted",
                fix="leave out one of the options --no-video, --no-mot, --no-jsonl",
            )
        refuse_long_names(self.wanted())
        refuse_inputs([*self.wanted(), self.spool], inputs)
        is_interrupted = self.resume_state.exists() or self.spool.exists()
        if is_interrupted and not (overwrite or resume):
            raise OutputError(
                f"{self.folder} holds an interrupted run",
                fix="go on with --resume, or start again with --overwrite",
            )
        if not (overwrite or is_interrupted):
            refuse_existing(self.wanted())
        make_folder(self.folder)
        if not resume:
            self.resume_state.unlink(missing_ok=True)  # of a spool that is about to be replaced


# How the names of changes to the offline refinement begin, today and in 0.1.
_OF_LINKING, _FORMER = "linking.", "relink."


@dataclass(frozen=True, slots=True)
class TrackJob:
    """What to track, how, and where the results go.

    Attributes:
        source: frames, with pictures or without.
        detector: what finds the boxes; it is loaded when all is checked.
        results: files to write.
        origin: file of the source, whose sound goes into the annotated video.
        adapter: name of the embeddings' variant, or a file of published weights; motion alone
            does not use it.
        preparation: what frames are prepared like, a name in `variants.PREPROCESSINGS`.
        side: pixels that the longer side of frames is fitted to before networks look at them; None:
            as is usual for each.
        association: name of the tracker's preset.
        changes: "name=value" changes to the preset.
        weights_dir: folder of weights, where the user named one.
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.
        batch_size: frames per forward pass.
        drawing: what the annotated video shows.
        segmenter: what finds masks, for boxes that have none; None: nothing does.
        tightens: whether boxes are drawn closely around their masks.
        refine: whether the whole video is refined offline, where the tracker allows it.
        min_track_length: identities seen in fewer frames are left out.
        clean_up: whether whole-video clean-up is wanted.
        mot_classes: whether the MOT file's column 8 tells the class.
        inputs: files and folders that are read, and must not be overwritten.
        facts: what else the boxes depend on, by name, for --resume.
        selection: which of the boxes are tracked at all.
        recording: frames, boxes and embeddings that an earlier run kept, to associate them anew;
            then no detector is asked, and `source` is for the second pass.
        table: the boxes, where all of those of a file are tracked.
    """

    source: Source
    detector: DetectorRequest
    results: Results
    origin: Path | None = None
    adapter: str = "raw"
    preparation: str = "demo"
    side: int | None = None
    association: str = "hybrid"
    changes: tuple[str, ...] = ()
    weights_dir: Path | None = None
    device: str = "auto"
    precision: str = "float32"
    batch_size: int = 1
    drawing: DrawingSettings = field(default_factory=DrawingSettings)
    segmenter: SegmenterRequest | None = None
    tightens: bool = False
    refine: bool = True
    min_track_length: int = 1
    clean_up: bool = False
    mot_classes: bool = False
    inputs: tuple[Path, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    selection: Selection = field(default_factory=Selection)
    recording: EmbeddingsReader | None = None
    table: DetectionTable | None = None

    @property
    def has_pictures(self) -> bool:
        """Whether the frames can be looked at."""
        return self.source.info.width > 0

    @property
    def has_masks(self) -> bool:
        """Whether tracks get masks, found or given."""
        return self.segmenter is not None or self.detector.has_masks

    @property
    def refinement(self) -> Refinement:
        """What is done with the tracks of the whole video; SettingsError for wrong changes."""
        refines = self.refine and find_tracker(self.association).is_refinable
        return Refinement(
            linking=self.linking_settings if refines else None,
            min_track_length=self.min_track_length,
            clean_up=self.clean_up,
        )

    @property
    def tracker_changes(self) -> tuple[str, ...]:
        """Changes to the settings of the tracker."""
        return tuple(change for change in self.changes if not _of_linking(change))

    @property
    def linking_settings(self) -> LinkingSettings:
        """Of the offline refinement; SettingsError for changes that cannot be made."""
        changes = [change.partition(".")[2] for change in self.changes if _of_linking(change)]
        return with_changes(LinkingSettings(), changes)

    @property
    def conditions(self) -> dict[str, str]:
        """All that the tracks depend on: a run can be resumed only with the same."""
        names = (
            "adapter",
            "preparation",
            "side",
            "association",
            "changes",
            "device",
            "precision",
            "batch_size",
            "segmenter",
            "tightens",
        )
        own = {name: str(getattr(self, name)) for name in names}
        files = {str(path): _fingerprint(path) for path in self.inputs}
        info = asdict(self.source.info)
        video = {f"video: {name}": str(value) for name, value in info.items()}
        further = {
            "refine": str(self.refinement),
            "--save-embeddings": str(self.results.wants_embeddings),
            "wanted boxes": str(self.selection),
        }
        return {"masa": __version__, **files, **video, **dict(self.facts), **own, **further}

    def check(self) -> None:
        """Raise SettingsError for what cannot work, before anything heavy is loaded."""
        build_tracker(self.association, changes=self.tracker_changes)
        formats.check_formats(self.results.also, self.source.info)
        self.selection.check(self.detector.classes)
        if self.linking_settings != LinkingSettings() and self.refinement.linking is None:
            raise SettingsError(
                f"nothing is refined offline, so --set {_OF_LINKING}... changes nothing",
                fix=f"leave them out, or use --association {DEFAULT} without --no-refine",
            )
        self._check_clean_up()
        if self.detector.weights:
            self._check_placement()
        self._check_masks()
        self._check_kept()
        if not find_tracker(self.association).needs_embeddings:
            return
        if self.recording is not None:
            return
        if not self.has_pictures:
            raise SettingsError(
                f"association {self.association} compares appearance, but there are no images",
                fix="give the video or the folder of frames as well, or use --association "
                f"{DEFAULT_WITHOUT_IMAGES}",
            )
        from masa_cli.models.adapter import resolve

        self._check_placement()
        self._check_side(resolve(self.adapter, self.weights_dir)[0])

    def _check_side(self, adapter: str) -> None:
        find_variant(adapter).preprocess_as(self.preparation, self.side)

    def _check_placement(self) -> None:
        from masa_cli.models.device import choose_placement

        choose_placement(self.device, self.precision)

    def _check_kept(self) -> None:
        """Embeddings can be kept only where there are some, and masks are not kept with them."""
        if not self.results.wants_embeddings:
            return
        if self.has_masks:
            raise SettingsError(
                "masks are not kept with embeddings, and would be missing after masa retrack",
                fix="leave out --save-embeddings, or the masks",
            )
        if not find_tracker(self.association).needs_embeddings:
            raise SettingsError(
                f"association {self.association} makes no embeddings that could be kept",
                fix="leave out --save-embeddings, or use another --association",
            )

    def _check_masks(self) -> None:
        results = self.results
        named = formats.needing_masks(results.also)
        wants = [*named, *(["--masks-png"] if results.wants_id_maps else [])]
        wants += ["--fit-boxes"] if self.tightens else []
        if wants and not self.has_masks:
            raise SettingsError(
                f"{wants[0]} needs masks, but only boxes are tracked",
                fix=f"add --masks, or leave out {wants[0]}",
            )
        if not self.has_pictures and (self.segmenter or results.wants_id_maps):
            raise SettingsError(
                "masks need pictures, but there are none",
                fix="give the video or the folder of frames as well, or leave out --masks and "
                "--masks-png",
            )
        if self.segmenter and self.segmenter.weights:
            self._check_placement()

    def _check_clean_up(self) -> None:
        if self.clean_up and not self.has_pictures:
            raise SettingsError(
                "clean-up measures boxes against the size of the image, but there are no pictures",
                fix="give the video or the folder of frames as well, or leave out --clean-up",
            )


def _of_linking(change: str) -> bool:
    """Whether a change is to the settings of the offline refinement."""
    if change.startswith(_FORMER):
        logger.warning("--set %s... is now %s...; the old name goes in 0.3", _FORMER, _OF_LINKING)
    return change.startswith((_OF_LINKING, _FORMER))


def _fingerprint(path: Path) -> str:
    """Changes when a file does; of a folder, `source.info` tells how many images it has."""
    if path.is_dir():
        return "folder"
    status = path.stat()
    return f"{status.st_size} bytes, changed at {status.st_mtime_ns}"
