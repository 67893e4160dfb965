"""`masa refine`: tracks of any tool, split where they switch, and linked anew."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from masa_cli.errors import Interrupted, SettingsError
from masa_cli.formats import Hints, read_tracks
from masa_cli.formats.embeddings import (
    EmbeddingsReader,
    EmbeddingsWriter,
    Kept,
    finish_embeddings,
)
from masa_cli.formats.files import PartFile, refuse_existing
from masa_cli.formats.tables import TrackTable
from masa_cli.jobs.build import build_networks
from masa_cli.jobs.job import TrackJob
from masa_cli.jobs.plan import Options, plan_job
from masa_cli.jobs.reassociate import Decided, decided_on, rows_of
from masa_cli.jobs.recognise import renamed
from masa_cli.jobs.sinks import open_sinks
from masa_cli.jobs.with_gallery import adapter_facts
from masa_cli.pipeline import (
    FRAMES_AHEAD,
    observe,
    with_images,
    without_images,
    write,
)
from masa_cli.progress import RunProgress, Summary, Tally
from masa_cli.sources import open_source, picture_names
from masa_cli.sources.prefetch import prefetch
from masa_cli.structures import Detections, Frame, Tracks
from masa_cli.threads import limited
from masa_cli.tracking.camera import CameraMotionEstimator
from masa_cli.tracking.recognition import (
    RecognitionSettings,
)
from masa_cli.tracking.splitting import (
    SplittingSettings,
)

logger = logging.getLogger(__name__)

REPORT = "changes.json"


class GivenTracks:
    """A detector that gives each frame the boxes of its tracks, in their order.

    Args:
        table: the tracks.
    """

    def __init__(self, table: TrackTable) -> None:
        self._table = table

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that labels index."""
        return self._table.classes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The boxes of these frames; their images are not looked at."""
        return [self._of(frame.index) for frame in frames]

    def _of(self, index: int) -> Detections:
        tracks = rows_of(self._table, index)
        return Detections(tracks.boxes, tracks.scores, tracks.labels, tracks.masks)


@dataclass(frozen=True, slots=True, eq=False)
class RefineJob:
    """Tracks, and the job of looking at their boxes.

    Attributes:
        path: of the tracks.
        table: what they are.
        job: looks at the video, and says what is written.
        settings: where tracks are split, and when two are one.
    """

    path: Path
    table: TrackTable
    job: TrackJob
    splitting: SplittingSettings | None
    recognition: RecognitionSettings


def plan_refinement(
    path: Path, options: Options, *, reads: str, splits: bool, settings: RecognitionSettings
) -> RefineJob:
    """Read the tracks, open their video; nothing is loaded.

    Args:
        path: of the tracks, in any format that is read.
        options: of the video, the adapter and the results.
        reads: the format of the tracks, or "auto".
        splits: whether tracks are split at all.
        settings: when two tracks are one object.

    Raises:
        MasaError: something cannot be read, or does not go together.
    """
    video = Path(str(options.source))
    info = open_source(video).info
    table = read_tracks(path, format=reads, hints=Hints.of(info, picture_names(video)))
    if not len(table):
        raise SettingsError(f"{path} has no tracks", fix="give tracks to refine")
    job = plan_job(replace(options, dets=GivenTracks(table)))
    job = replace(job, input=replace(job.input, files=(*job.input.files, path)))
    return RefineJob(path, table, job, SplittingSettings() if splits else None, settings)


def refine_tracks(
    refinement: RefineJob, progress: RunProgress, *, overwrite: bool = False
) -> Summary:
    """Look at the boxes of all tracks, decide anew which are one object, write the results.

    Args:
        refinement: what to do.
        progress: is told of it, and may ask to stop.
        overwrite: replace earlier results.

    Raises:
        MasaError: of any stage; then no results are there.
        Interrupted: the user asked to stop; nothing is kept.
    """
    job, table = refinement.job, refinement.table
    job.check()
    outputs = job.outputs
    report = outputs.folder / REPORT
    outputs.prepare(inputs=job.input.files, overwrite=overwrite)
    if not overwrite:
        refuse_existing([report])
    with limited(job.threads):
        num_frames = _look(job, progress)
        if table.num_frames > num_frames:
            late = int((table.frames >= num_frames).sum())
            logger.warning("%d boxes are past the end of the video, and left out", late)
        reader = EmbeddingsReader(outputs.embeddings)
        with progress.stage("refine"):
            info = job.input.source.info
            decided = decided_on(
                table,
                reader,
                refinement.splitting,
                job.association.linking_settings,
                refinement.recognition,
                (info.width, info.height),
            )
        summary = _write(refinement, decided, report, progress)
    if not outputs.wants_embeddings:
        outputs.embeddings.unlink()
    return summary


def _look(job: TrackJob, progress: RunProgress) -> int:
    """Keep the embeddings of all boxes; how many frames there are."""
    with progress.stage("load"):
        networks = build_networks(job, preparing=partial(progress.stage, "load"))
    kept = Kept(
        job.input.source.info,
        job.classes,
        networks.embedder.temperature,
        "file",
        adapter_facts(job),
    )
    progress.on_pass("looking", 0)
    decoded = progress.timed("decode", job.input.source.frames())
    frames = progress.timed("wait for frames", prefetch(decoded, FRAMES_AHEAD))
    camera, count = CameraMotionEstimator(), 0
    with EmbeddingsWriter(job.outputs.embeddings, kept) as writer:
        observations = observe(
            frames,
            networks.detector,
            networks.embedder,
            camera,
            progress=progress,
            batch_size=job.perception.batch_size,
        )
        for _, observation in writer.tee(observations):
            count += 1
            progress.on_frame(count, len(observation.detections))
            if progress.stop_requested:
                raise Interrupted(f"nothing is kept of {count} frames")
        offset = writer.offset
    finish_embeddings(job.outputs.embeddings, offset, count)
    return count


def _write(refinement: RefineJob, decided: Decided, report: Path, progress: RunProgress) -> Summary:
    job = refinement.job
    outputs, tally = job.outputs, _Interpolated()
    frames = renamed(decided.refined(), decided.names)
    progress.on_pass("writing", 0)
    with ExitStack() as files:
        tracks = outputs.tracks if outputs.wants_tracks else None
        sinks = open_sinks(job, progress, files, tracks)
        shown = (
            with_images(job.input.source, frames, progress=progress)
            if outputs.wants_video
            else without_images(frames)
        )
        write(shown, [tally, *sinks], progress=progress)
    _write_report(refinement, decided, tally, report)
    return tally.summary([*outputs.wanted(), report])


class _Interpolated(Tally):
    """Counts interpolated boxes of each id, too."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[int] = Counter()

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame."""
        super().write(frame, tracks)
        self.counts.update(tracks.ids[tracks.interpolated].tolist())


def _write_report(
    refinement: RefineJob, decided: Decided, tally: _Interpolated, path: Path
) -> None:
    """Say what was changed, in changes.json and in one line."""
    parts: dict[int, dict[int, int]] = {}
    for name, own in sorted(decided.owners.items()):
        for track, count in own.items():
            parts.setdefault(track, {})[name] = count
    split = {track: own for track, own in sorted(parts.items()) if len(own) > 1}
    joined = {name: dict(own) for name, own in sorted(decided.owners.items()) if len(own) > 1}
    content = {
        "tracks": str(refinement.path),
        "switches_of_appearance": decided.num_switches,
        "split": [
            {"track": track, "boxes": [{"id": id_, "boxes": n} for id_, n in own.items()]}
            for track, own in split.items()
        ],
        "joined": [
            {"id": name, "boxes": [{"track": track, "boxes": n} for track, n in own.items()]}
            for name, own in joined.items()
        ],
        "interpolated": {str(id_): count for id_, count in sorted(tally.counts.items())},
    }
    with PartFile(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode(errors="replace"))
    logger.info(
        "%d tracks became %d: boxes of %d went to several, %d have boxes of several; %d boxes were "
        "interpolated",
        len(parts),
        len(decided.owners),
        len(split),
        len(joined),
        sum(tally.counts.values()),
    )
