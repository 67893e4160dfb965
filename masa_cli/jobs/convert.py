"""Tracks of one format into another: `masa convert`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from masa_cli import formats
from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats.files import make_folder, refuse_existing, refuse_inputs
from masa_cli.formats.tables import TrackTable
from masa_cli.progress import Summary, Tally
from masa_cli.settings import DEFAULT_FRAME_RATE
from masa_cli.structures import VideoInfo


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
    """What a file of that name is written as; SettingsError if the name does not tell."""
    rows = ((name, formats.FORMATS[name]) for name in formats.writable_names())
    endings = {f".{ending}": name for name, row in rows for ending in row.endings}
    found = [ending for ending in endings if path.name.lower().endswith(ending)]
    if found:
        return endings[max(found, key=len)]
    raise SettingsError(
        f"the name of {path} does not tell its format",
        fix=f"name the format with --to, or end the name in one of: {', '.join(endings)}",
    )


def convert(
    source: Path,
    target: Path,
    *,
    reads: str = formats.AUTO,
    writes: str = formats.AUTO,
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
        reads: format of the source, or "auto": what it holds tells.
        writes: format of the target, or "auto": its name tells.
        facts: of the video.
        images: for TAO results, the file that has the images.
        names: of the classes, instead of the numbers that MOT files have, from 1.
        mot_classes: whether a MOT file's column 8 tells the class.
        overwrite: replace what is there.

    Raises:
        MasaError: something cannot be read, written, or must be known.
    """
    writes = format_of(target) if writes == formats.AUTO else writes
    refuse_inputs([target], [source])
    if not overwrite:
        refuse_existing([target])
    table = formats.read_tracks(source, format=reads, hints=formats.Hints(facts.size, images))
    if formats.needing_masks([writes]) and not table.tracks.has_mask.all():
        num_bare = int((~table.tracks.has_mask).sum())
        raise SettingsError(
            f"{writes} holds masks, but {source} has {num_bare} boxes without one",
            fix="choose a format of boxes, or add masks: masa track --masks",
        )
    if facts.num_frames and facts.num_frames > table.num_frames:
        table = _with_length(table, facts.num_frames)
    frame_rate = facts.frame_rate or DEFAULT_FRAME_RATE
    width, height = table.size or facts.size or (0, 0)
    name = facts.name or source.name.partition(".")[0] or source.name
    info = VideoInfo(name, width, height, frame_rate, 1 / frame_rate, table.num_frames)
    formats.check_formats([writes], info)
    make_folder(target.parent)
    if target.is_dir() and not formats.FORMATS[writes].is_folder:
        raise OutputError(f"{target} is a folder", fix="give the name of a file")
    tally = Tally()
    classes = _named(table.classes, names)
    with formats.open_writer(
        writes, target, info=info, classes=classes, with_classes=mot_classes
    ) as writer:
        for frame, tracks in table.of_frames(1 / frame_rate):
            writer.write(frame, tracks)
            tally.write(frame, tracks)
    return tally.summary([target])


def _with_length(table: TrackTable, num_frames: int) -> TrackTable:
    """The table with frames without tracks at its end; their times are those of the frame rate."""
    return replace(table, num_frames=num_frames, times=None)


def _named(classes: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Numbers from 1 replaced by names, where there are such."""
    if not names:
        return classes
    named = []
    for each in classes:
        index = int(each) - 1 if each.isascii() and each.isdecimal() and len(each) < 9 else -1
        if not 0 <= index < len(names):
            raise SettingsError(
                f'--names tells {len(names)} classes, but there is one called "{each}"',
                fix="give a name for each class number from 1",
            )
        named.append(names[index])
    return tuple(named)
