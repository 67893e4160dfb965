"""From what the user names (a video, a detections file, or only the latter) to frames and boxes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from masa_cli.detectors import DetectorRequest, ModelOptions, given
from masa_cli.detectors.filter import FromFile, OfExcerpt
from masa_cli.detectors.prompt import nothing_wanted, parse_prompt, read_prompt
from masa_cli.detectors.request import AUTO, request_prompt
from masa_cli.errors import SettingsError, SourceError, UsageError
from masa_cli.formats import in_video
from masa_cli.formats.detections import first_frame, read_detections
from masa_cli.formats.embeddings import defaults_as_fact
from masa_cli.formats.mot_sequence import MotSequence, find_sequence
from masa_cli.formats.tables import DetectionTable
from masa_cli.formats.times import tell_assumed_rate
from masa_cli.settings import DEFAULT_FRAME_RATE, parse_frame_rate, parse_size, parse_time
from masa_cli.sources import Source, is_live, open_any, picture_names
from masa_cli.sources.excerpt import Excerpt, Selectable, Span, Timeline
from masa_cli.sources.stream import PIXEL_FORMATS, RawPictures

logger = logging.getLogger(__name__)

_ROUNDED = 0.01  # by which scores from 0 to 1 may pass the latter


@dataclass(frozen=True, slots=True)
class Opening:
    """How to open what the user names, as far as it does not tell by itself.

    Attributes:
        frame_rate: of a folder of images, of raw pictures, or of boxes without pictures; of a video
            file instead of its own.
        patience: seconds in which a lost connection is tried to be made again.
        raw: what pictures on standard input are like, if they come without a container.
        stream: of the video streams of a file, which one, from 0.
    """

    frame_rate: Fraction | None = None
    patience: float = 60.0
    raw: RawPictures | None = None
    stream: int | None = None

    def open(self, location: str) -> Source:
        """The video, folder or stream of that name; raises what `open_any` raises."""
        return open_any(
            location,
            frame_rate=self.frame_rate,
            patience=self.patience,
            raw=self.raw,
            stream=self.stream,
        )


def parse_opening(
    locations: Sequence[str],
    *,
    fps: str | None,
    patience: float,
    video_size: str | None,
    pixel_format: str | None,
    stream: int | None = None,
) -> Opening:
    """Arguments are the user's sources and options.

    Raises:
        UsageError: raw pictures are announced without their size, in an unknown layout, or where
            something else is read.
        SettingsError: `fps` is no frame rate.
    """
    frame_rate, size = parse_frame_rate(fps), parse_size(video_size, "--video-size")
    if pixel_format and not size:
        raise UsageError(
            "--pixel-format is given, but not the size of the raw pictures",
            fix="give --video-size 640x480 as well",
        )
    if size and list(locations) != ["-"]:
        raise UsageError(
            "--video-size and --pixel-format are for raw pictures on standard input, but the "
            f"source is {', '.join(locations) or 'none'}",
            fix="leave them out, or pipe raw pictures and give - as the source",
        )
    if pixel_format and pixel_format not in PIXEL_FORMATS:
        raise UsageError(
            f'--pixel-format: unknown layout "{pixel_format}"',
            fix=f"choose one of {', '.join(PIXEL_FORMATS)}",
        )
    raw = RawPictures(*size, pixel_format or "rgb24") if size else None
    return Opening(frame_rate, patience, raw, stream)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is tracked.

    Attributes:
        frames: with pictures, if there are any.
        table: boxes, none of them wholly outside the image.
        origin: where the pictures are.
    """

    frames: Source
    table: DetectionTable
    origin: Path | None


def open_inputs(
    source: str | None,
    dets: Path,
    table: DetectionTable,
    opening: Opening,
) -> Inputs:
    """The frames that `table`, read from `dets`, belongs to.

    Args:
        source: the user's video, folder or stream; None to look beside `dets`.
        dets: the detections file.
        table: what it holds.
        opening: how to open the frames.

    Raises:
        SourceError: the pictures cannot be read, or there is nothing to track.
        SettingsError: a frame rate is given, but the video has one of its own.
    """
    sequence = find_sequence(dets) if source is None else None
    location = location_of(source, dets)
    if location is not None:
        frames = opening.open(location)
        origin = None if is_live(frames) else Path(location)
        size = (frames.info.width, frames.info.height)
        _refuse_other_sizes(dets, table, size)
        return Inputs(frames, _inside(dets, table.in_pixels(dets, size), size), origin)
    logger.warning(
        "no frames were found beside %s: tracking by motion alone, appearance is not used", dets
    )
    timeline = _timeline(dets, table, sequence, opening.frame_rate)
    if sequence and sequence.width and sequence.height:
        size = sequence.width, sequence.height
        return Inputs(timeline, _inside(dets, table.in_pixels(dets, size), size), None)
    return Inputs(timeline, table.in_pixels(dets, None), None)


