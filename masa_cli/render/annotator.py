"""Tracks drawn onto frames: a box, an identity and a name, in a colour that stays with the id."""

from __future__ import annotations

import colorsys
import functools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from masa_cli.masks import unpack
from masa_cli.structures import (
    BoolArray,
    FloatArray,
    Frame,
    FrameTracks,
    Image,
    Mask,
    Tracks,
    VideoInfo,
)

Colour = tuple[int, int, int]

EVERY = "all"  # among the classes to blur

TINT = 0.4  # how much of the colour covers what is under it, 0 to 1

CELLS = 5  # as many means are left of a box in each direction: too few for a face or a number plate
MARGIN = 0.1  # of the box's width and height, hidden all around: boxes are not exact

GOLDEN_RATIO = 0.618033988749895


@dataclass(frozen=True, slots=True)
class DrawingSettings:
    """What is shown of each track."""

    names: bool = True  # the class, where the detector knows more than "object"
    scores: bool = True
    trail_frames: int = 0  # how long the path of the box's foot stays visible; 0: not at all
    boxes: bool = True
    masks: bool = True  # where tracks have them
    labels: bool = True  # the plate with id, class and score
    thickness: float = 1.0  # of lines, as a multiple of what suits the size of the frame
    text_size: float = 1.0  # of letters, likewise
    only: frozenset[int] = frozenset()  # ids to draw; empty: all
    classes: frozenset[str] = frozenset()  # names of classes to draw; empty: all
    blur: frozenset[str] = frozenset()  # names of classes made unrecognisable; EVERY: all


class Drawer(Protocol):
    """Makes the picture of a frame that shows its tracks."""

    def draw(self, frame: Frame, tracks: Tracks, classes: Sequence[str]) -> Frame:
        """The picture; frames come in order."""
        ...


