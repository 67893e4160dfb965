"""Which frame a box belongs to: one rule for all readers, told in docs/formats.md.

Inside, a frame is the position of its picture in the video, from 0. Files tell it by the name of
the picture, by a number that counts from 0 or from 1, or by their order alone. Where the video is a
folder, names of its pictures go before everything else, since they leave nothing to be guessed.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from masa_cli.errors import SourceError, shortened
from masa_cli.formats.tables import MAX_FRAMES
from masa_cli.structures import IntArray

logger = logging.getLogger(__name__)

NO_PICTURE = -1  # in place of the frame of a picture that the folder does not have

# How CVAT calls the frames of a video, which it counts from 0.
_OF_CVAT = re.compile(r"frame_\d{6}(\.PNG|\.txt)?")

# A date and a time, behind which no number of a frame follows.
_DATED = re.compile(
    r"(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d\D{0,3}[0-2]\d[-_.:]?[0-5]\d[-_.:]?[0-5]\d\D*$"
)
# frame_5_jpg.rf.0123abcd, of Roboflow, and 0123abcd-frame_5, of Label Studio.
_ADDED = re.compile(
    r"(?:_(?:jpe?g|png|bmp|tiff?|webp))?\.rf\.\w+$|^(?=[0-9]*[a-f])[0-9a-f]{8}-(?=.)"
)
_MOST_SPARSE = 10_000  # frames for each one that is listed; numbers further apart are no frames
SPLIT = (
    "write the pictures of one video, with their boxes, into a file of their own; "
    "from CVAT, export one task after the other"
)


def frames_of_names(names: Sequence[str], where: Path, pictures: Sequence[str] = ()) -> IntArray:
    """(N,) the frames of pictures of which a file tells nothing but the names, each another one.

    Args:
        names: file names, perhaps with folders.
        where: the file, for messages.
        pictures: file names of the folder that is the video, in order; none where it is not one.

    Returns: frames from 0, `NO_PICTURE` for names that are not in the folder, though others are.

    Raises:
        SourceError: the names are those of two videos.
    """
    check_one_video(names, where)
    found = _in_folder(names, pictures)
    if found is not None:
        _tell_missing(names, found, where)
        _tell_gaps(names, found, where, is_sure=True)
        return found
    numbers = _numbers_in(names)
    if numbers is None:
        ranks = np.empty(len(names), np.int64)
        ranks[sorted(range(len(names)), key=lambda index: natural_order(names[index]))] = range(
            len(names)
        )
        if len(names) > 1:
            logger.warning(
                "%s: names of pictures tell no frames, so their order does: %s is frame 0",
                where,
                names[int(np.argmin(ranks))],
            )
        return ranks
    first, is_sure = _first_of(names, numbers)
    own = _numbers_in(pictures)
    if own is not None and not is_sure and set(numbers.tolist()) <= set(own.tolist()):
        first = int(own.min()) if _is_plain(own) else first
    frames = frames_of_numbers(numbers - first, first, where, pictures)
    _tell_gaps(names, frames, where, is_sure=is_sure)
    return frames


def frames_of_stated(
    stated: IntArray,
    names: Sequence[str],
    where: Path,
    pictures: Sequence[str] = (),
    *,
    first: int | None = 0,
) -> IntArray:
    """(N,) the frames of pictures of which a file tells a number, and perhaps the names.

    A number that is one less than that in the name counts from 0; the same as in the name, it
    counts as names do. Where names tell nothing, numbers count from the lower of 0 and 1 that
    occurs.

    Args:
        stated: (N,) the numbers.
        names: file names, which are looked at if there are N.
        where: the file, for messages.
        pictures: see `frames_of_names`.
        first: the number of the first frame by the rules of the format; None: these differ.

    Returns: see `frames_of_names`.
    """
    names = names if len(names) == len(stated) else ()
    found = _in_folder(names, pictures) if names else None
    if found is not None and found.min() >= 0:
        # If it has all: names that a converter made up may hit a few by chance.
        _tell_gaps(names, found, where, is_sure=True)
        return found
    lowest = int(stated.min(initial=0 if not len(stated) else MAX_FRAMES))
    numbers = _numbers_in(names)
    if lowest < 1:
        start = 0
    elif numbers is not None and np.array_equal(numbers, stated):
        start, is_sure = _first_of(names, numbers)
        if not is_sure or start:
            _tell_start(start, where, stated, names)
    elif numbers is not None and np.array_equal(numbers, stated + 1):
        start = 0
    elif first is None:
        start = int(lowest == 1)
        _tell_start(start, where, stated, names)
    else:
        start = first
    return frames_of_numbers(stated - start, start, where, pictures)


def frames_of_numbers(
    frames: IntArray, first: int, where: Path, pictures: Sequence[str]
) -> IntArray:
    """(M,) frames by numbers alone, as far as the pictures of the folder speak for others.

    In a folder whose numbers have gaps or begin late, numbers may be those of the pictures, or
    count the frames of the whole of which they are a part. They do if that finds pictures for more
    boxes than their position does; for as many, too, unless they count from 0, as ours do, and none
    is beyond the last position. In a folder that is numbered without gaps, a file that counts from
    1 against its rules is noticed by its last frame.

    Args:
        frames: (M,) frames by the rules of the format.
        first: the number of the first frame by these rules, which was taken off.
        where: the file, for messages.
        pictures: see `frames_of_names`.
    """
    own = _numbers_in(pictures)
    if not len(frames) or not pictures:
        return frames
    if own is None or _is_plain(own):
        if first == 0 and frames.min() == 1 and frames.max() == len(pictures):
            message = "%s: frames count from 1 here: %d is %s, frame %d"
            logger.warning(message, where, len(pictures), pictures[-1], len(pictures) - 1)
            return frames - 1
        return frames
    index_of = {number: index for index, number in enumerate(own.tolist())}
    distinct, rows, counts = np.unique(frames, return_inverse=True, return_counts=True)
    whole = 0 if own.min() == 0 or _are_of_cvat(pictures) else 1  # what its first frame is called
    readings = [  # the number in the name for each frame
        distinct + start for start in ((whole, first) if not distinct[0] else (first, whole))
    ]
    found = [
        np.array([index_of.get(n, NO_PICTURE) for n in each.tolist()], np.int64)
        for each in readings
    ]
    nums_found = [int(counts[each >= 0].sum()) for each in found]
    best = int(np.argmax(nums_found))
    num_by_position = int(counts[distinct < len(pictures)].sum())
    may_be_positions = first == 0 and distinct[-1] < len(pictures)
    if nums_found[best] < max(1, num_by_position + may_be_positions):
        if index := min(int(frames.max()), len(pictures) - 1):
            message = "%s: numbers are positions in the folder: %d is %s"
            logger.warning(message, where, index + first, pictures[index])
        return frames
    last = int(np.flatnonzero(found[best] >= 0)[-1])
    index = int(found[best][last])
    message = "%s: numbers are those of the pictures: %d is %s, frame %d"
    logger.warning(message, where, distinct[last] + first, pictures[index], index)
    if num_lost := len(frames) - nums_found[best]:
        lost = int(distinct[found[best] < 0][0]) + first
        message = "%s: %d boxes whose pictures the folder lacks were dropped, such as those of %d"
        logger.warning(message, where, num_lost, lost)
    return found[best][rows]


def frames_of_video(frames: IntArray, first: int, where: Path, num_frames: int | None) -> IntArray:
    """(M,) frames by numbers alone, where the video is a file.

    As in a folder without gaps, a file that counts from 1 against its rules is noticed by a box in
    the last frame, which would be beyond the end.

    Args:
        frames: (M,) frames by the rules of the format.
        first: the number of the first frame by these rules, which was taken off.
        where: the file, for messages.
        num_frames: of the video; None where it is not known.
    """
    if first or not len(frames) or frames.min() != 1 or frames.max() != num_frames:
        return frames
    message = "%s: frames count from 1 here: %d is the last of the video"
    logger.warning(message, where, num_frames)
    return frames - 1


def check_one_video(names: Sequence[str], where: Path) -> None:
    """Raise SourceError where names of pictures can only be those of two videos."""
    what = "pictures that are the same frame of two videos"
    counts = Counter(map(_key, names))
    for name in names:
        if counts[_key(name)] > 1:
            raise SourceError(f'{where} has "{name}" twice, as if of two videos', fix=SPLIT)
    parts = _numbered_parts(names)
    if parts is None or len({text for text, _ in parts}) == len(parts) > 2:
        return  # a folder for each frame
    owners: dict[int, tuple[str, str]] = {}
    for name, (text, number) in zip(names, parts, strict=True):
        other_name, other_text = owners.setdefault(number, (name, text))
        if other_text != text:
            raise two_videos(where, [other_name, name], what)


def check_same_video(videos: Sequence[object], where: Path) -> None:
    """Raise SourceError where not all are the same; they are named by what they are."""
    if len(distinct := list(dict.fromkeys(map(str, videos)))) > 1:
        raise two_videos(where, distinct, f"{len(distinct)} videos")


def two_videos(where: Path, videos: Sequence[str], what: str) -> SourceError:
    """The error for a file that joins several."""
    quoted = ", ".join(f'"{shortened(video)}"' for video in videos[:3])
    more = ", …" if len(videos) > 3 else ""
    return SourceError(f"{where} has {what}, expected those of one: {quoted}{more}", fix=SPLIT)


def natural_order(name: str) -> list[str | int]:
    """A key that sorts 9.jpg before 10.jpg."""
    # Text and digits take turns, so that at each position like is compared with like.
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if position % 2 else part for position, part in enumerate(parts)]


def _in_folder(names: Sequence[str], pictures: Sequence[str]) -> IntArray | None:
    """Where in the folder pictures of these names are; None if it has none of them."""
    index_of = {_stem(picture): index for index, picture in enumerate(pictures)}
    found = np.array([index_of.get(_stem(name), NO_PICTURE) for name in names], np.int64)
    return found if np.any(found >= 0) else None


def _tell_missing(names: Sequence[str], found: IntArray, where: Path) -> None:
    if num_missing := int(np.sum(found < 0)):
        logger.warning(
            "%s: %d of its %d pictures are not in the folder, such as %s; their boxes are left out",
            where,
            num_missing,
            len(names),
            names[int(np.argmin(found))],
        )


@dataclass(frozen=True, slots=True)
class _Split:
    """A name, taken apart at its runs of digits."""

    texts: tuple[str, ...]
    digits: tuple[str, ...]

    @staticmethod
    def of(name: str) -> _Split:
        parts = re.split(r"([0-9]+)", _stem(name))
        return _Split(tuple(parts[::2]), tuple(parts[1::2]))


def _numbers_in(names: Sequence[str]) -> IntArray | None:
    """(N,) the numbers by which names differ, each another one; None if they are no frames."""
    splits = [_Split.of(name) for name in names]
    if not splits or len({split.texts for split in splits}) > 1 or not splits[0].digits:
        return None
    if any(_DATED.search(_stem(name)) for name in names):
        return None
    columns = list(zip(*(split.digits for split in splits), strict=True))
    varying = [column for column in columns if len(set(column)) > 1] or columns[-1:]
    if len(varying) > 1 or max(map(len, varying[0])) > 9:
        return None
    numbers = np.array([int(digits) for digits in varying[0]], np.int64)
    if len(np.unique(numbers)) < len(numbers) or numbers.max() >= MAX_FRAMES:
        return None
    return None if np.ptp(numbers) > _MOST_SPARSE * len(numbers) else numbers


def _numbered_parts(names: Sequence[str]) -> list[tuple[str, int]] | None:
    """Of each name the folder with what stands before its last number, and this number."""
    found = []
    for name in names:
        folder, _, file = name.replace("\\", "/").rpartition("/")
        split = _Split.of(file)
        if not split.digits or _DATED.search(_stem(name)) or len(split.digits[-1]) > 9:
            return None
        before = "".join(
            text + digits
            for text, digits in zip(split.texts, (*split.digits[:-1], ""), strict=False)
        )
        found.append((f"{folder}/{before}", int(split.digits[-1])))
    return found


def _first_of(names: Sequence[str], numbers: IntArray) -> tuple[int, bool]:
    """The number of the first frame, 0 or 1; and whether that is sure."""
    if not numbers.min():
        return 0, True
    if _are_of_cvat(names):
        return 0, True
    return 1, bool(numbers.min() == 1 and np.ptp(numbers) + 1 == len(numbers))


def _are_of_cvat(names: Sequence[str]) -> bool:
    return all(_OF_CVAT.fullmatch(_file(name)) for name in names)


def _is_plain(numbers: IntArray) -> bool:
    """Whether they go up by one, from 0 or from 1."""
    return int(numbers[0]) in (0, 1) and bool(np.all(np.diff(numbers) == 1))


def _tell_gaps(names: Sequence[str], frames: IntArray, where: Path, *, is_sure: bool) -> None:
    """Warn of frames between those that are listed, and of numbers that may be meant otherwise."""
    known = frames[frames >= 0]
    if not len(known) or (is_sure and np.ptp(known) + 1 == len(known)):
        return
    row = int(np.argmax(frames))
    logger.warning(
        "%s lists %d of the frames %d to %d, by the names of pictures: %s is frame %d",
        where,
        len(known),
        known.min(),
        frames[row],
        names[row],
        frames[row],
    )


def _tell_start(start: int, where: Path, stated: IntArray, names: Sequence[str]) -> None:
    row = int(stated.argmax())
    called = f" ({names[row]})" if names else ""
    message = "%s: frames are taken to count from %d: %d%s is frame %d"
    logger.warning(message, where, start, stated[row], called, stated[row] - start)


def _file(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _stem(name: str) -> str:
    """Without folders, the ending, and what Roboflow and Label Studio add; in lower case."""
    file = _file(name)
    stem, dot, ending = file.rpartition(".")
    stem = (stem if dot and stem and not ending.isdigit() else file).lower()
    return _ADDED.sub("", stem) or stem


def _key(name: str) -> str:
    """What tells pictures apart: the whole name, in lower case."""
    return name.replace("\\", "/").removeprefix("./").lower()