def location_of(source: str | None, dets: Path) -> str | None:
    """Where the pictures are: what the user names, or the folder of frames beside `dets`."""
    if source is not None:
        return source
    sequence = find_sequence(dets)
    return str(sequence.images) if sequence and sequence.images else None


def excerpt_of(source: Source, start: str | None, end: str | None, every: int) -> Source:
    """The part of a source that the user's options ask for; the whole if they ask for none.

    Raises:
        UsageError: a time is none, or the end is not after the start.
        SettingsError: the source is live.
    """
    first, last = parse_time(start, "--start"), parse_time(end, "--end")
    if first is None and last is None and every == 1:
        return source
    if last is not None and last <= (first or 0):
        raise UsageError("--end is not after --start", fix="give a later --end")
    if not isinstance(source, Selectable):
        raise SettingsError(
            "--start, --end and --every choose part of a file, but this source is live",
            fix="leave them out",
        )
    return Excerpt(source, Span(first or Fraction(0), last, every))


def warn_of_oddities(dets: Path, table: DetectionTable) -> None:
    """Say what was dropped while reading."""
    if table.num_empty:
        logger.warning("%s: %d boxes without area were dropped", dets, table.num_empty)


def with_usual_scores(dets: Path, table: DetectionTable) -> DetectionTable:
    """The table with scores from 0 to 1; where they are not, by their rank, which is said.

    All thresholds are made for that range. A score becomes the share of boxes that have no higher
    one, so the best are at 1 and the median is at 0.5.
    """
    scores = table.scores
    if not len(table) or (scores.min() >= 0 and scores.max() <= 1 + _ROUNDED):
        return table
    logger.warning(
        "%s: scores run from %g to %g; as thresholds are made for 0 to 1, each is replaced by the "
        "share of boxes that score no higher: %.3g becomes 0.5",
        dets,
        scores.min(),
        scores.max(),
        np.median(scores),
    )
    ranks = np.searchsorted(np.sort(scores), scores, side="right")
    return replace(table, scores=(ranks / len(scores)).astype(np.float32))


def _refuse_other_sizes(dets: Path, table: DetectionTable, size: tuple[int, int]) -> None:
    """Raise SourceError if a mask is not of the size of the frames, width and height."""
    for mask in table.masks:
        if mask is not None and mask.size != (size[1], size[0]):
            raise SourceError(
                f"{dets}: masks of {mask.size[1]} x {mask.size[0]} pixels, but the frames have "
                f"{size[0]} x {size[1]}",
                fix="give masks made from the same video, at its full size",
            )


def _inside(dets: Path, table: DetectionTable, size: tuple[int, int]) -> DetectionTable:
    inside, num_outside = table.inside(*size)
    if num_outside:
        logger.warning(
            "%s: %d boxes wholly outside the image of %d x %d were dropped",
            dets,
            num_outside,
            *size,
        )
        if not len(inside):
            low, high = table.boxes[:, :2].min(axis=0), table.boxes[:, 2:].max(axis=0)
            logger.warning(
                "%s: none is left to track: they reach from %g, %g to %g, %g; give boxes in pixels "
                "of this video",
                dets,
                *low,
                *high,
            )
    return inside


def _timeline(
    dets: Path, table: DetectionTable, sequence: MotSequence | None, frame_rate: Fraction | None
) -> Timeline:
    num_frames = max(table.num_frames, (sequence and sequence.num_frames) or 0)
    if not num_frames:
        raise SourceError(
            f"{dets} holds no detections and no frames were found beside it: nothing to track",
            fix="give the video or the folder of frames as well",
        )
    frame_rate = frame_rate or (sequence.frame_rate if sequence else None)
    if frame_rate is None:
        tell_assumed_rate(dets)
    name = sequence.name if sequence else dets.stem
    return Timeline(name, num_frames, frame_rate or DEFAULT_FRAME_RATE)