class Annotator:
    """Draws the tracks of one video, frame after frame (trails need the frames before).

    Line width and letter size follow the size of the frame, so that 360p and 4K read alike.

    Args:
        settings: what is shown.
        notes: by frame and id, what is shown behind the identity, such as its speed.
    """

    def __init__(
        self, settings: DrawingSettings, notes: Mapping[tuple[int, int], str] | None = None
    ) -> None:
        self.settings = settings
        self._notes = notes or {}
        self._trails: deque[dict[int, tuple[int, int]]] = deque(maxlen=settings.trail_frames)

    def draw(self, frame: Frame, tracks: Tracks, classes: Sequence[str]) -> Frame:
        """The frame with its tracks on it; the one given stays as it is.

        Args:
            frame: RGB.
            tracks: boxes in the frame's pixels; those outside are clipped.
            classes: names that `tracks.labels` index.
        """
        settings, image = self.settings, frame.image.copy()
        if settings.blur:  # of all tracks: whom nobody draws is to be hidden just the same
            hide(image, tracks.boxes[_named(tracks, classes, settings.blur)])
        tracks = self._chosen(tracks, classes)
        short_side = min(image.shape[:2])
        width = max(1, round(settings.thickness * max(1, round(short_side / 300))))
        self._trails.append(_feet(tracks))
        if settings.trail_frames:
            self._draw_trails(image, width)
        if settings.masks:
            for row in np.flatnonzero(tracks.has_mask).tolist():
                colour = colour_of(int(tracks.ids[row]))
                draw_mask(image, tracks.masks[row], colour, max(1, width // 2))
        if settings.boxes:
            _draw_boxes(image, tracks, width)
        if settings.labels:  # over all boxes: an identity is never hidden by a neighbour's frame
            letters = max(4, round(settings.text_size * (8 + round(short_side / 90))))
            for row, box in enumerate(tracks.boxes):
                note = self._notes.get((frame.index, int(tracks.ids[row])), "")
                text = self._text(tracks, row, classes) + (f" {note}" if note else "")
                colour = colour_of(int(tracks.ids[row]))
                _draw_label(image, text, _pixels(box), colour, letters, width)
        return Frame(frame.index, frame.time, image)

    def _chosen(self, tracks: Tracks, classes: Sequence[str]) -> Tracks:
        """Those to draw."""
        settings = self.settings
        if settings.only:
            tracks = tracks[np.isin(tracks.ids, list(settings.only))]
        if settings.classes:
            tracks = tracks[_named(tracks, classes, settings.classes)]
        return tracks

    def _text(self, tracks: Tracks, row: int, classes: Sequence[str]) -> str:
        parts = [f"#{tracks.ids[row]}"]
        if self.settings.names and (name := classes[tracks.labels[row]]) != "object":
            parts.append(name)
        if self.settings.scores:
            parts.append(f"{tracks.scores[row]:.2f}")
        return " ".join(parts)

    def _draw_trails(self, image: Image, width: int) -> None:
        """A line through the last feet of every track seen in this frame."""
        for identity in self._trails[-1]:
            path = [feet[identity] for feet in self._trails if identity in feet]
            points = np.array(path, np.int32).reshape(-1, 1, 2)
            cv2.polylines(image, [points], False, colour_of(identity), width, cv2.LINE_AA)


@functools.lru_cache(maxsize=4096)
def colour_of(identity: int) -> Colour:
    """RGB of an identity: bright, always the same, and far from those of its neighbours."""
    hue = identity * GOLDEN_RATIO % 1
    value = (1.0, 0.85)[identity % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_mask(image: Image, mask: Mask, colour: tuple[int, int, int], width: int) -> None:
    """Tint the pixels of a mask in place, and draw a line around them.

    Args:
        image: (H, W, 3) RGB; where it is smaller than the mask's frame, the rest is left out.
        mask: in pixels of the frame.
        colour: RGB.
        width: of the line, pixels.
    """
    pixels, (x, y) = unpack(mask)
    window = image[y : y + pixels.shape[0], x : x + pixels.shape[1]]
    pixels = pixels[: window.shape[0], : window.shape[1]]
    if not pixels.any():
        return
    paint = np.empty_like(window)
    paint[:] = colour
    tinted = np.asarray(cv2.addWeighted(window, 1 - TINT, paint, TINT, 0))
    np.copyto(window, tinted, where=pixels[..., None])
    outlines, _ = cv2.findContours(
        pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y)
    )
    cv2.drawContours(image, outlines, -1, colour, width)


def draw_plate(image: Image, text: str, colour: Colour) -> None:
    """Text in the upper left corner, in place; none where there is no room.

    Args:
        image: (H, W, 3) RGB.
        text: one line; a long one loses its beginning.
        colour: RGB of the plate.
    """
    letters = 10 + round(min(image.shape[:2]) / 60)
    shown = text
    while len(shown) > 2 and _stencil(shown, letters).shape[1] > image.shape[1]:
        shown = f"…{shown[2:]}"
    _draw_label(image, shown, (0, 0, image.shape[1], image.shape[0]), colour, letters, 0)


def hide(image: Image, boxes: FloatArray) -> None:
    """Replace what the boxes show by a few colours that run into each other, in place.

    Means of large cells, unlike a Gaussian blur, cannot be undone: what is gone is gone.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) xyxy; parts outside the image do not matter.
    """
    height, width = image.shape[:2]
    margin = MARGIN * (boxes[:, 2:] - boxes[:, :2])
    first = np.clip(np.floor(boxes[:, :2] - margin), 0, (width, height)).astype(int)
    last = np.clip(np.ceil(boxes[:, 2:] + margin), 0, (width, height)).astype(int)
    for (x1, y1), (x2, y2) in zip(first.tolist(), last.tolist(), strict=True):
        if x1 < x2 and y1 < y2:
            view = image[y1:y2, x1:x2]
            cells = min(CELLS, x2 - x1), min(CELLS, y2 - y1)
            few = cv2.resize(view, cells, interpolation=cv2.INTER_AREA)
            view[:] = cv2.resize(few, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)


def _named(tracks: Tracks, classes: Sequence[str], names: frozenset[str]) -> BoolArray:
    """(N,) which tracks have one of these classes."""
    wanted = np.array([EVERY in names or name in names for name in classes], np.bool_)
    return wanted[tracks.labels] if len(tracks) else np.zeros(0, np.bool_)


def _draw_boxes(image: Image, tracks: Tracks, width: int) -> None:
    for box, identity, interpolated in zip(
        tracks.boxes, tracks.ids.tolist(), tracks.interpolated.tolist(), strict=True
    ):
        draw = _draw_corners if interpolated else cv2.rectangle
        x1, y1, x2, y2 = _pixels(box)
        draw(image, (x1, y1), (x2, y2), colour_of(identity), width)


def _feet(tracks: Tracks) -> dict[int, tuple[int, int]]:
    """The middle of each box's lower edge, by identity."""
    corners = (_pixels(box) for box in tracks.boxes)
    return {
        identity: ((x1 + x2) // 2, y2)
        for identity, (x1, _, x2, y2) in zip(tracks.ids.tolist(), corners, strict=True)
    }


def _pixels(box: FloatArray) -> tuple[int, int, int, int]:
    """Whole-pixel corners; far outside every image is far enough for OpenCV's 16-bit lines."""
    x1, y1, x2, y2 = np.clip(np.round(box), -(2**14), 2**14).astype(int).tolist()
    return x1, y1, x2, y2


def _draw_corners(
    image: Image, first: tuple[int, int], second: tuple[int, int], colour: Colour, width: int
) -> None:
    """Only the corners of a rectangle: nothing was seen there, it is a guess between two sights."""
    arm_x, arm_y = (second[0] - first[0]) // 4, (second[1] - first[1]) // 4
    for x, to_x in ((first[0], arm_x), (second[0], -arm_x)):
        for y, to_y in ((first[1], arm_y), (second[1], -arm_y)):
            cv2.line(image, (x, y), (x + to_x, y), colour, width)
            cv2.line(image, (x, y), (x, y + to_y), colour, width)


def _draw_label(
    image: Image,
    text: str,
    corners: tuple[int, int, int, int],
    colour: Colour,
    letters: int,
    width: int,
) -> None:
    """Text on a plate above the box; inside it where there is no room above; never cut off."""
    stencil = _stencil(text, letters)
    height, length = stencil.shape[0], stencil.shape[1]
    frame_height, frame_width = image.shape[:2]
    if height > frame_height or length > frame_width:
        return  # a picture smaller than a line of text
    x1, y1, x2, y2 = corners
    if x2 < 0 or y2 < 0 or x1 >= frame_width or y1 >= frame_height:
        return
    left = min(max(x1 - width // 2, 0), frame_width - length)
    top = y1 - height if y1 >= height else min(max(y1, 0), frame_height - height)
    plate = image[top : top + height, left : left + length]
    # Black on bright colours, white on dark ones (luma weights of BT.601).
    bright = np.dot(colour, (0.299, 0.587, 0.114)) > 140
    ink = np.float32(0 if bright else 255)
    blend = np.array(colour, np.float32) + stencil[..., None] * (ink - np.array(colour, np.float32))
    plate[:] = blend.astype(np.uint8)


@functools.lru_cache(maxsize=1024)
def _stencil(text: str, letters: int) -> NDArray[np.float32]:
    """(H, W) how much ink covers each pixel of a line of text, 0 to 1, with a margin."""
    font = _font(letters)
    ascent, descent = _line_height(letters)
    margin = max(2, letters // 5)
    length = round(font.getlength(text)) + 2 * margin
    plate = Pillow.new("L", (length, ascent + descent + margin), 0)
    ImageDraw.Draw(plate).text(
        (margin, margin // 2 + ascent), text, fill=255, font=font, anchor="ls"
    )
    stencil: NDArray[np.float32] = np.asarray(plate, np.float32) / np.float32(255)
    return stencil


@functools.lru_cache(maxsize=8)
def _font(letters: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface: nothing to find on the machine, the same picture everywhere."""
    return ImageFont.load_default(letters)


def _line_height(letters: int) -> tuple[int, int]:
    """Pixels above and below the baseline that any letter needs."""
    return letters, round(letters * 0.3)


# Several results of one video in one picture, beside each other or in a grid.

Layout = Literal["side-by-side", "grid"]

_MAX_SIZE = (3840, 2160)  # pixels, of all panels together; larger frames are reduced
_GREY = 40  # of panels that are left over, and of what divides them
_GAP = 2  # pixels between panels
_PLATE = (30, 30, 30)  # RGB, behind a name


class Panel:
    """One result.

    Args:
        name: shown in its corner.
        frames: of its tracks, in order; those of no frame of the video are passed over.
        classes: gives the names known so far.
        annotator: draws it, and nothing else.
    """

    def __init__(
        self,
        name: str,
        frames: Iterable[FrameTracks],
        classes: Callable[[], Sequence[str]],
        annotator: Annotator,
    ) -> None:
        self.name = name
        self._classes, self._annotator = classes, annotator
        self._remaining: Iterator[FrameTracks] = iter(frames)
        self._next: FrameTracks | None = None

    def draw(self, frame: Frame) -> Frame:
        """The frame with the tracks that this result has in it; frames come in order."""
        while self._next is None or self._next.index < frame.index:
            self._next = next(self._remaining, None)
            if self._next is None:
                return self._annotator.draw(frame, Tracks.empty(), self._classes())
        is_here = self._next.index == frame.index
        tracks = self._next.tracks if is_here else Tracks.empty()
        return self._annotator.draw(frame, tracks, self._classes())


class Panels:
    """Draws all results of a frame, in place of an `Annotator`.

    Args:
        panels: at least one.
        layout: all in one row, or in as many rows as columns, or one row fewer.
        info: of the video.
    """

    def __init__(self, panels: Sequence[Panel], layout: Layout, info: VideoInfo) -> None:
        self._panels = panels
        count = len(panels)
        self._columns = count if layout == "side-by-side" else math.ceil(math.sqrt(count))
        self._rows = math.ceil(count / self._columns)
        room = [
            (most - _GAP * (number - 1)) / number
            for most, number in zip(_MAX_SIZE, (self._columns, self._rows), strict=True)
        ]
        self._scale = min(1.0, room[0] / info.width, room[1] / info.height)
        self._size = tuple(max(1, round(self._scale * side)) for side in (info.width, info.height))
        self.info = replace(
            info,
            width=self._columns * self._size[0] + _GAP * (self._columns - 1),
            height=self._rows * self._size[1] + _GAP * (self._rows - 1),
        )

    def draw(self, frame: Frame, tracks: Tracks, classes: Sequence[str]) -> Frame:
        """All panels of a frame; the tracks given are left out, each panel has its own."""
        whole = np.full((self.info.height, self.info.width, 3), _GREY, np.uint8)
        width, height = self._size
        for number, panel in enumerate(self._panels):
            row, column = divmod(number, self._columns)
            image = panel.draw(frame).image
            if (width, height) != image.shape[1::-1]:
                image = np.asarray(
                    cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
                )
            draw_plate(image, panel.name, _PLATE)
            x, y = column * (width + _GAP), row * (height + _GAP)
            whole[y : y + height, x : x + width] = image
        return Frame(frame.index, frame.time, whole)
