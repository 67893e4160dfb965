"""COCO json of one video: tracks in and out, detections in.

Tracks are one file with `images`, `annotations` that have a track_id or an instance_id, and
`categories`. Detections are such a file, too, without identities; or results, a list of {image_id,
category_id, bbox [left, top, width, height], score}, with a second file that tells which frame
each image is. https://cocodataset.org/#format-data has what is common to all of them.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import orjson

from masa_cli.boxes import xywh_to_xyxy, xyxy_to_xywh
from masa_cli.errors import SettingsError, SourceError, shortened
from masa_cli.formats.files import HELP, FileWriter, PartFile, TextFile
from masa_cli.formats.json_fields import Columns, columns_of, masks_of, read_json
from masa_cli.formats.numbering import (
    check_one_video,
    check_same_video,
    frames_of_names,
    frames_of_stated,
    two_videos,
)
from masa_cli.formats.tables import (
    LARGEST,
    MAX_FRAMES,
    NAMELESS,
    NO_TRACKS,
    DetectionTable,
    TrackTable,
    numbered,
)
from masa_cli.formats.times import FrameTimes
from masa_cli.masks import areas, as_array, mask_fields, read_masks
from masa_cli.structures import Frame, Mask, MaskArray, Tracks, VideoInfo

logger = logging.getLogger(__name__)

_ID_KEYS = ("track_id", "instance_id")
Size: TypeAlias = tuple[int, int]  # width and height, pixels
_VIDEO = 1  # its id, as there is one in a file

# What tells the frame of an image, the surer the earlier; and the number of the first frame, where
# all who write it agree. ByteTrack and others count frame_id from 1, mmtracking from 0.
_FRAME_KEYS: Mapping[str, int | None] = MappingProxyType({"frame_index": 0, "frame_id": None})


def read_tracks(
    path: Path, *, size: Size | None = None, pictures: Sequence[str] = ()
) -> TrackTable:
    """One file with images, categories and annotations that have a track_id or an instance_id.

    CVAT has the track_id among the `attributes`. Where some have none, they are left out, and
    counted in a warning.

    The frame of an image is found as in `read_detections`. A missing score is 1. A
    segmentation may be polygons or run lengths.

    Args:
        path: the file.
        size: of images that do not tell theirs.
        pictures: file names of the folder that is the video, in order; none where it is not one.

    Raises:
        SourceError: it is no such file, or an entry is malformed.
        SettingsError: there are polygons in images whose size is not known.
    """
    content = read_json(path)
    images = columns_of(content, path, "images")
    annotations = columns_of(content, path, "annotations")
    frames = frames_of_images(content, path, pictures)
    names = names_of_categories(content, path)
    table = track_table(path, annotations, frames, names, sizes_of_images(images, size))
    told = [
        row.get("time") if type(row.get("time")) in (int, float) else None for row in images.rows
    ]
    indices = np.array([*frames.values()], np.int64)
    return replace(table, times=FrameTimes.of_rows(path, indices, np.array(told, np.float64)))


class CocoWriter(FileWriter[PartFile]):
    """Writes one object with annotations first, since they are known first, one a line.

    Image and annotation ids count from 1; the category of label 0 is 1. `frame_id` and
    `frame_index` are both the index of the frame in the video, from 0. The area is that of the
    mask, where there is one.

    Args:
        path: replaced at a clean close; until then `<path>.part`.
        info: the video.
        classes: names of the labels.
    """

    def __init__(self, path: Path, *, info: VideoInfo, classes: Sequence[str]) -> None:
        super().__init__(PartFile(path))
        self._info = info
        self._classes = tuple(classes)
        self._frames, self._times = array("q"), array("d")  # all that is kept until the end
        self._num_annotations = 0
        self._file.write(b'{"annotations":[')

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Append one frame; a frame without tracks becomes an image without annotations."""
        if len(tracks) and tracks.labels.max() >= len(self._classes):
            raise ValueError(f"labels must be below {len(self._classes)}, got {tracks.labels}")
        self._frames.append(frame.index)
        self._times.append(float(frame.time))
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

    def _write_end(self) -> None:
        """Images and the lists that are as long as the video or shorter."""
        size = {"width": self._info.width, "height": self._info.height}
        self._file.write(b'\n],\n"images":[')
        for position, (index, time) in enumerate(zip(self._frames, self._times, strict=True)):
            image = {
                "id": index + 1,
                "video_id": _VIDEO,
                "file_name": f"{self._info.name}/{index + 1:06d}.jpg",
                "frame_id": index,
                "frame_index": index,
                "time": time,
                **size,
            }
            self._append([image], is_first=position == 0)
        names = enumerate(self._classes, start=1)
        categories = [{"id": number, "name": name} for number, name in names]
        video = {"id": _VIDEO, "name": self._info.name, **size}
        rest = {"categories": categories, "videos": [video]}
        self._file.write(b"\n],\n" + orjson.dumps(rest)[1:] + b"\n")

    def _append(self, entries: Sequence[dict[str, Any]], *, is_first: bool) -> None:
        lines = b",\n".join(map(orjson.dumps, entries))
        self._file.write((b"\n" if is_first else b",\n") + lines)


