"""YOLO's label files: a folder with one text per frame and the names of the classes.

    <folder>/labels/<name>_000001.txt     class centre-x centre-y width height[ score id]
    <folder>/data.yaml                    names: {0: car, …}

Coordinates are fractions of the image's width and height. `yolo` has five columns, what detectors
are trained with: identities are lost. `yolo-tracks` has seven, as Ultralytics writes its tracks.
Frames count from 1 in the names of files; from 0 in CVAT's export, whose texts are in
`labels/train/` and called `frame_000000.txt`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats.files import FileWriter, PartFolder, TextFile, explained
from masa_cli.formats.numbering import frames_of_names
from masa_cli.formats.tables import LARGEST, NO_TRACKS, TrackTable
from masa_cli.structures import Frame, IntArray, Tracks, VideoInfo

logger = logging.getLogger(__name__)

_FIRST_FRAME = 1
_CLASSES = "classes.txt"
_Rows: TypeAlias = tuple[TextFile, list[list[float]]]  # of a file
_LABELS, _NAMES = "labels", "data.yaml"
_FIX = "give the folder that holds labels/ and data.yaml, or the folder of labels"


def read_tracks(
    path: Path, *, size: tuple[int, int] | None = None, pictures: Sequence[str] = ()
) -> TrackTable:
    """Read a folder of seven columns, or six, where the last is the id.

    Rows without an id, as Ultralytics writes them where its tracker gave none, are left out, and
    counted in a warning: those of five columns; of six, where there are rows of seven. The frame
    is the number that ends a file's name, from 1, or from 0 where that occurs or names are CVAT's.

    Args:
        path: the folder, or the one in it that holds the texts.
        size: width and height of the video, pixels.
        pictures: file names of the folder that is the video, in order; none where it is not one.

    Raises:
        SourceError: there are no such files, those of several videos, no ids, or a line is
            malformed.
        SettingsError: there is no size.
    """
    if size is None:
        raise SettingsError(
            f"{path}: YOLO's coordinates are fractions of the image, whose size is not known",
            fix="name the video with --video, or its size with --size",
        )
    folder = path / _LABELS if (path / _LABELS).is_dir() else path
    files = _files(folder)
    if not files:
        raise SourceError(f"{path} has no texts of labels", fix=_FIX)
    numbers = _frames(path, files, pictures)
    parts = _with_ids(path, [_rows(file) for file in files])
    columns = np.concatenate(parts)
    centre, extent = columns[:, 1:3] * size, columns[:, 3:5] * size
    labels = columns[:, 0].astype(np.int64)
    names = _names(folder, path)
    return TrackTable.from_rows(
        path,
        np.repeat(numbers, [len(part) for part in parts]),
        Tracks(
            np.concatenate([centre - extent / 2, centre + extent / 2], axis=1).astype(np.float32),
            columns[:, 5].astype(np.float32),
            labels,
            columns[:, 6].astype(np.int64),
        ),
        tuple(names.get(n, str(n)) for n in range(max([*names, *labels.tolist(), 0]) + 1)),
        num_frames=int(numbers.max()) + 1,
        size=size,
    )


class YoloWriter(FileWriter[PartFolder]):
    """Writes the folder `<path>.part`, which becomes `path` when closed without an exception.

    Boxes are clipped to the image; those outside leave no line.

    Args:
        path: of the folder; one that `YoloWriter` wrote before is replaced.
        info: the video; its size is needed.
        classes: names of the labels.
    """

    _with_ids = False

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        if not (info.width and info.height):
            raise SettingsError(
                "YOLO's coordinates are fractions of the image, whose size is not known",
                fix="name the video with --video, or its size with --size",
            )
        self._info = info
        super().__init__(PartFolder(path, {_LABELS, _NAMES}.__contains__))
        self._file.write(_NAMES, _data(classes).encode())

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write the file of one frame; it is empty if there are no tracks."""
        size = np.array([self._info.width, self._info.height] * 2, np.float64)
        boxes = np.clip(tracks.boxes.astype(np.float64) / size, 0, 1)
        centre, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        lines = []
        for row in np.flatnonzero((extent > 0).all(axis=1)).tolist():
            fractions = " ".join(f"{fraction:.6f}" for fraction in (*centre[row], *extent[row]))
            end = f" {tracks.scores[row]:.4f} {tracks.ids[row]}" if self._with_ids else ""
            lines.append(f"{tracks.labels[row]} {fractions}{end}\n")
        name = f"{self._info.name}_{frame.index + _FIRST_FRAME:06d}.txt"
        self._file.write(f"{_LABELS}/{name}", "".join(lines).encode())


