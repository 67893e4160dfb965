"""The formats of detections, a row each, and how a file of them is read.

As with those of tracks, nothing else declares one, and a row that is added is known everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from masa_cli.errors import SettingsError, SourceError, shortened
from masa_cli.formats import AUTO, Sniff, check_known, in_video, member
from masa_cli.formats.files import data_lines, head_of
from masa_cli.formats.headers import is_mot, is_records, is_table

if TYPE_CHECKING:
    from masa_cli.formats.tables import DetectionTable


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionFormat:
    """A format of detections.

    Attributes:
        summary: what is in it and how frames count, for users; lines of at most 75 characters.
        sniff: tells whether a file is of this format, by its first line that is neither blank nor
            a comment, and by its beginning; rows are tried in order.
        read: "module:function" from a path to a DetectionTable.
        read_with: which hints that function takes: images, pictures.
        first: see `TrackFormat`.
    """

    summary: str
    sniff: Sniff
    read: str
    read_with: tuple[str, ...] = ()
    first: int = 0


def _is_frame(line: str) -> bool:
    """Of tracks.jsonl, or of another file that has an object for each frame."""
    line = line.lstrip()
    return line.startswith('{"frame":') or (
        line[:1] == "{" and '"frame"' in line and '"boxes"' in line
    )


DETECTION_FORMATS: Mapping[str, DetectionFormat] = MappingProxyType(
    {
        "jsonl": DetectionFormat(
            summary="tracks.jsonl of this tool, ids not needed, frames from 0",
            sniff=lambda line, head: _is_frame(line),
            read="masa_cli.formats.jsonl:read_detections",
        ),
        "records": DetectionFormat(
            summary="JSON with a list of objects, one per box, the columns of csv",
            sniff=lambda line, head: is_records(head),
            read="masa_cli.formats.tabular:read_record_detections",
        ),
        "coco": DetectionFormat(
            summary="COCO results, with --dets-images, or one file with images and\nannotations",
            sniff=lambda line, head: line.lstrip().startswith(("[", "{")),
            read="masa_cli.formats.coco:read_detections",
            read_with=("images", "pictures"),
        ),
        "csv": DetectionFormat(
            summary="a header with frame; x1,y1,x2,y2, or left,top,width,height, or cx,cy,\n"
            "width,height; perhaps score and label; frames from 0",
            sniff=lambda line, head: is_table(line),
            read="masa_cli.formats.tabular:read_detections",
        ),
        "mot": DetectionFormat(
            summary="MOTChallenge: frame,-1,left,top,width,height,score[,class[,...]],\n"
            "frames from 1",
            sniff=lambda line, head: is_mot(line),
            read="masa_cli.formats.mot:read_detections",
            first=1,
        ),
    }
)

_RULES = """\
Rows may be in any order. Blank lines, and in text those that start with #, are skipped.
A line that is malformed, a number that is not finite and a frame that is not whole or below the
first are errors that name the line. Boxes of no area, boxes wholly outside the image and boxes of
frames past the end of the video are dropped and counted. Boxes partly outside stay as they are.
Where the video is a folder, names and numbers are matched with those of its pictures; what is not
plain is said (docs/formats.md, Which frame numbers). Scores beyond 0 to 1 are replaced by the
share of boxes that score no higher. An empty file holds no detections."""


def help_text() -> str:
    """What `masa track --help-all` tells of these formats, after its options."""
    width = max(map(len, DETECTION_FORMATS))
    indent = "\n" + " " * (width + 4)
    table = "\n".join(
        f"  {name:{width}}  {row.summary.replace(chr(10), indent)}"
        for name, row in DETECTION_FORMATS.items()
    )
    return (
        f"Detections. The format is recognised by what the file holds:\n\n\b\n{table}\n\n{_RULES}"
    )


def names() -> tuple[str, ...]:
    """Of the formats."""
    return tuple(DETECTION_FORMATS)


def read_detections(
    path: Path,
    *,
    format: str = AUTO,
    images: Path | None = None,
    pictures: tuple[str, ...] = (),
) -> DetectionTable:
    """All detections of a file, by the rules that `masa track --help-all` tells.

    Args:
        path: the file.
        format: its format; "auto": its first line tells.
        images: for COCO results, the file whose images tell the frame of each image_id.
        pictures: file names of the folder that is the video, in order; none where it is not one.

    Raises:
        SourceError: the file cannot be read or breaks a rule.
        SettingsError: `images` is given for another format than COCO.
    """
    chosen = _recognise(path) if format == AUTO else format
    check_known(chosen, tuple(DETECTION_FORMATS))
    row = DETECTION_FORMATS[chosen]
    if images is not None and "images" not in row.read_with:
        raise SettingsError(
            f"--dets-images is for COCO results, but {path} is {chosen}",
            fix="leave out --dets-images",
        )
    facts = {"images": images, "pictures": pictures}
    given = {name: facts[name] for name in row.read_with}
    table: DetectionTable = member(row.read)(path, **given)
    if pictures and "pictures" not in row.read_with:
        table = in_video(table, path, row.first, pictures)
    return table


def first_frame(path: Path, format: str = AUTO) -> int:
    """The number of the first frame by the rules of a file's format; arguments as there."""
    return DETECTION_FORMATS[_recognise(path) if format == AUTO else format].first


def _recognise(path: Path) -> str:
    """The format whose row recognises the first line; an empty file is none in particular."""
    number, line = next(data_lines(path), (0, ""))
    if not number:
        # One that minds no hint.
        return next(name for name, row in DETECTION_FORMATS.items() if "images" in row.read_with)
    head = head_of(path)[1]
    for name, row in DETECTION_FORMATS.items():
        if row.sniff(line, head):
            return name
    raise SourceError(
        f'{path} line {number} is like none of the known formats: "{shortened(line)}"',
        fix=f"write it as one of {', '.join(DETECTION_FORMATS)} (masa track --help-all, option "
        "--dets), or name its format",
    )
