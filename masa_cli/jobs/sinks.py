"""What takes the results of a job, and the annotated video alone, of tracks that exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from masa_cli.formats import open_tracks, open_writer
from masa_cli.formats.files import make_folder, refuse_existing, refuse_inputs
from masa_cli.formats.jsonl import TracksWriter
from masa_cli.formats.mot import MotWriter
from masa_cli.formats.mots import IdMapWriter
from masa_cli.jobs.job import TrackJob
from masa_cli.pipeline import Sink, with_images, write
from masa_cli.progress import RunProgress, Summary, Tally
from masa_cli.render.annotator import Annotator, DrawingSettings
from masa_cli.render.video import AnnotatedVideo, VideoWriter
from masa_cli.sources import Source, picture_names
from masa_cli.sources.excerpt import Excerpt
from masa_cli.threads import limited


def open_sinks(
    job: TrackJob,
    progress: RunProgress,
    files: ExitStack,
    tracks: Path | None,
    *,
    is_live: bool = False,
) -> list[Sink]:
    """What takes the results of a job, in the order in which they are opened.

    Args:
        job: what is wanted, and where.
        progress: measures drawing and encoding.
        files: closes them all.
        tracks: where tracks.jsonl is written; None: not here.
        is_live: whether the video can be played while it is written.
    """
    outputs, info, classes = job.outputs, job.input.source.info, job.classes
    sinks: list[Sink] = []
    if outputs.wants_mot:
        sinks.append(files.enter_context(MotWriter(outputs.mot, with_classes=outputs.mot_classes)))
    if tracks:
        sinks.append(files.enter_context(TracksWriter(tracks, classes)))
    for name in outputs.also:
        path = outputs.in_format(name)
        sinks.append(files.enter_context(open_writer(name, path, info=info, classes=classes)))
    if outputs.wants_id_maps:
        sinks.append(files.enter_context(IdMapWriter(outputs.id_maps, info=info)))
    if outputs.wants_video:
        video = _video(
            job.input.source,
            lambda: job.classes,
            outputs.video,
            job.input.origin,
            outputs.drawing,
            progress,
            job.threads,
            fragmented=is_live,
        )
        sinks.append(files.enter_context(video))
    return sinks


def render(
    source: Source,
    tracks: Path,
    output: Path,
    progress: RunProgress,
    *,
    origin: Path,
    drawing: DrawingSettings,
    threads: int | None = None,
    overwrite: bool = False,
) -> Summary:
    """Draw tracks that exist.

    Args:
        source: frames of the video.
        tracks: a tracks.jsonl, or its `.part`, or any other format of tracks.
        output: the mp4 to write.
        progress: is told of it, and may ask to stop.
        origin: file or folder of the source.
        drawing: what the video shows.
        threads: that the encoder works with; None: its default.
        overwrite: replace an earlier video.

    Raises:
        MasaError: what is read is wrong, or the video cannot be written.
        Interrupted: the user asked to stop.
    """
    refuse_inputs([output], [origin, tracks])
    if not overwrite:
        refuse_existing([output])
    info = source.info
    pictures = () if isinstance(source, Excerpt) else picture_names(origin)
    reader = open_tracks(tracks, (info.width, info.height), 1 / info.frame_rate, pictures)
    next(iter(reader), None)  # a wrong file is found before anything is written
    make_folder(output.parent)
    tally = Tally()
    progress.on_pass("writing", 0)
    video = _video(source, lambda: reader.classes, output, origin, drawing, progress, threads)
    with limited(threads), video:
        write(with_images(source, reader, progress=progress), [tally, video], progress=progress)
    return tally.summary([output])


def _video(
    source: Source,
    classes: Callable[[], Sequence[str]],
    output: Path,
    origin: Path | None,
    drawing: DrawingSettings,
    progress: RunProgress,
    threads: int | None,
    *,
    fragmented: bool = False,
) -> AnnotatedVideo:
    sound_from = origin if origin and origin.is_file() else None  # folders of images are silent
    writer = VideoWriter(
        output, source.info, sound_from=sound_from, fragmented=fragmented, threads=threads
    )
    return AnnotatedVideo(writer, Annotator(drawing), classes, progress)
