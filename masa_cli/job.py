"""One tracking job from its settings to its files: what `masa track` and `masa demo` do."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from masa_cli import __version__
from masa_cli.annotation import AnnotatedVideo
from masa_cli.detectors import Detector
from masa_cli.drawing import Annotator, DrawingSettings
from masa_cli.errors import Interrupted, SettingsError
from masa_cli.formats.mot import MotWriter
from masa_cli.formats.spool import Checkpoint, Spool
from masa_cli.formats.tracks_jsonl import TracksReader, TracksWriter
from masa_cli.formats.video import VideoWriter
from masa_cli.models.variants import find_variant
from masa_cli.pipeline import Sink, cleaned, deliver, track, with_pictures, without_pictures
from masa_cli.results import Results, make_folder, refuse_existing, refuse_inputs
from masa_cli.sources import Source
from masa_cli.structures import State
from masa_cli.summary import Summary, Tally
from masa_cli.trackers import MOTION, NoAppearance, build_tracker
from masa_cli.watch import Watch

if TYPE_CHECKING:
    from masa_cli.models.adapter import Adapter

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrackJob:
    """What to track, how, and where the results go.

    Attributes:
        source: frames, with pictures or without.
        detector: boxes.
        results: files to write.
        origin: file of the source, whose sound goes into the annotated video.
        adapter: name of the embeddings' variant; motion alone does not use it.
        association: name of the tracker's preset.
        changes: "name=value" changes to the preset.
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.
        batch_size: frames per forward pass.
        drawing: what the annotated video shows.
        clean_up: whether whole-video clean-up is wanted.
        mot_classes: whether the MOT file's column 8 tells the class.
        inputs: files and folders that are read, and must not be overwritten.
        facts: what else the boxes depend on, by name, for --resume.
    """

    source: Source
    detector: Detector
    results: Results
    origin: Path | None = None
    adapter: str = "raw"
    association: str = "masa-demo"
    changes: tuple[str, ...] = ()
    device: str = "auto"
    precision: str = "float32"
    batch_size: int = 1
    drawing: DrawingSettings = field(default_factory=DrawingSettings)
    clean_up: bool = False
    mot_classes: bool = False
    inputs: tuple[Path, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def has_pictures(self) -> bool:
        """Whether the frames can be looked at."""
        return self.source.info.width > 0

    @property
    def conditions(self) -> dict[str, str]:
        """All that the tracks depend on: a run can be resumed only with the same."""
        names = ("adapter", "association", "changes", "device", "precision", "batch_size")
        own = {name: str(getattr(self, name)) for name in names}
        files = {str(path): _fingerprint(path) for path in self.inputs}
        video = {"video": str(self.source.info)}
        return {"masa": __version__, **files, **video, **dict(self.facts), **own}

    def check(self) -> None:
        """Raise SettingsError for what cannot work, before anything heavy is loaded."""
        build_tracker(self.association, changes=self.changes)
        self._check_clean_up()
        if self.association == MOTION:
            return
        find_variant(self.adapter)
        if not self.has_pictures:
            raise SettingsError(
                f"association {self.association} compares looks, but there are no pictures",
                fix="give the video or the folder of frames as well, or use --association motion",
            )
        from masa_cli.models.device import choose_placement  # noqa: PLC0415 - imports torch

        choose_placement(self.device, self.precision)

    def _check_clean_up(self) -> None:
        if self.clean_up and not self.has_pictures:
            raise SettingsError(
                "clean-up measures boxes against the size of the image, but there are no pictures",
                fix="give the video or the folder of frames as well, or leave out --clean-up",
            )


def run(job: TrackJob, watch: Watch, *, overwrite: bool = False, resume: bool = False) -> Summary:
    """Check, then both passes of a job.

    Args:
        job: what to do.
        watch: is told of the progress, and may ask to stop.
        overwrite: replace earlier results.
        resume: go on from the checkpoint of an interrupted run, if there is one.

    Raises:
        MasaError: of any stage; what was tracked so far stays in the spool.
        Interrupted: the watch was asked to stop.
    """
    with watch.stage("load"):
        job.check()
    results = job.results
    results.prepare(inputs=job.inputs, overwrite=overwrite, resume=resume)
    checkpoint = _checkpoint(job) if resume else None
    tally = Tally()
    try:
        if checkpoint is None or not checkpoint.complete:
            _first_pass(job, watch, checkpoint)
        _second_pass(job, tally, watch)
    except Interrupted as interruption:
        raise Interrupted(
            f"{interruption.kept} in {results.folder}; add --resume to the command to go on"
        ) from None
    _conclude(job)
    return tally.summary(results.wanted())


def render(
    source: Source,
    tracks: Path,
    output: Path,
    watch: Watch,
    *,
    origin: Path,
    drawing: DrawingSettings,
    overwrite: bool = False,
) -> Summary:
    """Draw the tracks of a tracks.jsonl: the second pass alone.

    Args:
        source: frames of the video.
        tracks: a tracks.jsonl, or its `.part`.
        output: the mp4 to write.
        watch: is told of the progress, and may ask to stop.
        origin: file or folder of the source.
        drawing: what the video shows.
        overwrite: replace an earlier video.

    Raises:
        MasaError: what is read is wrong, or the video cannot be written.
        Interrupted: the watch was asked to stop.
    """
    refuse_inputs([output], [origin, tracks])
    if not overwrite:
        refuse_existing([output])
    reader = TracksReader(tracks)
    next(iter(reader), None)  # a wrong file is found before anything is written
    make_folder(output.parent)
    tally = Tally()
    with _annotated_video(source, reader, output, origin, drawing, watch) as video:
        deliver(with_pictures(source, reader, watch=watch), [tally, video], watch=watch)
    return tally.summary([output])


def _fingerprint(path: Path) -> str:
    """Changes when a file does; of a folder, `source.info` tells how many images it has."""
    if path.is_dir():
        return "folder"
    status = path.stat()
    return f"{status.st_size} bytes, changed at {status.st_mtime_ns}"


def _checkpoint(job: TrackJob) -> Checkpoint | None:
    """Where the interrupted run stood; None, said aloud, if there is no such run."""
    if not job.results.checkpoint.exists():
        logger.warning("nothing to resume in %s: starting from the first frame", job.results.folder)
        return None
    checkpoint = Checkpoint.read(job.results.checkpoint)
    checkpoint.check(job.conditions)
    if checkpoint.complete:
        logger.info("resuming: all frames are tracked, the results are to be written")
    else:
        logger.info("resuming at frame %d", checkpoint.next_frame)
    return checkpoint


def _first_pass(job: TrackJob, watch: Watch, checkpoint: Checkpoint | None) -> None:
    states = checkpoint.states if checkpoint else {}
    with watch.stage("load"):
        embedder = _build_embedder(job, states.get("embedder"))
    tracker = build_tracker(job.association, changes=job.changes, temperature=embedder.temperature)
    if "tracker" in states:
        tracker.restore(states["tracker"])
    results = job.results
    with Spool(
        results.tracks, results.checkpoint, job.detector.classes, job.conditions, checkpoint
    ) as spool:
        track(
            job.source,
            job.detector,
            embedder,
            tracker,
            spool,
            watch=watch,
            batch_size=job.batch_size,
        )


def _build_embedder(job: TrackJob, state: State | None) -> Adapter | NoAppearance:
    if job.association == MOTION:
        return NoAppearance()
    from masa_cli.models.adapter import build_adapter  # noqa: PLC0415 - imports torch

    adapter = build_adapter(job.adapter, device=job.device, precision=job.precision)
    if state is not None:
        adapter.restore(state)
    return adapter


def _second_pass(job: TrackJob, tally: Tally, watch: Watch) -> None:
    results, reader = job.results, TracksReader(job.results.spool, job.detector.classes)
    info = job.source.info
    tracks = cleaned(reader, info.width, info.height) if job.clean_up else reader
    with ExitStack() as stack:
        sinks: list[Sink] = [tally]
        if results.wants_mot:
            mot = MotWriter(results.mot, with_classes=job.mot_classes)
            sinks.append(stack.enter_context(mot))
        if results.wants_tracks and job.clean_up:
            # Beside the spool, which a resumed run needs as it is.
            sinks.append(stack.enter_context(TracksWriter(results.cleaned, job.detector.classes)))
        if results.wants_video:
            video = _annotated_video(
                job.source, reader, results.video, job.origin, job.drawing, watch
            )
            sinks.append(stack.enter_context(video))
            deliver(with_pictures(job.source, tracks, watch=watch), sinks, watch=watch)
        else:
            deliver(without_pictures(tracks), sinks, watch=watch)


def _annotated_video(
    source: Source,
    reader: TracksReader,
    output: Path,
    origin: Path | None,
    drawing: DrawingSettings,
    watch: Watch,
) -> AnnotatedVideo:
    sound_from = origin if origin and origin.is_file() else None  # folders of images are silent
    writer = VideoWriter(output, source.info, sound_from=sound_from)
    return AnnotatedVideo(writer, Annotator(drawing), lambda: reader.classes, watch)


def _conclude(job: TrackJob) -> None:
    """Give the tracks their name, and end what --resume needs: from here on all is done."""
    results = job.results
    if results.wants_tracks:
        os.replace(results.cleaned if job.clean_up else results.spool, results.tracks)
    results.spool.unlink(missing_ok=True)
    results.checkpoint.unlink()
