"""`masa stats` and `masa crops`: what tracks tell, and what they show."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.render import VideoOrFolder
from masa_cli.settings import DEFAULT_FRAME_RATE, parse_frame_rate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from masa_cli.analysis.compare import Comparison
    from masa_cli.analysis.lifetimes import ClassCount
    from masa_cli.formats import Hints
    from masa_cli.formats.tables import TrackTable
    from masa_cli.structures import Image

TracksFile = Annotated[
    Path,
    typer.Argument(
        help="Tracks in any format that masa convert reads, such as a tracks.jsonl.",
        show_default=False,
    ),
]
Fps = Annotated[
    str | None,
    typer.Option(
        "--fps",
        help="Frames per second of a folder of images, or of tracks that tell no times "
        "(default: 30).",
        show_default=False,
    ),
]
StatsFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder to write tracks.csv (a row per track), timeline.png and heatmap.png into; "
        "pictures need pip install 'masa[eval]'.",
        show_default=False,
    ),
]
Video = Annotated[
    Path | None,
    typer.Option(
        "--video",
        help="The video: its size, its times where tracks tell none, and its first frame under "
        "the heat map.",
        show_default=False,
    ),
]


Earlier = Annotated[
    Path | None,
    typer.Option(
        "--compare",
        metavar="EARLIER",
        help="Tracks of an earlier run over the same video: which of its identities are the same, "
        "split, merged or gone.",
        show_default=False,
    ),
]


def stats(
    tracks: TracksFile,
    compare: Earlier = None,
    output: StatsFolder = None,
    video: Video = None,
    fps: Fps = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Count tracks by class and measure how long they last; with -o, per track and as pictures."""
    from masa_cli.analysis import lifetimes as life
    from masa_cli.analysis import plots as pictures
    from masa_cli.analysis.compare import compare as comparison
    from masa_cli.cli.console import messages, show_json
    from masa_cli.formats import read_tracks
    from masa_cli.formats.files import make_folder, refuse_existing

    with messages(quiet=quiet or json):
        names = ("tracks.csv", "timeline.png", "heatmap.png")
        targets = [output / name for name in names] if output else []
        if output:
            pictures.check_matplotlib()
        if not overwrite:
            refuse_existing(targets)
        hints, picture = _video_facts(video)
        table = read_tracks(tracks, hints=hints)
        times = times_of(tracks, table, fps, video)
        earlier = read_tracks(compare, hints=hints) if compare else None
        compared = comparison(earlier, table) if earlier else None
        lives = life.lifetimes(table, times)
        counts = life.class_counts(table, lives)
        if output:
            make_folder(output)
            contents = (
                life.as_csv(lives),
                pictures.timeline(table, times),
                pictures.heat_map(table, table.size or _extent(table), picture),
            )
            for target, data in zip(targets, contents, strict=True):
                _write_stats(target, data)
    if json:
        show_json(
            {
                "frames": table.num_frames,
                "boxes": len(table),
                "tracks": len(lives),
                "classes": [asdict(count) for count in counts],
                **({"compared": asdict(compared)} if compared else {}),
                "written": [str(target) for target in targets],
            }
        )
    elif not quiet:
        _show_stats(table, len(lives), counts, targets)
        if compared:
            _show_compared(compared)


def _video_facts(video: Path | None) -> tuple[Hints, Image | None]:
    """What it tells of files of tracks, and its first frame."""
    from masa_cli.formats import Hints
    from masa_cli.sources import open_source, picture_names

    if video is None:
        return Hints(), None
    source = open_source(video)
    picture = next(iter(source.frames())).image
    return Hints.of(source.info, picture_names(video)), picture


def _extent(table: TrackTable) -> tuple[int, int]:
    """Of all boxes, where the size of the video is not known; at least one pixel."""
    if not len(table):
        return 1, 1
    width, height = table.tracks.boxes[:, 2:].max(axis=0).tolist()
    return max(1, min(round(width), 16_384)), max(1, min(round(height), 16_384))


def _write_stats(target: Path, data: bytes) -> None:
    from masa_cli.formats.files import PartFile

    with PartFile(target) as file:
        file.write(data)


