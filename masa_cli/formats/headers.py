"""The first line of tables of text: whether it is MOTChallenge's, and what it calls the columns.

Formats are recognised by it, for `--help` as well, so nothing heavy is imported here.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

# What headers call MOTChallenge's columns, in its order; the first name that is there wins.
_MOT_NAMES = (
    ("frame", "frameid", "framenumber", "frameindex", "frameidx", "frameno", "framenum"),
    ("id", "trackid", "trackerid", "objectid", "identity", "targetid", "tid"),
    ("bbleft", "bboxleft", "boxleft", "left", "xmin", "x1", "bboxx", "x"),
    ("bbtop", "bboxtop", "boxtop", "top", "ymin", "y1", "bboxy", "y"),
    ("bbwidth", "bboxwidth", "boxwidth", "width", "bbw", "bboxw", "w"),
    ("bbheight", "bboxheight", "boxheight", "height", "bbh", "bboxh", "h"),
    ("conf", "confidence", "score", "flag", "considered", "consider", "notignored"),
    ("class", "classid", "category", "categoryid", "cls", "type", "objectcategory", "objecttype"),
)
_MIN_MOT_COLUMNS = 7

# What else columns of tables are called, by pandas, supervision and others; the first that is there
# is taken. Names of classes go before their numbers.
_COLUMN_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "frame": ("frame", "frame_index", "frame_idx", "frame_number", "frame_id"),
        "time": ("time",),
        "id": ("id", "track_id", "tracker_id", "object_id"),
        "x1": ("x1", "x_min", "xmin"),
        "y1": ("y1", "y_min", "ymin"),
        "x2": ("x2", "x_max", "xmax"),
        "y2": ("y2", "y_max", "ymax"),
        "score": ("score", "confidence", "conf"),
        "label": (
            *("label", "class_name", "classname", "class_label", "category_name", "category_label"),
            *("class", "category", "cls", "class_id", "category_id"),
        ),
        "interpolated": ("interpolated",),
        "video": ("video", "video_id", "video_name"),
    }
)


def is_mot(line: str) -> bool:
    """Whether a line starts with two numbers between commas, or is another that can be one."""
    fields = mot_fields(line)
    try:
        float(fields[0]), float(fields[1])
    except (ValueError, IndexError):
        return mot_columns(line) is not None
    return "," in line or len(fields) >= _MIN_MOT_COLUMNS


def mot_fields(line: str) -> list[str]:
    """The columns between commas, semicolons, tabs or spaces, without empty ones at the end."""
    separator = next((each for each in ";\t" if line.count(each) >= _MIN_MOT_COLUMNS - 1), None)
    if separator:  # the comma may be that of numbers
        fields = line.replace(",", ".").split(separator)
    else:
        fields = line.split(",") if "," in line else line.split()
    while fields and not fields[-1].strip():
        fields.pop()
    return [field.strip().strip('"') for field in fields]


def mot_columns(line: str) -> list[int] | None:
    """Where a header has the columns of MOTChallenge, in their order, then all others.

    None if it is no such header: one has frame, id, left, top, width, height and score.
    """
    fields = [re.sub("[^a-z0-9]", "", field.lower()) for field in mot_fields(line)]
    found = [
        next((fields.index(name) for name in names if name in fields), None) for names in _MOT_NAMES
    ]
    if None in found[:_MIN_MOT_COLUMNS]:
        return None
    order = [at for at in found if at is not None]
    return order + [at for at in range(len(fields)) if at not in order and found[-1] is not None]


def fields_of(line: str) -> list[str]:
    """The fields between commas, which may be quoted; none of a line without any."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # damage: a field beyond all limits, or a carriage return
        return line.split(",")


def columns_in(header: str) -> dict[str, int]:
    """Where the columns that are read stand, by our names, from the first line of a table."""
    return columns_of_names(fields_of(header))


def columns_of_names(names: Sequence[str]) -> dict[str, int]:
    """Where the columns that are read stand, by our names; in the order of `_COLUMN_NAMES`."""
    given = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in names]
    return {
        ours: given.index(theirs[0])
        for ours, others in _COLUMN_NAMES.items()
        if (theirs := [name for name in others if name in given])
    }
