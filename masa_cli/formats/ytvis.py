"""YouTube-VIS json of one video: for each identity its masks over all frames, out and in.

What is known of one identity is spread over the whole video, so masks wait in a file beside the
result; memory holds a few numbers for each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

import numpy as np
import orjson

from masa_cli.boxes import xywh_to_xyxy, xyxy_to_xywh
from masa_cli.errors import SourceError
from masa_cli.formats.files import PartFile, explained
from masa_cli.formats.numbering import check_same_video, frames_of_numbers, frames_of_stated
from masa_cli.formats.tables import NAMELESS, TrackTable
from masa_cli.masks import areas, as_array, mask_fields, read_masks
from masa_cli.structures import Frame, Tracks, VideoInfo

_VIDEO = 1


def read_tracks(path: Path, *, pictures: Sequence[str] = ()) -> TrackTable:
    """The tracks, in each frame in the order of the file.

    Args:
        path: a file of one video, with bboxes; its videos are numbered from 1.
        pictures: file names of the folder that is the video, in order; none where it is not one.

    Raises:
        SourceError: it is no such file.
    """
    with explained(path):
        data = path.read_bytes()
    try:
        content = orjson.loads(data)
        videos = content["videos"]
        check_same_video([each.get("id") for each in videos], path)
        [video] = videos
        categories = {entry["id"]: entry["name"] for entry in content["categories"]}
        labels = {number: label for label, number in enumerate(categories)}
        found = [row for entry in content["annotations"] for row in _rows(entry, labels)]
        num_frames = int(video["length"])
        if any(frame >= num_frames for frame, _ in found):
            raise ValueError(f"more entries than the {num_frames} frames")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise SourceError(
            f"{path} is no YouTube-VIS json of one video with bboxes: {reason}",
            fix="give one that --also ytvis has written",
        ) from None
    names = [str(name) for name in video.get("file_names") or ()]
    frames = np.array([frame for frame, _ in found], np.int64)
    if len(names) == num_frames:
        frames = frames_of_stated(np.arange(num_frames), names, path, pictures)[frames]
    else:
        frames = frames_of_numbers(frames, 0, path, pictures)
    return TrackTable.from_rows(
        path,
        frames,
        Tracks.joined(track for _, track in found),
        tuple(map(str, categories.values())) or (NAMELESS,),
        num_frames=num_frames,
    )


class YtvisWriter:
    """Writes videos, categories and, for each identity, bboxes, areas and segmentations.

    These lists have an entry for every frame, null where the identity is not. The category is
    that of most of its boxes, the score their mean. A box without a mask has a null segmentation;
    `interpolated` are the frames whose box was put between others.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        info: the video.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        self._info, self._classes = info, tuple(classes)
        self._identities: dict[int, _Identity] = {}
        self._num_frames = 0
        self._file = PartFile(path)
        self._waiting = TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed with the result

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take one frame."""
        self._num_frames = frame.index + 1
        boxes = np.round(xyxy_to_xywh(tracks.boxes).astype(np.float64), 2) + 0.0
        for row, mask in enumerate(mask_fields(tracks.masks)):
            size = int(areas([tracks.masks[row]])[0]) if mask else None
            identity = self._identities.setdefault(int(tracks.ids[row]), _Identity())
            identity.frames.append(frame.index)
            identity.offsets.append(self._waiting.tell())
            identity.scores += float(tracks.scores[row])
            if tracks.interpolated[row]:
                identity.interpolated.append(frame.index)
            label = int(tracks.labels[row])
            identity.labels[label] = identity.labels.get(label, 0) + 1
            entry = orjson.dumps(
                [boxes[row].tolist(), size, mask], option=orjson.OPT_APPEND_NEWLINE
            )
            self._waiting.write(entry)

    def __enter__(self) -> YtvisWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._waiting:
            if kind is None:
                self._write_all()
        self._file.__exit__(kind, error, traceback)

    def _write_all(self) -> None:
        size = {"width": self._info.width, "height": self._info.height}
        numbers = range(1, self._num_frames + 1)
        names = [f"{self._info.name}/{number:06d}.jpg" for number in numbers]
        video = {"id": _VIDEO, "file_names": names, "length": self._num_frames, **size}
        categories = [
            {"id": number, "name": name} for number, name in enumerate(self._classes, start=1)
        ]
        head = orjson.dumps({"videos": [video], "categories": categories})
        self._file.write(head[:-1] + b',\n"annotations":[')
        for number, (id_, identity) in enumerate(sorted(self._identities.items())):
            line = orjson.dumps(self._annotation(id_, identity))
            self._file.write((b",\n" if number else b"\n") + line)
        self._file.write(b"\n]}\n")

    def _annotation(self, id_: int, identity: _Identity) -> dict[str, object]:
        boxes: list[object] = [None] * self._num_frames
        sizes, masks = boxes.copy(), boxes.copy()
        for frame, offset in zip(identity.frames, identity.offsets, strict=True):
            self._waiting.seek(offset)
            boxes[frame], sizes[frame], masks[frame] = orjson.loads(self._waiting.readline())
        label = max(identity.labels, key=lambda label: (identity.labels[label], -label))
        return {
            "id": id_,
            "video_id": _VIDEO,
            "category_id": label + 1,
            "iscrowd": 0,
            "score": round(identity.scores / len(identity.frames), 4),
            "width": self._info.width,
            "height": self._info.height,
            "length": self._num_frames,
            "bboxes": boxes,
            "areas": sizes,
            "segmentations": masks,
            **({"interpolated": list(identity.interpolated)} if identity.interpolated else {}),
        }


@dataclass(slots=True)
class _Identity:
    """Where the entries of one identity wait, and what its label and score are."""

    frames: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    scores: float = 0.0  # sum over the frames
    labels: dict[int, int] = field(default_factory=dict)  # how often each
    interpolated: array[int] = field(default_factory=lambda: array("q"))  # frames


def _rows(entry: dict[str, Any], labels: dict[Any, int]) -> Iterator[tuple[int, Tracks]]:
    """Each frame an identity is in, and its row there."""
    masks = read_masks(entry["segmentations"], len(entry["bboxes"]))
    interpolated = set(entry.get("interpolated", ()))
    for frame, (box, mask) in enumerate(zip(entry["bboxes"], masks, strict=True)):
        if box is not None:
            yield (
                frame,
                Tracks(
                    xywh_to_xyxy(np.array([box], np.float32)),
                    np.array([entry["score"]], np.float32),
                    np.array([labels[entry["category_id"]]], np.int64),
                    np.array([entry["id"]], np.int64),
                    np.array([frame in interpolated]),
                    as_array([mask]),
                ),
            )