def read_detections(
    path: Path, images: Path | None = None, pictures: Sequence[str] = ()
) -> DetectionTable:
    """Read results, or a file that has both images and annotations.

    The frame of an image is that of its `file_name` in the folder, if that is known and has it;
    else its `frame_index`, or its `frame_id` where not all have the former; else the number in its
    `file_name`. See `numbering`. Categories without a name are called by their number.

    Args:
        path: results or annotations.
        images: a file with `images`, and perhaps `categories`, to use instead of those of `path`.
        pictures: see `read_tracks`.
    """
    content = _read_json(path)
    if content in ([], None):
        return _table([], {})
    entries, default_score = content, None
    if not isinstance(entries, list):
        entries, default_score = _list(content, "annotations", path), 1.0
    elif images is None:
        raise SourceError(
            f"{path} is a list of COCO results, which does not tell the frames of its images",
            fix="name the file that has the images with --dets-images",
        )
    source = images or path
    catalogue = content if images is None else _read_json(images)
    _list(catalogue, "images", source)
    frames = frames_of_images(catalogue, source, pictures)
    rows, masks = [], []
    for number, entry in enumerate(entries, start=1):
        where = f"{path} entry {number}"
        rows.append(_row(entry, frames, default_score, where=where))
        masks.append(_mask(entry, where=where))
    return _table(rows, names_of_categories(catalogue, source), as_array(masks))


def track_table(
    path: Path,
    rows: Columns,
    frames: Mapping[Any, int],
    names: Mapping[int, str],
    sizes: Mapping[Any, Size | None],
) -> TrackTable:
    """Of boxes as COCO and TAO have them; `frames` and `sizes` by image_id."""
    rows = _identified(path, rows)
    images = rows.of("image_id")
    for number, image in enumerate(images):
        if not isinstance(image, int | str) or image not in frames:
            raise rows.wrong(number, "the id of one of the images as image_id", image, HELP)
    scored = replace(rows, rows=[{"score": row.get("score", 1.0)} for row in rows.rows])
    marks = [row.get("interpolated") is True for row in rows.rows]
    labels, classes = numbered(
        [*names.values(), *(names.get(each, str(each)) for each in rows.whole("category_id"))]
    )
    tracks = Tracks(
        xywh_to_xyxy(rows.numbers("bbox", 4)).astype(np.float32),
        scored.numbers("score").astype(np.float32),
        labels[len(names) :],
        rows.whole(_ID_KEYS[0]),
        np.array(marks, np.bool_),
        _masks(path, rows, [sizes[image] for image in images]),
    )
    known = set(sizes.values())
    return TrackTable.from_rows(
        path,
        np.array([frames[image] for image in images], np.int64),
        tracks,
        classes or (NAMELESS,),
        num_frames=max(frames.values(), default=-1) + 1,
        size=known.pop() if len(known) == 1 else None,
    )


