"""Detections of any format: what the file holds decides, not its name.

Nothing heavy is imported until a file is read: `masa --help` shows DETECTION_RULES.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats.text_file import data_lines, shortened

if TYPE_CHECKING:
    from masa_cli.formats.detection_table import DetectionTable

DetectionFormat = Literal["auto", "mot", "csv", "jsonl", "coco"]

DETECTION_RULES = """\
Detections. The format is recognised by what the file holds:

\b
  mot    MOTChallenge: frame,-1,left,top,width,height,score[,class[,...]],
         frames from 1
  csv    a header with frame,x1,y1,x2,y2,score and perhaps label,
         frames from 0
  jsonl  tracks.jsonl of this tool, ids not needed, frames from 0
  coco   COCO results, with --dets-images, or one file with images and
         annotations

Rows may be in any order. Blank lines, and in text those that start with #, are skipped.
A line that is malformed, a number that is not finite and a frame that is not whole or below the
first are errors that name the line. Boxes of no area, boxes wholly outside the image and boxes of
frames past the end of the video are dropped and counted. Boxes partly outside stay as they are.
Scores may be of any range. An empty file holds no detections."""

# Each module has recognises(first_line) and read_detections(path); coco takes `images` as well.
_MODULES = {
    "jsonl": "masa_cli.formats.tracks_jsonl",
    "coco": "masa_cli.formats.coco",
    "csv": "masa_cli.formats.csv_detections",
    "mot": "masa_cli.formats.mot",
}


def read_detections(
    path: Path, *, format: DetectionFormat = "auto", images: Path | None = None
) -> DetectionTable:
    """All detections of a file, by the rules of DETECTION_RULES.

    Args:
        path: the file.
        format: its format; "auto" looks at its first line.
        images: for COCO results, the file whose images tell the frame of each image_id.

    Raises:
        SourceError: the file cannot be read or breaks a rule.
        SettingsError: `images` is given for another format than COCO.
    """
    chosen = _recognised(path) if format == "auto" else format
    if images is not None and chosen != "coco":
        raise SettingsError(
            f"--dets-images is for COCO results, but {path} is {chosen}",
            fix="leave out --dets-images",
        )
    options = {} if images is None else {"images": images}
    table: DetectionTable = import_module(_MODULES[chosen]).read_detections(path, **options)
    return table


def _recognised(path: Path) -> str:
    """The format whose module recognises the first line; an empty file is none in particular."""
    number, line = next(data_lines(path), (0, ""))
    if not number:
        return "coco"  # the one that never minds `images`
    for name, module in _MODULES.items():
        if import_module(module).recognises(line):
            return name
    raise SourceError(
        f'{path} line {number} is like none of the known formats: "{shortened(line)}"',
        fix=f"write it as one of {', '.join(_MODULES)} (masa track --help, option --dets), "
        "or name its format",
    )
