"""What takes the results of a job, and the annotated video alone, of tracks that exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from masa_cli.formats import Hints, open_tracks, open_writer
from masa_cli.formats.files import make_folder, refuse_existing, refuse_inputs
from masa_cli.formats.jsonl import TracksReader, TracksWriter
from masa_cli.formats.mot import MotWriter
from masa_cli.formats.mots import IdMapWriter
from masa_cli.formats.tables import TableReader
from masa_cli.jobs.job import TrackJob
from masa_cli.pipeline import Sink, with_images, write
from masa_cli.progress import RunProgress, Summary, Tally
from masa_cli.render.annotator import (
    Annotator,
    Drawer,
    DrawingSettings,
    Layout,
    Panel,
    Panels,
)
from masa_cli.render.video import AnnotatedVideo, VideoWriter
from masa_cli.sources import Source, picture_names
from masa_cli.sources.excerpt import Excerpt
from masa_cli.structures import VideoInfo
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
            info,
            lambda: job.classes,
            outputs.video,
            job.input.origin,
            Annotator(outputs.drawing),
            progress,
            job.threads,
            fragmented=is_live,
        )
        sinks.append(files.enter_context(video))
    return sinks


def render(
    source: Source,
    tracks: Sequence[Path],
    output: Path,
    progress: RunProgress,
    *,
    origin: Path,
    drawing: DrawingSettings,
    layout: Layout = "side-by-side",
    notes: Mapping[tuple[int, int], str] | None = None,
    threads: int | None = None,
    overwrite: bool = False,
) -> Summary:
    """Draw tracks that exist.

    Args:
        source: frames of the video.
        tracks: a tracks.jsonl, or its `.part`, or any other format of tracks; several are drawn
            beside each other.
        output: the mp4 to write.
        progress: is told of it, and may ask to stop.
        origin: file or folder of the source.
        drawing: what the video shows.
        layout: of several.
        notes: by frame and id, what is shown of the first tracks beside their identities.
        threads: that the encoder works with; None: its default.
        overwrite: replace an earlier video.

    Raises:
        MasaError: what is read is wrong, or the video cannot be written.
        Interrupted: the user asked to stop.
    """
    refuse_inputs([output], [origin, *tracks])
    if not overwrite:
        refuse_existing([output])
    info = source.info
    hints = Hints.of(info, () if isinstance(source, Excerpt) else picture_names(origin))
    readers = [open_tracks(path, 1 / info.frame_rate, hints) for path in tracks]
    for reader in readers:
        next(iter(reader), None)  # a wrong file is found before anything is written
    reader, annotator = readers[0], Annotator(drawing, notes)
    drawer: Drawer = annotator
    if len(readers) > 1:
        panels = _panels(tracks, readers, drawing, annotator)
        drawer = together = Panels(panels, layout, info)
        info = together.info
    make_folder(output.parent)
    tally = Tally()
    progress.on_pass("writing", 0)
    video = _video(info, lambda: reader.classes, output, origin, drawer, progress, threads)
    with limited(threads), video:
        write(with_images(source, reader, progress=progress), [tally, video], progress=progress)
    return tally.summary([output])


def _panels(
    tracks: Sequence[Path],
    readers: Sequence[TracksReader | TableReader],
    drawing: DrawingSettings,
    first: Annotator,
) -> list[Panel]:
    """A panel for each file, under the shortest end of its path that tells it from the others."""
    parts = [path.absolute().parts for path in tracks]
    longest = max(map(len, parts))
    names: list[str] = []
    for length in range(1, longest + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return [
        Panel(name, reader, partial(_classes_of, reader), Annotator(drawing) if number else first)
        for number, (name, reader) in enumerate(zip(names, readers, strict=True))
    ]


def _classes_of(reader: TracksReader | TableReader) -> Sequence[str]:
    """Those known so far."""
    return reader.classes


def _video(
    info: VideoInfo,
    classes: Callable[[], Sequence[str]],
    output: Path,
    origin: Path | None,
    drawer: Drawer,
    progress: RunProgress,
    threads: int | None,
    *,
    fragmented: bool = False,
) -> AnnotatedVideo:
    sound_from = origin if origin and origin.is_file() else None  # folders of images are silent
    writer = VideoWriter(
        output, info, sound_from=sound_from, fragmented=fragmented, threads=threads
    )
    return AnnotatedVideo(writer, drawer, classes, progress)