def _identified(path: Path, rows: Columns) -> Columns:
    """Those rows that have an identity, under the first of _ID_KEYS."""
    key = next((key for key in _ID_KEYS if all(key in row for row in rows.rows)), _ID_KEYS[0])
    ids = [_identity(row, key) for row in rows.rows]
    num_bare = ids.count(None)
    if num_bare == len(ids) and ids:
        raise SourceError(
            f"{path}: none of its {len(ids)} annotations has a {' or '.join(_ID_KEYS)}",
            fix=NO_TRACKS,
        )
    if num_bare:
        message = "%s: %d of %d annotations have no %s and were left out"
        logger.warning(message, path, num_bare, len(ids), key)
    kept = [
        row | {_ID_KEYS[0]: id_} for row, id_ in zip(rows.rows, ids, strict=True) if id_ is not None
    ]
    return replace(rows, rows=kept)


def _identity(row: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - JSON
    """Of an annotation, from its attributes where it has none itself; None if there is none."""
    if row.get(key) is not None:
        return row[key]
    attributes = row.get("attributes")
    return attributes.get(key) if isinstance(attributes, dict) else None


def names_of_categories(catalogue: object, path: Path) -> dict[int, str]:
    """Name of each category_id, in the order of the file."""
    if not isinstance(catalogue, dict) or "categories" not in catalogue:
        return {}
    try:
        return {
            int(entry["id"]): str(entry["name"]) for entry in _list(catalogue, "categories", path)
        }
    except (KeyError, TypeError, ValueError):
        raise SourceError(
            f'{path}: not all categories have an "id" and a "name"', fix=HELP
        ) from None


def frames_of_images(
    catalogue: Any,  # noqa: ANN401 - JSON whose "images" is a list of objects
    path: Path,
    pictures: Sequence[str] = (),
) -> dict[Any, int]:
    """Frame of each image_id; NO_PICTURE for those that the folder does not have.

    Raises:
        SourceError: images are of several videos, or an id or a frame is missing or there twice.
    """
    images = catalogue["images"]
    _check_one_video(catalogue, path)
    ids = [image.get("id") for image in images]
    if not all(isinstance(id_, int | str) for id_ in ids) or len(set(ids)) < len(ids):
        raise SourceError(f'{path}: not all images have an "id" of their own', fix=HELP)
    names = [str(image["file_name"]) for image in images if image.get("file_name")]
    key = next((key for key in _FRAME_KEYS if all(key in image for image in images)), None)
    if key is not None and images:
        stated = [image[key] for image in images]
        if not all(type(number) is int and 0 <= number <= MAX_FRAMES for number in stated):
            raise SourceError(f"{path}: not all images have a whole frame number from 0", fix=HELP)
        if len(set(stated)) < len(stated):
            double = next(number for number in stated if stated.count(number) > 1)
            pair = [str(each) for each, n in zip(names or ids, stated, strict=False) if n == double]
            raise two_videos(path, pair, f"images of the same frame number, {double}")
        found = frames_of_stated(
            np.array(stated, np.int64), names, path, pictures, first=_FRAME_KEYS[key]
        )
    else:
        called = names if len(names) == len(ids) else [str(id_) for id_ in ids]
        found = frames_of_names(called, path, pictures)
    return dict(zip(ids, found.tolist(), strict=True))


def sizes_of_images(images: Columns, default: Size | None) -> dict[Any, Size | None]:
    """By image_id; `default` where an image does not tell."""
    return {image["id"]: _size(image) or default for image in images.rows}


def _read_json(path: Path) -> object:
    """What the file holds; None where it is empty."""
    text = TextFile.read(path)
    try:
        return orjson.loads("\n".join(text.lines)) if text.lines else None
    except orjson.JSONDecodeError as error:
        where = f"line {text.numbers[error.lineno - 1]} column {error.colno}"
        raise SourceError(f"{path} {where} is not JSON: {error.msg}", fix=HELP) from None


def _list(content: object, key: str, path: Path) -> list[dict[str, Any]]:
    """The list of objects under a key of the file."""
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise SourceError(f'{path} has no list of objects under "{key}"', fix=HELP)
    return found


def _check_one_video(catalogue: dict[str, Any], path: Path) -> None:
    """Raise SourceError where images are of several videos, by what they say or by their names."""
    images, videos = catalogue["images"], catalogue.get("videos")
    listed = videos if isinstance(videos, list) else []
    entries = [each for each in listed if isinstance(each, dict)]
    called = {str(each.get("id")): each.get("name") or each.get("file_name") for each in entries}
    ids = [str(image.get("video_id")) for image in images]
    check_same_video([called.get(id_) or id_ for id_ in ids], path)
    check_same_video(ids, path)
    names = [str(image.get("file_name") or "") for image in images]
    if all(names) and not all("video_id" in image for image in images):
        check_one_video(names, path)


def _row(
    entry: dict[str, Any], frames: dict[Any, int], default_score: float | None, *, where: str
) -> tuple[float, ...]:
    """Frame, category, left, top, width, height, score of one result."""
    try:
        left, top, width, height = entry["bbox"]
        score: Any = entry.get("score", default_score)
        numbers = (left, top, width, height, score)
        category = int(entry["category_id"])
        frame = frames.get(entry["image_id"])
        # NaN cannot be written in JSON; abs raises TypeError at anything but a number.
        plain = max(map(abs, numbers)) < LARGEST
    except (AttributeError, KeyError, TypeError, ValueError):
        plain = False
    if not plain:
        raise SourceError(
            f"{where}: expected image_id, category_id, bbox of 4 finite numbers and score, "
            f"got {shortened(str(entry))}",
            fix=HELP,
        )
    if frame is None:
        raise SourceError(
            f"{where}: no image has the id {entry['image_id']}",
            fix="use the images that the results were made from",
        )
    return (frame, category, *numbers)


def _mask(entry: dict[str, Any], *, where: str) -> Mask | None:
    """The mask of one result, if it is given as compressed run lengths; polygons are not read."""
    segmentation = entry.get("segmentation")
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), str):
        return None
    try:
        mask: Mask | None = read_masks([segmentation], 1)[0]
    except ValueError as error:
        raise SourceError(
            f'{where}: expected compressed run lengths as "segmentation", got {error}', fix=HELP
        ) from None
    return mask


