"""COCO json of one video: images, categories and annotations with identities, out."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson

from masa_cli.boxes import xyxy_to_xywh
from masa_cli.formats.mask_json import mask_fields
from masa_cli.formats.part_file import PartFile
from masa_cli.masks import areas
from masa_cli.structures import Frame, Tracks, VideoInfo

_VIDEO = 1


class CocoWriter:
    """Writes one object with annotations first, since they are known first, one a line.

    Image and annotation ids count from 1; the category of label 0 is 1. `frame_id` and
    `frame_index` are both the place of the frame in the video, from 0. The area is that of the
    mask, where there is one.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        info: the video.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        self._file = PartFile(path)
        self._info = info
        self._classes = tuple(classes)
        self._frames = array("q")  # 8 bytes a frame: all that is kept until the end
        self._num_annotations = 0
        self._file.write(b'{"annotations":[')

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame; a frame without tracks becomes an image without annotations."""
        if len(tracks) and tracks.labels.max() >= len(self._classes):
            raise ValueError(f"labels must be below {len(self._classes)}, got {tracks.labels}")
        self._frames.append(frame.index)
        # As fine as in MOT files. Adding 0 turns -0.0 into 0.0.
        boxes = np.round(xyxy_to_xywh(tracks.boxes).astype(np.float64), 2) + 0.0
        scores = np.round(tracks.scores.astype(np.float64), 4) + 0.0
        columns = (tracks.ids, tracks.labels, boxes, scores, tracks.interpolated, tracks.masks)
        annotations = [
            {
                "id": number,
                "image_id": frame.index + 1,
                "video_id": _VIDEO,
                "category_id": label + 1,
                "track_id": id_,
                "instance_id": id_,
                "bbox": box,
                "area": int(areas([mask])[0]) if mask else round(box[2] * box[3], 4),
                "iscrowd": 0,
                "score": score,
                **({"interpolated": True} if interpolated else {}),
                **({"segmentation": mask_fields([mask])[0]} if mask else {}),
            }
            for number, (id_, label, box, score, interpolated, mask) in enumerate(
                zip(*(column.tolist() for column in columns), strict=True),
                start=self._num_annotations + 1,
            )
        ]
        if annotations:
            self._append(annotations, is_first=self._num_annotations == 0)
            self._num_annotations += len(annotations)

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write_rest()
        self._file.__exit__(kind, error, traceback)

    def _write_rest(self) -> None:
        """Images and the lists that are as long as the video or shorter."""
        size = {"width": self._info.width, "height": self._info.height}
        self._file.write(b'\n],\n"images":[')
        for place, index in enumerate(self._frames):
            image = {
                "id": index + 1,
                "video_id": _VIDEO,
                "file_name": f"{self._info.name}/{index + 1:06d}.jpg",
                "frame_id": index,
                "frame_index": index,
                **size,
            }
            self._append([image], is_first=place == 0)
        names = enumerate(self._classes, start=1)
        categories = [{"id": number, "name": name} for number, name in names]
        video = {"id": _VIDEO, "name": self._info.name, **size}
        rest = {"categories": categories, "videos": [video]}
        self._file.write(b"\n],\n" + orjson.dumps(rest)[1:] + b"\n")

    def _append(self, entries: Sequence[dict[str, Any]], *, is_first: bool) -> None:
        lines = b",\n".join(map(orjson.dumps, entries))
        self._file.write((b"\n" if is_first else b",\n") + lines)
