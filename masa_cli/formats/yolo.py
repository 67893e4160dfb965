"""YOLO's label files: a folder with one text per frame and the names of the classes.

    <folder>/labels/<name>_000001.txt     class centre-x centre-y width height[ score id]
    <folder>/data.yaml                    names: {0: car, …}

Coordinates are fractions of the image's width and height. `yolo` has five columns, what detectors
are trained with: identities are lost. `yolo-tracks` has seven, as Ultralytics writes its tracks.
Frames count from 1 in the names of files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import yaml

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats.files import PartFolder, TextFile, explained
from masa_cli.formats.tables import LARGEST, TrackTable
from masa_cli.structures import Frame, Tracks, VideoInfo

_FIRST_FRAME = 1
_LABELS, _NAMES = "labels", "data.yaml"
_FIX = "give the folder that holds labels/ and data.yaml, or the folder of labels"


def read_tracks(path: Path, *, size: tuple[int, int] | None = None) -> TrackTable:
    """Read a folder of seven columns, or six, where the last is the id.

    The frame is the number that ends a file's name, from 1.

    Args:
        path: the folder, or the one in it that holds the texts.
        size: width and height of the video, pixels.

    Raises:
        SourceError: there are no such files, or a line is malformed.
        SettingsError: there is no size.
    """
    if size is None:
        raise SettingsError(
            f"{path}: YOLO's coordinates are fractions of the image, whose size is not known",
            fix="name the video with --video, or its size with --size",
        )
    folder = path / _LABELS if (path / _LABELS).is_dir() else path
    files = sorted(file for file in folder.glob("*.txt") if file.name != "classes.txt")
    if not files:
        raise SourceError(f"{path} has no texts of labels", fix=_FIX)
    parts, frames = [], []
    for file in files:
        rows = _rows(file)
        frames.append(np.full(len(rows), _frame(file)))
        parts.append(rows)
    columns = np.concatenate(parts)
    centre, extent = columns[:, 1:3] * size, columns[:, 3:5] * size
    labels = columns[:, 0].astype(np.int64)
    names = _names(folder, path)
    return TrackTable.from_rows(
        path,
        np.concatenate(frames),
        Tracks(
            np.concatenate([centre - extent / 2, centre + extent / 2], axis=1).astype(np.float32),
            columns[:, 5].astype(np.float32),
            labels,
            columns[:, 6].astype(np.int64),
        ),
        tuple(names.get(n, str(n)) for n in range(max([*names, *labels.tolist(), 0]) + 1)),
        num_frames=max(map(_frame, files)) + 1,
        size=size,
    )


class YoloWriter:
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
        self._folder = PartFolder(path, {_LABELS, _NAMES}.__contains__)
        self._folder.write(_NAMES, _data(classes).encode())

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
        self._folder.write(f"{_LABELS}/{name}", "".join(lines).encode())

    def __enter__(self) -> YoloWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._folder.__exit__(kind, error, traceback)


class YoloTracksWriter(YoloWriter):
    """The same, where each line ends with score and id."""

    _with_ids = True


def _data(classes: Sequence[str]) -> str:
    """The names as YAML: what JSON quotes, YAML reads."""
    names = "".join(f"  {label}: {json.dumps(name)}\n" for label, name in enumerate(classes))
    return f"path: .\ntrain: images\nval: images\nnames:\n{names}"


def _names(folder: Path, path: Path) -> dict[int, str]:
    """Of the classes, from data.yaml or classes.txt; empty where there is neither."""
    for each in (path, folder, folder.parent):
        if (each / _NAMES).is_file():
            return _yaml_names(each / _NAMES)
        if (each / "classes.txt").is_file():
            lines = TextFile.read(each / "classes.txt").lines
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


def _frame(file: Path) -> int:
    found = re.search(r"(\d{1,9})$", file.stem)
    number = int(found[1]) if found else 0
    if number < _FIRST_FRAME:
        raise SourceError(f"{file}: its name does not end with a frame number from 1", fix=_FIX)
    return number - _FIRST_FRAME


def _rows(file: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(N, 7) class, centre, extent, score, id."""
    text = TextFile.read(file)
    rows = []
    for row, line in enumerate(text.lines):
        fields = line.split()
        try:
            numbers = [float(each) for each in fields]
        except ValueError:
            numbers = []
        if len(numbers) not in (6, 7) or not all(abs(number) < LARGEST for number in numbers):
            raise text.wrong(
                row, "6 or 7 numbers: class x y width height [score] id", f"{len(fields)} columns"
            )
        label, id_ = numbers[0], numbers[-1]
        if label != int(label) or id_ != int(id_) or not 0 <= label < 100_000 or id_ < 1:
            raise text.wrong(row, "a whole class from 0 and a whole id from 1", f"{label}, {id_}")
        rows.append([*numbers[:5], numbers[5] if len(numbers) == 7 else 1.0, id_])
    return np.array(rows, np.float64).reshape(-1, 7)