class YoloTracksWriter(YoloWriter):
    """The same, where each line ends with score and id."""

    _with_ids = True


def _data(classes: Sequence[str]) -> str:
    """The names as YAML: what JSON quotes, YAML reads."""
    names = "".join(f"  {label}: {json.dumps(name)}\n" for label, name in enumerate(classes))
    return f"path: .\ntrain: images\nval: images\nnames:\n{names}"


def _names(folder: Path, path: Path) -> dict[int, str]:
    """Of the classes, from data.yaml or classes.txt; empty where there is neither."""
    for each in (path, folder, folder.parent, folder.parent.parent):
        if (each / _NAMES).is_file():
            return _yaml_names(each / _NAMES)
        if (each / _CLASSES).is_file():
            lines = TextFile.read(each / _CLASSES).lines
            return dict(enumerate(line.strip() for line in lines))
    return {}


def _yaml_names(file: Path) -> dict[int, str]:
    with explained(file):
        text = file.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SourceError(f"{file} is not YAML: {error}", fix=_FIX) from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(
        type(label) is int and 0 <= label < 100_000 for label in names
    ):
        raise SourceError(f"{file} has no names of classes by number", fix=_FIX)
    return {label: str(name) for label, name in names.items()}


def _files(folder: Path) -> list[Path]:
    """The texts of a folder; of its folders train, val and so on, where it has none itself."""
    files = [file for file in folder.glob("*.txt") if file.name != _CLASSES]
    if not files and folder.name == _LABELS:
        files = list(folder.glob("*/*.txt"))
    return sorted(files)


def _frames(path: Path, files: list[Path], pictures: Sequence[str]) -> IntArray:
    """(F,) the frame of each file, from 0."""
    found = [re.fullmatch(r"(.*?)(\d{1,9})", file.stem, re.DOTALL) for file in files]
    for file, match in zip(files, found, strict=True):
        if match is None:
            raise SourceError(f"{file}: its name does not end with a frame number", fix=_FIX)
    videos = list(dict.fromkeys(match[1] for match in found if match))
    if len(videos) > 1:
        raise SourceError(
            f"{path} has labels of {len(videos)} videos: {videos[0]}…, {videos[1]}…",
            fix="move those of each video into a folder of their own",
        )
    frames = frames_of_names([file.name for file in files], path, pictures)
    if found[0] and not pictures and int(found[0][2]) == frames[0]:
        message = "%s: frames were taken to count from 0 (%s is frame %d)"
        logger.warning(message, path, files[0].name, frames[0])
    return frames


def _rows(file: Path) -> _Rows:
    """The rows of a file, of 5 to 7 columns each."""
    text = TextFile.read(file)
    rows = []
    for row, line in enumerate(text.lines):
        fields = line.split()
        try:
            numbers = [float(each) for each in fields]
        except ValueError:
            numbers = []
        if not 5 <= len(numbers) <= 7 or not all(abs(number) < LARGEST for number in numbers):
            raise text.wrong(
                row,
                "5 to 7 numbers: class x y width height [score] [id]",
                f"{len(fields)} columns",
            )
        if numbers[0] != int(numbers[0]) or not 0 <= numbers[0] < 100_000:
            raise text.wrong(row, "a whole class from 0", f"{numbers[0]:g}")
        rows.append(numbers)
    return text, rows


def _with_ids(path: Path, files: list[_Rows]) -> list[NDArray[np.float64]]:
    """For each file its rows with an id: (N, 7) class, centre, extent, score, id."""
    has_seven = any(len(row) == 7 for _, rows in files for row in rows)
    ends_in_scores = has_seven or any(
        len(row) == 6 and row[5] != int(row[5]) for _, rows in files for row in rows
    )
    parts, num_rows = [], 0
    for text, rows in files:
        kept = []
        for number, row in enumerate(rows):
            has_id = len(row) == 7 or (len(row) == 6 and not ends_in_scores)
            if has_id and (row[-1] != int(row[-1]) or row[-1] < 0):
                raise text.wrong(number, "a whole id from 0", f"{row[-1]:g}")
            if has_id:
                kept.append([*row[:5], row[5] if len(row) == 7 else 1.0, row[-1]])
        num_rows += len(rows)
        parts.append(np.array(kept, np.float64).reshape(-1, 7))
    num_left_out = num_rows - sum(map(len, parts))
    if num_left_out == num_rows and num_rows:
        raise SourceError(
            f"{path}: none of its {num_rows} rows has an id",
            fix=NO_TRACKS,
        )
    if num_left_out:
        message = "%s: %d of %d rows have no id and were left out"
        logger.warning(message, path, num_left_out, num_rows)
    return parts