def _show_stats(
    table: TrackTable, num_tracks: int, counts: list[ClassCount], targets: list[Path]
) -> None:
    from masa_cli.cli.console import show, show_table

    show(f"{num_tracks} tracks, {len(table)} boxes in {table.num_frames} frames")
    show("")
    show_table(
        ("class", "tracks", "boxes", "median s", "longest s", "most at once"),
        [
            (
                count.label,
                str(count.tracks),
                str(count.boxes),
                f"{count.median_seconds:.1f}",
                f"{count.longest_seconds:.1f}",
                str(count.most_at_once),
            )
            for count in counts
        ],
    )
    for target in targets:
        show(str(target))


_MOST_CHANGES = 40  # that are shown; --json has all


def _show_compared(compared: Comparison) -> None:
    from masa_cli.cli.console import show, show_table

    show("")
    show(
        f"{compared.same} identities are the same; {compared.shared} boxes are shared, "
        f"{compared.only_before} were only before, {compared.only_now} are only now"
    )
    if not compared.changes:
        return
    show("")
    show_table(
        ("change", "ids before", "ids now", "frames"),
        [
            (
                change.kind,
                ", ".join(map(str, change.before)),
                ", ".join(map(str, change.now)),
                str(change.frames),
            )
            for change in compared.changes[:_MOST_CHANGES]
        ],
        num_left=3,
    )
    if (left_out := len(compared.changes) - _MOST_CHANGES) > 0:
        show(f"and {left_out} more, of fewer frames: --json has all")


CropsFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the crops (default: crops, beside the tracks).",
        show_default=False,
    ),
]
PerTrack = Annotated[
    int, typer.Option("--per-track", min=1, help="At most so many crops of each track.")
]
MinSide = Annotated[
    float, typer.Option("--min-side", min=1, help="Leave out boxes of a shorter side, pixels.")
]
Margin = Annotated[
    float, typer.Option("--margin", min=0, max=5, help="Share of the box to show around it.")
]


def crops(
    source: VideoOrFolder,
    tracks: TracksFile,
    output: CropsFolder = None,
    per_track: PerTrack = 5,
    min_side: MinSide = 16.0,
    margin: Margin = 0.1,
    fps: Fps = None,
    stream: options.StreamNumber = None,
    start: options.Start = None,
    end: options.End = None,
    every: options.Every = 1,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Cut the best crops of each track out of the video, as <id>/<frame>.jpg and crops.csv.

    Large, untruncated, unoccluded and confident boxes are preferred, spread over the life of the
    track.
    """
    from masa_cli.analysis.crops import CropSettings, write_crops
    from masa_cli.cli.console import messages, run_and_report
    from masa_cli.formats import Hints, read_tracks
    from masa_cli.formats.files import make_folder, refuse_existing
    from masa_cli.jobs.inputs import excerpt_of
    from masa_cli.settings import parse_frame_rate
    from masa_cli.sources import open_source, picture_names

    folder = output or tracks.with_name("crops")
    with messages(quiet=quiet or json):
        whole = open_source(source, frame_rate=parse_frame_rate(fps), stream=stream)
        frames = excerpt_of(whole, start, end, every)
        pictures = picture_names(source) if frames is whole else ()
        table = read_tracks(tracks, hints=Hints.of(frames.info, pictures))
        if not overwrite:
            refuse_existing([folder])
        make_folder(folder.parent)
        run_and_report(
            lambda progress: write_crops(
                frames, table, folder, CropSettings(per_track, min_side, margin), progress
            ),
            frames.info.num_frames,
            quiet=quiet,
            json=json,
        )


def times_of(
    path: Path, table: TrackTable, fps: str | None, video: Path | None = None
) -> NDArray[np.float64]:
    """(num_frames,) seconds of each frame.

    By the rate that is given, of the tracks, of the video, or by an assumed rate, which is said.
    """
    import numpy as np

    from masa_cli.formats.times import FrameTimes, tell_assumed_rate
    from masa_cli.sources import frame_times, open_source

    rate, times = parse_frame_rate(fps), table.times
    if rate is None and times is None and video is not None:
        seconds = np.array(frame_times(open_source(video)), np.float64)
        times = FrameTimes(np.arange(len(seconds)), seconds)
    if rate is None and times is not None:
        return times.at(np.arange(table.num_frames))
    if rate is None and len(table):
        tell_assumed_rate(path)
    return np.arange(table.num_frames) / float(rate or DEFAULT_FRAME_RATE)
