"""Tracks of one format into another."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats import (
    NEED_MASKS,
    Hints,
    TrackFormat,
    TracksSink,
    check,
    open_writer,
    read_tracks,
)
from masa_cli.formats.files import make_folder, refuse_existing, refuse_inputs
from masa_cli.formats.jsonl import TracksWriter
from masa_cli.formats.mot import MotWriter
from masa_cli.formats.tables import TrackTable
from masa_cli.progress import Summary, Tally
from masa_cli.settings import DEFAULT_FRAME_RATE
from masa_cli.structures import VideoInfo

# By the end of its name, what a result is written as.
_ENDINGS = {
    ".coco.json": "coco",
    ".tao.json": "tao",
    ".bdd.json": "bdd",
    ".ytvis.json": "ytvis",
    ".mots.txt": "mots",
    ".jsonl": "jsonl",
    ".txt": "mot",
    ".csv": "csv",
    ".parquet": "parquet",
    ".xml": "cvat",
    ".yolo": "yolo",
    ".yolo-tracks": "yolo-tracks",
}


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known of a video besides its tracks.

    Attributes:
        name: of the video; None to take that of the file of tracks.
        size: width and height, pixels.
        frame_rate: frames per second.
        num_frames: how many frames there are at least.
    """

    name: str | None = None
    size: tuple[int, int] | None = None
    frame_rate: Fraction | None = None
    num_frames: int | None = None

    @staticmethod
    def of(info: VideoInfo) -> VideoFacts:
        """Of a video that is at hand."""
        return VideoFacts(info.name, (info.width, info.height), info.frame_rate, info.num_frames)


def format_of(path: Path) -> str:
    """What a result of that name is written as; SettingsError if the name does not tell."""
    for ending, name in _ENDINGS.items():
        if path.name.lower().endswith(ending):
            return name
    raise SettingsError(
        f"the name of {path} does not tell its format",
        fix=f"name the format with --to, or end the name in one of: {', '.join(_ENDINGS)}",
    )


def convert(
    source: Path,
    target: Path,
    *,
    reads: TrackFormat = "auto",
    writes: str,
    facts: VideoFacts,
    images: Path | None = None,
    names: tuple[str, ...] = (),
    mot_classes: bool = False,
    overwrite: bool = False,
) -> Summary:
    """Read tracks, write them again.

    Args:
        source: file of tracks, or folder of YOLO's labels.
        target: what to write.
        reads: format of the source.
        writes: format of the target, one of `formats.also.NAMES`.
        facts: of the video.
        images: for TAO results, the file that has the images.
        names: of the classes, in place of the numbers that MOT files have, from 1.
        mot_classes: whether a MOT file's column 8 tells the class.
        overwrite: replace what is there.

    Raises:
        MasaError: something cannot be read, written, or must be known.
    """
    refuse_inputs([target], [source])
    if not overwrite:
        refuse_existing([target])
    table = read_tracks(source, format=reads, hints=Hints(facts.size, images))
    if writes in NEED_MASKS and not table.tracks.has_mask.all():
        num_bare = int((~table.tracks.has_mask).sum())
        raise SettingsError(
            f"{writes} holds masks, but {source} has {num_bare} boxes without one",
            fix="choose a format of boxes, or add masks: masa track --masks",
        )
    if facts.num_frames and facts.num_frames > table.num_frames:
        table = with_length(table, facts.num_frames)
    frame_rate = facts.frame_rate or DEFAULT_FRAME_RATE
    width, height = table.size or facts.size or (0, 0)
    name = facts.name or source.name.partition(".")[0] or source.name
    info = VideoInfo(name, width, height, frame_rate, 1 / frame_rate, table.num_frames)
    make_folder(target.parent)
    if target.is_dir() and writes not in {"yolo", "yolo-tracks"}:
        raise OutputError(f"{target} is a folder", fix="give the name of a file")
    tally = Tally()
    classes = _named(table.classes, names)
    with _open(writes, target, info, classes, mot_classes) as writer:
        for frame, tracks in table.of_frames(1 / frame_rate):
            writer.write(frame, tracks)
            tally.write(frame, tracks)
    return tally.summary([target])


def _open(
    writes: str, target: Path, info: VideoInfo, classes: tuple[str, ...], mot_classes: bool
) -> AbstractContextManager[TracksSink]:
    if writes == "mot":
        return MotWriter(target, with_classes=mot_classes)
    if writes == "jsonl":
        return TracksWriter(target, classes)
    check((writes,), info)
    return open_writer(writes, target, info=info, classes=classes)


def with_length(table: TrackTable, num_frames: int) -> TrackTable:
    """The table with frames without tracks at its end; their times are those of the frame rate."""
    return replace(table, num_frames=num_frames, times=None)


def _named(classes: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Numbers from 1 replaced by names, where there are such."""
    if not names:
        return classes
    named = []
    for each in classes:
        place = int(each) - 1 if each.isascii() and each.isdecimal() and len(each) < 9 else -1
        if not 0 <= place < len(names):
            raise SettingsError(
                f'--names tells {len(names)} classes, but there is one called "{each}"',
                fix="give a name for each class number from 1",
            )
        named.append(names[place])
    return tuple(named)
