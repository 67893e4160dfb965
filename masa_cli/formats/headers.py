"""The first line of tables of text: whether it is MOTChallenge's, and what it calls the columns.

Formats are recognised by it, for `--help` as well, so nothing heavy is imported here.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Mapping, Sequence
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
_KITTI_COLUMNS = 17, 18  # without and with a score

# What columns of other tables are called, by pandas, supervision and others, without capitals and
# signs; the first that is there is taken. Names of classes go before their numbers.
_COLUMN_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "frame": ("frame", "frameindex", "frameidx", "framenumber", "frameid", "frameno"),
        "time": ("time",),
        "id": ("id", "trackid", "trackerid", "objectid"),
        "x1": ("x1", "xmin", "bboxx1", "boxx1"),
        "y1": ("y1", "ymin", "bboxy1", "boxy1"),
        "x2": ("x2", "xmax", "bboxx2", "boxx2"),
        "y2": ("y2", "ymax", "bboxy2", "boxy2"),
        "left": ("left", "bbleft", "bboxleft", "boxleft"),
        "top": ("top", "bbtop", "bboxtop", "boxtop"),
        "cx": ("cx", "xcenter", "centerx", "xcentre", "centrex", "xc"),
        "cy": ("cy", "ycenter", "centery", "ycentre", "centrey", "yc"),
        "x": ("x", "bboxx", "boxx", "bbx"),
        "y": ("y", "bboxy", "boxy", "bby"),
        "width": ("width", "bbwidth", "bboxwidth", "boxwidth", "w", "bbw", "bboxw", "boxw"),
        "height": ("height", "bbheight", "bboxheight", "boxheight", "h", "bbh", "bboxh", "boxh"),
        "score": ("score", "confidence", "conf"),
        "label": (
            *("label", "classname", "classlabel", "categoryname", "categorylabel"),
            *("class", "category", "cls", "classid", "categoryid"),
        ),
        "interpolated": ("interpolated",),
        "video": ("video", "videoid", "videoname"),
    }
)
# The columns that say where a box is, the first that are there count; of x and y alone nobody knows
# whether they are of the corner or of the middle.
CORNERS = ("x1", "y1", "x2", "y2")
BOX_FORMS = (CORNERS, ("left", "top", "width", "height"), ("cx", "cy", "width", "height"))
_UNCLEAR = ("x", "y", "width", "height")
_FIRST_RECORD = re.compile(rb"\[\s*(\{(?:[^{}]|\{[^{}]*\})*\})")


def is_mot(line: str) -> bool:
    """Whether a line starts with two numbers between commas, or is another that can be one."""
    fields = mot_fields(line)
    try:
        float(fields[0]), float(fields[1])
    except (ValueError, IndexError):
        return mot_columns(line) is not None
    return "," in line or len(fields) >= _MIN_MOT_COLUMNS


def is_kitti(line: str) -> bool:
    """Whether a line begins with the numbers of a frame and an id, and the name of a class."""
    fields = line.split()
    if len(fields) not in _KITTI_COLUMNS or "," in line:
        return False
    return all(each.lstrip("-").isdecimal() for each in fields[:2]) and fields[2][:1].isalpha()


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


def separator_of(header: str) -> str:
    """What stands between the fields of a table: a comma, or a semicolon or a tab."""
    return max(",;\t", key=header.count)


def fields_of(line: str, separator: str = ",") -> list[str]:
    """The fields of a line, which may be quoted; one of a line without any separator."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:  # damage: a field beyond all limits, or a carriage return
        return line.split(separator)


def columns_in(header: str) -> dict[str, int]:
    """Where the columns that are read stand, by our names, from the first line of a table."""
    return columns_of_names(fields_of(header, separator_of(header)))


def columns_of_names(names: Sequence[str]) -> dict[str, int]:
    """Where the columns that are read stand, by our names; in the order of `_COLUMN_NAMES`.

    Of the columns that say where a box is, only those of one of `BOX_FORMS` are named, if it is
    there whole.
    """
    given = [re.sub("[^a-z0-9]", "", name.lower()) for name in names]
    found = {
        ours: given.index(theirs[0])
        for ours, others in _COLUMN_NAMES.items()
        if (theirs := [name for name in others if name in given])
    }
    form = next((form for form in BOX_FORMS if set(form) <= found.keys()), None)
    unread = {name for each in (*BOX_FORMS, _UNCLEAR) for name in each}.difference(form or ())
    return {name: at for name, at in found.items() if form is None or name not in unread}


def is_table(line: str, *needed: str) -> bool:
    """Whether a first line names the columns of a table of boxes, with these among them.

    Names that MOTChallenge's columns may have, too, are taken for those: its frames count from 1.
    """
    columns = columns_in(line).keys()
    if not columns >= {*needed}:
        return False
    if {"x1", "x2"} <= columns:
        return True
    forms = (*BOX_FORMS, _UNCLEAR)
    return any(len(columns & {*form}) > 1 for form in forms) and not is_mot(line)


def is_records(head: bytes) -> bool:
    """Whether the beginning of a file is that of JSON with a list of rows, an object each."""
    found = _FIRST_RECORD.match(head)
    try:
        columns = columns_of_names(list(flat(json.loads(found[1])))).keys() if found else set()
    except ValueError:
        return False
    return any({"frame", *form} <= columns for form in (*BOX_FORMS, _UNCLEAR))


def flat(record: Mapping[str, object]) -> dict[str, object]:
    """A row of a table from an object; what is in an object of its own gets both names."""
    fields: dict[str, object] = {}
    for name, value in record.items():
        inner = value if isinstance(value, dict) else {"": value}
        fields |= {f"{name}_{each}" if each else name: own for each, own in inner.items()}
    return fields


def missing_in(columns: Collection[str], needed: Sequence[str]) -> list[str]:
    """Which of the needed columns, and those of a box, are not there."""
    form = max(BOX_FORMS, key=lambda form: len({*columns} & {*form}))
    return [name for name in (*needed, *form) if name not in columns]