_USUAL_OPENING = Opening()
_NO_OPTIONS = ModelOptions()


@dataclass(frozen=True, slots=True)
class BoxSource:
    """Frames and what finds boxes in them.

    Attributes:
        frames: with pictures, if there are any.
        origin: where the pictures are.
        detector: what finds the boxes.
        inputs: files that are read.
        facts: what the boxes depend on, by name, for --resume.
        table: the detections, where they are read from a file.
    """

    frames: Source
    origin: Path | None
    detector: DetectorRequest
    inputs: tuple[Path, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    table: DetectionTable | None = None


def check_one_given(
    dets: object, prompt: str | None, prompt_file: Path | None, detector: str = AUTO
) -> None:
    """Raise UsageError unless exactly one says where boxes come from.

    A detector that is named may do with none: it finds all classes of its own.
    """
    given = [option for option in (dets, prompt, prompt_file) if option is not None]
    if not given and detector == AUTO:
        raise nothing_wanted()
    if len(given) > 1:
        raise UsageError(
            "--dets, --prompt and --prompt-file exclude each other", fix="give one of them"
        )


def from_file(
    source: str | None,
    dets: Path,
    *,
    format: str,
    images: Path | None,
    min_score: float | None,
    opening: Opening = _USUAL_OPENING,
    part: Callable[[Source], Source] = lambda whole: whole,
) -> BoxSource:
    """Boxes from a file of detections; arguments are the user's options, and `part` cuts frames.

    Raises:
        SourceError, SettingsError: see `read_detections` and `open_inputs`.
    """
    least = -math.inf if min_score is None else min_score
    pictures = picture_names(location_of(source, dets))
    read = read_detections(dets, format=format, images=images, pictures=pictures)
    table, num_low = read.scored(least)
    warn_of_oddities(dets, table)
    if num_low and not len(table):
        logger.warning(
            "%s: all its %d boxes have scores below --min-score %g; they reach %g",
            dets,
            num_low,
            least,
            read.scores.max(),
        )
    table = with_usual_scores(dets, table)
    inputs = open_inputs(source, dets, table, opening)
    first, num_frames = first_frame(dets, format), inputs.frames.info.num_frames
    inputs = replace(inputs, table=in_video(inputs.table, dets, first, (), num_frames))
    frames, boxes = part(inputs.frames), FromFile(inputs.table)
    detector = OfExcerpt(boxes, frames) if isinstance(frames, Excerpt) else boxes
    return BoxSource(
        frames=frames,
        origin=inputs.origin,
        detector=given(detector, has_masks=boxes.has_masks),
        inputs=tuple(path for path in (dets, images) if path),
        facts=(("--min-score", str(least)), ("--dets-format", format)),
        table=inputs.table,
    )


def from_prompt(
    source: str | None,
    prompt: str | None,
    prompt_file: Path | None,
    *,
    model: str,
    min_score: float | None,
    max_overlap: float | None,
    weights_dir: Path | None,
    association: str,
    options: ModelOptions = _NO_OPTIONS,
    opening: Opening = _USUAL_OPENING,
    part: Callable[[Source], Source] = lambda whole: whole,
) -> BoxSource:
    """Boxes that a detector finds; arguments are the user's options, and `part` cuts frames.

    Raises:
        UsageError: the prompt is empty or malformed, or there is no video.
        MasaError: the video, a file of weights or the prompt's file cannot be read.
    """
    text = None if prompt is None else parse_prompt(prompt)
    wanted = read_prompt(prompt_file) if prompt_file else text
    if source is None:
        raise UsageError(
            "objects are looked for in pictures, but no video is given",
            fix="give a video or a folder of frames: masa track VIDEO --prompt ...",
        )
    frames = part(opening.open(source))
    filters = {"min_score": min_score, "max_overlap": max_overlap}
    settings = {name: value for name, value in filters.items() if value is not None}
    detector = request_prompt(
        wanted, model, settings, folder=weights_dir, association=association, options=options
    )  # says what it takes
    return BoxSource(
        frames=frames,
        origin=None if is_live(frames) else Path(source),
        detector=detector,
        inputs=tuple(path for path in (*detector.files, prompt_file, options.names) if path),
        facts=(*detector.facts, defaults_as_fact(detector.changes)),
    )
