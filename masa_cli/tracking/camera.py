"""How the image moved between two frames because the camera moved, seen in the image alone.

Corners of a reduced grey frame are followed with optical flow (pyramidal Lucas-Kanade), and a
similarity (shift, rotation, zoom) is fitted with RANSAC, as in BoT-SORT (arXiv 2206.14651, 3.3).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import BoolArray, CameraMotion, FloatArray, Image, State

Matrix = NDArray[np.float64]
GreyImage = NDArray[np.uint8]  # (h, w) reduced, grey

# All lengths below are pixels of the reduced image.
LONG_SIDE = 320  # of the reduced image; smaller frames keep their size
SHORTEST_SIDE = 32  # below it there is no room for a search window: the camera counts as still
NUM_CORNERS, CORNER_QUALITY, CORNER_DISTANCE = 120, 0.01, 7
WINDOW = (15, 15)
NUM_HALVINGS = 3  # of the flow's pyramid

# The camera is still if this share of the corners is. Well below a half, as what moves in front of
# it may have no box, and clearly above the 7 % that stood by chance in the clips that move most.
STILL_SHARE = 0.3
STILL_DISTANCE = 0.15

FIT_DISTANCE = 0.7  # of a corner from where the fitted motion puts it
FIT_SHARE, FIT_CORNERS = 0.15, 6  # that must agree, of the corners; unrelated images: up to 0.08

# Bhattacharyya distance of the grey values, 0 to 1: within shots at most 0.17, between clips 0.26.
CUT_DISTANCE = 0.2
NUM_GREYS = 32


class CameraMotionEstimator:
    """Compares each frame with the one before, of which it keeps a reduced image."""

    def __init__(self) -> None:
        self._reduced: GreyImage = np.empty((0, 0), np.uint8)
        self._boxes: FloatArray = np.empty((0, 4), np.float32)

    def update(self, image: Image, boxes: FloatArray) -> CameraMotion:
        """The camera's motion since the frame before; the identity for the first one.

        Args:
            image: (H, W, 3) uint8 RGB; (0, 0, 3) if there is none, which gives the identity.
            boxes: (N, 4) xyxy in source pixels, of all that may move by itself.
        """
        before, boxes_before = self._reduced, self._boxes
        height, width = image.shape[:2]
        self._reduced = now = _reduced(image)
        self._boxes = boxes.astype(np.float32)  # a copy: the caller's may change
        if not before.size or not now.size:
            return CameraMotion.identity()
        if before.shape != now.shape:
            return CameraMotion.identity(is_cut=True)
        pixel = np.array([width / now.shape[1], height / now.shape[0]], np.float32)
        # Boxes now, too: what an object covers must not count as moved.
        moving = np.concatenate([boxes_before, self._boxes]) / np.tile(pixel, 2)
        corners = _corners(before, moving.astype(np.float32))
        if _is_still(before, now, corners):
            return CameraMotion.identity()
        matrix = _fitted(corners, *_flow(before, now, corners, corners, NUM_HALVINGS), pixel)
        if matrix is None:
            matrix = _fitted(corners, *_far_flow(before, now, corners), pixel)
        if matrix is None:
            return CameraMotion.identity(is_cut=_greys_distance(before, now) > CUT_DISTANCE)
        return CameraMotion(matrix)

    def state(self) -> State:
        """What `restore` needs to go on with an interrupted run."""
        return {"image": self._reduced, "boxes": self._boxes}

    def restore(self, state: State) -> None:
        """Go on after the frame whose `state` this was."""
        self._reduced, self._boxes = state["image"], state["boxes"]


def _reduced(image: Image) -> GreyImage:
    """(h, w) grey, its long side at most LONG_SIDE; (0, 0) if the other side gets too short."""
    height, width = image.shape[:2]
    factor = min(1.0, LONG_SIDE / max(height, width, 1))
    size = round(width * factor), round(height * factor)
    if min(size) < SHORTEST_SIDE:
        return np.empty((0, 0), np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # first: reducing three channels takes longer
    if factor <= 0.5 and width % 2 == height % 2 == 0:  # OpenCV halves fast: 0.2 ms less at 720p
        grey = cv2.resize(grey, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _corners(image: GreyImage, boxes: FloatArray) -> FloatArray:
    """(P, 1, 2) x, y of at most NUM_CORNERS corners outside the boxes (reduced pixels)."""
    free = np.full_like(image, 255)
    height, width = image.shape
    edges = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1)
    edges = np.clip(edges, 0, (width, height, width, height))
    for left, top, right, bottom in edges.astype(np.int64):
        free[top:bottom, left:right] = 0
    found = cv2.goodFeaturesToTrack(image, NUM_CORNERS, CORNER_QUALITY, CORNER_DISTANCE, mask=free)
    return np.empty((0, 1, 2), np.float32) if found is None else np.asarray(found, np.float32)


def _flow(
    before: GreyImage, now: GreyImage, corners: FloatArray, guess: FloatArray, num_halvings: int
) -> tuple[FloatArray, BoolArray]:
    """Where the corners lie now, (P, 1, 2), searched from `guess` on, and (P,) which were found."""
    if not len(corners):
        return corners, np.empty(0, np.bool_)
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before,
        now,
        corners,
        guess.copy(),  # OpenCV writes into it
        winSize=WINDOW,
        maxLevel=num_halvings,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    return np.asarray(there, np.float32), np.asarray(found)[:, 0] > 0


def _is_still(before: GreyImage, now: GreyImage, corners: FloatArray) -> bool:
    """Whether enough corners are found where they were; a short search for half of them.

    No pyramid: it is half the cost, and corners that moved far need not be found here.
    """
    few = corners[::2].copy()
    there, found = _flow(before, now, few, few, num_halvings=0)
    still = np.linalg.norm(there - few, axis=2)[:, 0] < STILL_DISTANCE
    return int(np.sum(still & found)) >= max(1, STILL_SHARE * len(few))


def _far_flow(
    before: GreyImage, now: GreyImage, corners: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Like `_flow`, from where phase correlation sees the whole image; for pans and flashes."""
    first, second = (np.asarray(cv2.equalizeHist(one), np.uint8) for one in (before, now))
    window = cv2.createHanningWindow(now.shape[::-1], cv2.CV_32F)
    shift, _ = cv2.phaseCorrelate(first.astype(np.float32), second.astype(np.float32), window)
    guess = corners + np.array(shift, np.float32)
    return _flow(first, second, corners, guess, NUM_HALVINGS)