def _table(
    rows: list[tuple[float, ...]], names: dict[int, str], masks: MaskArray | None = None
) -> DetectionTable:
    columns = np.array(rows, np.float64).reshape(-1, 7)
    frames, categories = columns[:, :2].astype(np.int64).T
    found: list[int] = np.unique(categories).tolist()
    names = names | {number: str(number) for number in found if number not in names}
    label_of = {number: label for label, number in enumerate(names)}
    return DetectionTable.from_rows(
        frames,
        xywh_to_xyxy(columns[:, 2:6].astype(np.float32)),
        columns[:, 6].astype(np.float32),
        np.array([label_of[number] for number in categories.tolist()], np.int64),
        tuple(names.values()) or (NAMELESS,),
        masks,
    )


def _masks(path: Path, rows: Columns, sizes: Sequence[Size | None]) -> MaskArray:
    """(N,) the masks of boxes in images of these sizes."""
    for row, size in zip(rows.rows, sizes, strict=True):
        if size is None and row.get("segmentation") and isinstance(row["segmentation"], list):
            raise SettingsError(
                f"{path} has polygons, but not the width and height of its images",
                fix="give the video with --video, or its --size",
            )
    return masks_of(rows, "segmentation", [size and (size[1], size[0]) for size in sizes])


def _size(image: Mapping[str, Any]) -> Size | None:
    """Of an image, if it tells a size that is one."""
    width, height = image.get("width"), image.get("height")
    if not (type(width) is int and type(height) is int and min(width, height) > 0):
        return None
    return width, height
