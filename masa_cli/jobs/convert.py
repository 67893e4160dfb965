"""Tracks of one format into another: `masa convert`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from masa_cli import formats
from masa_cli.errors import OutputError, SettingsError
from masa_cli.formats.files import make_folder, refuse_existing, refuse_inputs
from masa_cli.formats.tables import TrackTable
from masa_cli.formats.times import FrameTimes, rate_of, tell_assumed_rate
from masa_cli.progress import Summary, Tally
from masa_cli.settings import DEFAULT_FRAME_RATE
from masa_cli.sources import frame_times, open_source, picture_names
from masa_cli.structures import VideoInfo

logger = logging.getLogger(__name__)

_SAME_TIME = 1e-3  # seconds; files round theirs


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known of a video besides its tracks.

    Attributes:
        name: of the video; None to take that of the file of tracks.
        size: width and height, pixels.
        frame_rate: frames per second.
        times: of its frames, seconds; none where there is no video.
        pictures: file names of its images in order, where it is a folder.
    """

    name: str | None = None
    size: tuple[int, int] | None = None
    frame_rate: Fraction | None = None
    times: tuple[Fraction, ...] = ()
    pictures: tuple[str, ...] = ()

    @staticmethod
    def of(path: Path) -> VideoFacts:
        """Of a video file, or a folder of images, that is gone through once; raises SourceError."""
        source = open_source(path)
        info = source.info
        return VideoFacts(
            info.name,
            (info.width, info.height),
            info.frame_rate,
            frame_times(source),
            picture_names(path),
        )


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
    hints = formats.Hints(facts.size, images, facts.pictures, len(facts.times) or None)
    table = formats.read_tracks(source, format=reads, hints=hints)
    return write_table(
        table,
        target,
        source=source,
        writes=writes,
        facts=facts,
        names=names,
        mot_classes=mot_classes,
        overwrite=overwrite,
    )


def write_table(
    table: TrackTable,
    target: Path,
    *,
    source: Path,
    writes: str,
    facts: VideoFacts,
    inputs: Sequence[Path] = (),
    names: tuple[str, ...] = (),
    mot_classes: bool = False,
    overwrite: bool = False,
) -> Summary:
    """Write tracks that were read, or made of such.

    Args:
        table: the tracks.
        target: what to write.
        source: file they come from, for messages and the name of the video.
        writes: format of the target.
        facts: of the video.
        inputs: further files that must stay as they are.
        names: see `convert`.
        mot_classes: see `convert`.
        overwrite: replace what is there.

    Raises:
        MasaError: something cannot be written, or must be known.
    """
    refuse_inputs([target], [source, *inputs])
    if not overwrite:
        refuse_existing([target])
    if formats.needing_masks([writes]) and not table.tracks.has_mask.all():
        num_bare = int((~table.tracks.has_mask).sum())
        raise SettingsError(
            f"{writes} holds masks, but {source} has {num_bare} boxes without one",
            fix="choose a format of boxes, or add masks: masa track --masks",
        )
    table = _timed(table, source, facts)
    if not table.times and not facts.frame_rate and "times" in formats.FORMATS[writes].holds:
        tell_assumed_rate(source)
    stated = rate_of(table.times.step) if table.times else DEFAULT_FRAME_RATE
    frame_rate = facts.frame_rate or stated
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


def _timed(table: TrackTable, path: Path, facts: VideoFacts) -> TrackTable:
    """The table with the times that are known best, and of the length of the video.

    Those of the tracks themselves go before those of the video, which may be the whole that they
    are a part of (--every); a rate that the user names is for tracks that tell none.
    """
    times, told = table.times, facts.times
    if times is not None and told:
        common = times.frames[times.frames < len(told)]
        own, others = times.at(common), np.array(told, np.float64)[common]
        if np.all(np.abs(own - others) < _SAME_TIME):
            times = None
        else:
            logger.warning("%s: its times are kept; they are not those of the video", path)
    if times is None and told:
        seconds = np.array(told, np.float64)
        times = FrameTimes(np.arange(len(told)), seconds)
    if told and table.num_frames > len(told):
        logger.warning(
            "%s has boxes up to frame %d, but frame %d is the last of the video",
            path,
            table.num_frames - 1,
            len(told) - 1,
        )
    return replace(table, times=times, num_frames=max(table.num_frames, len(told)))


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