def _fitted(
    corners: FloatArray, there: FloatArray, found: BoolArray, pixel: FloatArray
) -> Matrix | None:
    """(2, 3) similarity in source pixels that most corners follow; None if too few agree.

    Args:
        corners: (P, 1, 2) x, y in the reduced image before.
        there: (P, 1, 2) likewise in the image now.
        found: (P,) where `there` is known.
        pixel: (2,) width and height of a reduced pixel, in source pixels.
    """
    needed = max(FIT_CORNERS, FIT_SHARE * len(corners))
    if found.sum() < needed:
        return None
    # OpenCV counts from the middle of the first pixel, boxes from its corner. Its RANSAC starts
    # from the same seed in every call.
    matrix, agree = cv2.estimateAffinePartial2D(
        (corners[found] + 0.5) * pixel,
        (there[found] + 0.5) * pixel,
        ransacReprojThreshold=FIT_DISTANCE * float(pixel.max()),
    )
    if matrix is None or agree.sum() < needed:
        return None
    return np.asarray(matrix, np.float64)


def _greys_distance(first: GreyImage, second: GreyImage) -> float:
    """How different the grey values of two images are, wherever they lie: 0 to 1."""
    counts = [cv2.calcHist([one], [0], None, [NUM_GREYS], [0, 256]) for one in (first, second)]
    return float(cv2.compareHist(counts[0], counts[1], cv2.HISTCMP_BHATTACHARYYA))
