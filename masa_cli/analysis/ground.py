"""Places on the ground, speeds and distances, in metres: from tracks and some known points.

A plane homography takes pixels to metres. Where a box stands is known as well as its foot trembles,
and far away a pixel is many metres: so each place has a covariance of its own, a Kalman filter with
constant velocity takes them forwards and a smoother (Rauch, Tung, Striebel) backwards, and the
speed comes with its standard deviation. How much feet tremble and things accelerate is that of
some hypotheses which foretells these tracks best, as kalman.py does it in pixels.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from masa_cli.analysis.lifetimes import rows_by_track
from masa_cli.errors import SourceError
from masa_cli.formats.embeddings import EmbeddingsReader
from masa_cli.formats.files import explained
from masa_cli.formats.json_fields import read_json
from masa_cli.formats.tables import TrackTable
from masa_cli.structures import IntArray

Floats = NDArray[np.float64]

FIX = (
    'write {"points": [{"image": [x, y], "ground": [X, Y]}, ...]}, at least four of them, in '
    "pixels and metres, no three of four on one line"
)
# Hypotheses: standard deviation of a foot in box heights, and of the change of speed in a second.
_TREMBLES, _ACCELERATIONS = (0.005, 0.015, 0.04), (0.2, 0.7, 2.0, 6.0)
_ROWS_TO_LEARN = 1500
_START_SPEED = 20.0  # m/s, standard deviation before anything is seen
_FLATTEST = 1e-6  # of the ratio of singular values, below which points fit no single plane
_FEWEST = 4


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Where pixels of a frame lie on the ground.

    Attributes:
        matrix: (3, 3) from pixels to metres, homogeneous.
        residuals: (P,) metres, by which each known point is missed.
        frame: whose pixels they are, where the camera moves.
    """

    matrix: Floats
    residuals: Floats
    frame: int = 0

    @property
    def residual(self) -> float:
        """Metres, root mean square."""
        return float(np.sqrt((self.residuals**2).mean()))

    def places(self, points: Floats) -> tuple[Floats, Floats]:
        """(N, 2) metres of (N, 2) pixels, and (N, 2, 2) metres by pixels there.

        Beyond the horizon all are NaN.
        """
        homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ self.matrix.T
        depth = homogeneous[:, 2]
        depth = np.where(depth > 0, depth, np.nan)
        found = homogeneous[:, :2] / depth[:, None]
        rows = self.matrix[None, :2, :2] - found[:, :, None] * self.matrix[None, 2:, :2]
        return found, rows / depth[:, None, None]


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One track on the ground.

    Attributes:
        id: of the track.
        label: the class most of its boxes have.
        frames: (N,) in which it was seen on the ground.
        times: (N,) seconds.
        places: (N, 2) metres, smoothed.
        speeds: (N,) metres per second.
        deviations: (N,) standard deviation of the speed.
        distance: metres, along the way.
        distance_deviation: metres.
        seconds: from its first frame to its last.
    """

    id: int
    label: str
    frames: IntArray
    times: Floats
    places: Floats
    speeds: Floats
    deviations: Floats
    distance: float
    distance_deviation: float
    seconds: float

    @property
    def mean_speed(self) -> float:
        """Metres per second; 0 for one that was seen once."""
        return self.distance / self.seconds if self.seconds else 0.0


def read_ground(path: Path) -> Ground:
    """The homography that a file of points tells.

    Raises:
        SourceError: it is no such file, or its points tell none.
    """
    content = read_json(path, fix=FIX)
    entries = content.get("points") if isinstance(content, dict) else content
    frame = content.get("frame", 0) if isinstance(content, dict) else 0
    if not isinstance(entries, list) or type(frame) is not int or frame < 0:
        raise SourceError(f"{path} has no list of points", fix=FIX)
    pairs = [_pair(entry, path, number) for number, entry in enumerate(entries, start=1)]
    if len(pairs) < _FEWEST:
        raise SourceError(f"{path} has {len(pairs)} points, at least 4 are needed", fix=FIX)
    pixels, metres = (np.array([pair[side] for pair in pairs], np.float64) for side in (0, 1))
    return fit_ground(pixels, metres, frame=frame, said=str(path))


def _pair(entry: Any, path: Path, number: int) -> tuple[list[float], list[float]]:  # noqa: ANN401
    """Pixels and metres of {"image": [x, y], "ground": [X, Y]}, or of [x, y, X, Y]."""
    if isinstance(entry, Mapping):
        pair = (entry.get("image"), entry.get("ground"))
    elif isinstance(entry, list) and len(entry) == 4:
        pair = (entry[:2], entry[2:])
    else:
        pair = (None, None)
    for side in pair:
        is_point = isinstance(side, list) and len(side) == 2
        if not is_point or not all(type(n) in (int, float) and abs(n) < 1e9 for n in side or []):
            raise SourceError(f"{path} point {number} is no pair of points", fix=FIX)
    return pair[0], pair[1]  # type: ignore[return-value] # proved above


def fit_ground(pixels: Floats, metres: Floats, *, frame: int = 0, said: str = "points") -> Ground:
    """The homography from (P, 2) pixels to (P, 2) metres; SourceError where they tell none."""
    matrix = None
    if _spread(pixels) and _spread(metres):
        matrix, _ = cv2.findHomography(pixels, metres, 0)
    if matrix is None or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-15:
        raise SourceError(f"{said}: the points lie on one line, or in one place", fix=FIX)
    exact = np.asarray(matrix, np.float64)
    # In front of the camera is where the points are.
    depths = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ exact[2]
    if depths.min() < 0 < depths.max():
        raise SourceError(
            f"{said}: no camera sees these points so: some would be beyond the horizon",
            fix="check the order of x and y, and which point is which",
        )
    ground = Ground(exact * np.sign(depths[0]), np.zeros(len(pixels)), frame)
    found, _ = ground.places(pixels)
    return Ground(ground.matrix, np.hypot(*(found - metres).T), frame)


def _spread(points: Floats) -> bool:
    """Whether points span a plane, and no point but one lies off a line."""
    for left_out in range(len(points)):
        rest = np.delete(points, left_out, axis=0)
        values = np.linalg.svd(rest - rest.mean(axis=0), compute_uv=False)
        if values[1] <= _FLATTEST * max(values[0], 1e-12) * 1e3:
            return False
    return True


def camera_motions(path: Path, frame: int) -> Floats:
    """(F, 3, 3) from pixels of each frame to those of the frame the ground was told in.

    NaN beyond a cut: nothing tells where the camera is there.

    Args:
        path: the embeddings that a run saved, with the camera's motion.
        frame: whose pixels the ground was told in.

    Raises:
        SourceError: the file cannot be read, or has no such frame.
    """
    steps: list[Floats] = []
    for observation in EmbeddingsReader(path):
        step = np.eye(3)
        step[:2] = observation.motion.matrix
        if observation.motion.is_cut:
            step[:] = np.nan
        steps.append(step)
    if frame >= len(steps):
        raise SourceError(
            f"{path} has {len(steps)} frames, but the ground is told in frame {frame}",
            fix="count frames from 0",
        )
    matrices = np.tile(np.eye(3), (len(steps), 1, 1))
    for index in range(frame + 1, len(steps)):
        matrices[index] = matrices[index - 1] @ np.linalg.inv(steps[index])
    for index in range(frame, 0, -1):
        matrices[index - 1] = matrices[index] @ steps[index]
    return matrices


def ways(
    table: TrackTable, times: Floats, ground: Ground, motions: Floats | None = None
) -> list[Way]:
    """All tracks on the ground, by id; those that were never on it are left out.

    Args:
        table: the tracks.
        times: (num_frames,) seconds of each frame.
        ground: what pixels are on it.
        motions: (F, 3, 3) see `camera_motions`; None: the camera stands still.
    """
    seen = [
        each
        for rows in rows_by_track(table)
        if (each := _seen(table, rows, times, ground, motions))
    ]
    tremble, acceleration = _learned(seen)
    return [_smoothed(each, tremble, acceleration) for each in seen]


UNITS = MappingProxyType({"m/s": 1.0, "km/h": 3.6, "mph": 3600 / 1609.344})


def read_speeds(path: Path, unit: str) -> dict[tuple[int, int], str]:
    """By frame and id, the speeds that `masa measure` wrote, in words.

    Args:
        path: the CSV.
        unit: in which they are told, one of UNITS.

    Raises:
        SourceError: it is no such file.
    """
    with explained(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    found: dict[tuple[int, int], str] = {}
    for number, row in enumerate(csv.DictReader(lines), start=2):
        try:
            speed = UNITS[unit] * float(row["speed"])
            found[int(row["frame"]), int(row["id"])] = f"{speed:.1f} {unit}"
        except (KeyError, TypeError, ValueError):
            raise SourceError(
                f"{path} line {number}: expected a frame, an id and a speed",
                fix="give the CSV that masa measure TRACKS --ground points.json -o FILE wrote",
            ) from None
    if not found:
        raise SourceError(
            f"{path} has no speeds",
            fix="give the CSV that masa measure TRACKS --ground points.json -o FILE wrote",
        )
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A track as it was seen: feet on the ground and how far off a pixel is there."""

    id: int
    label: str
    frames: IntArray
    times: Floats  # (N,)
    places: Floats  # (N, 2) metres
    scales: Floats  # (N, 2, 2) metres by box heights


def _seen(
    table: TrackTable, rows: IntArray, times: Floats, ground: Ground, motions: Floats | None
) -> _Seen | None:
    frames, tracks = table.frames[rows], table.tracks[rows]
    boxes = tracks.boxes.astype(np.float64)
    feet = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)
    turns = np.tile(np.eye(2), (len(feet), 1, 1))
    if motions is not None:
        own = motions[np.minimum(frames, len(motions) - 1)]
        own = np.where((frames < len(motions))[:, None, None], own, np.nan)
        feet = np.einsum("nij,nj->ni", own[:, :2, :2], feet) + own[:, :2, 2]
        turns = own[:, :2, :2]
    places, by_pixel = ground.places(feet)
    scales = (by_pixel @ turns) * (boxes[:, 3] - boxes[:, 1])[:, None, None]
    good = np.isfinite(places).all(axis=1) & np.isfinite(scales).all(axis=(1, 2))
    good &= ~tracks.interpolated  # a guess tells nothing new
    if not good.any():
        return None
    label = table.classes[int(np.bincount(tracks.labels).argmax())]
    return _Seen(
        int(tracks.ids[0]), label, frames[good], times[frames[good]], places[good], scales[good]
    )


def _learned(seen: list[_Seen]) -> tuple[float, float]:
    """The tremble and the acceleration that foretell the longest tracks best."""
    chosen, num_rows = [], 0
    for each in sorted(seen, key=lambda one: -len(one.frames)):
        if num_rows < _ROWS_TO_LEARN and len(each.frames) > 2:
            chosen.append(each)
            num_rows += len(each.frames)
    best = (-np.inf, _TREMBLES[1], _ACCELERATIONS[1])
    for tremble in _TREMBLES:
        for acceleration in _ACCELERATIONS:
            told = sum(_filtered(each, tremble, acceleration)[-1] for each in chosen)
            best = max(best, (told, tremble, acceleration))
    return best[1], best[2]


def _transition(seconds: float, acceleration: float) -> tuple[Floats, Floats]:
    """Of x, y and their speeds: (4, 4) to the next frame, and (4, 4) what may come in between."""
    move, unit = np.eye(4), np.eye(2)
    move[:2, 2:] = seconds * unit
    spread = acceleration**2
    noise = np.block(
        [
            [spread * seconds**3 / 3 * unit, spread * seconds**2 / 2 * unit],
            [spread * seconds**2 / 2 * unit, spread * seconds * unit],
        ]
    )
    return move, noise


def _filtered(
    seen: _Seen, tremble: float, acceleration: float
) -> tuple[list[Floats], list[Floats], float]:
    """States and covariances after each frame, and how likely the places were."""
    noise = tremble**2 * seen.scales @ seen.scales.transpose(0, 2, 1)
    state = np.array([*seen.places[0], 0, 0])
    covariance = np.diag([0, 0, _START_SPEED**2, _START_SPEED**2]).astype(np.float64)
    covariance[:2, :2] = noise[0]
    states, covariances, told = [state], [covariance], 0.0
    for index in range(1, len(seen.frames)):
        move, between = _transition(seen.times[index] - seen.times[index - 1], acceleration)
        state, covariance = move @ state, move @ covariance @ move.T + between
        total = covariance[:2, :2] + noise[index]
        surprise = seen.places[index] - state[:2]
        inverse = np.linalg.inv(total)
        told -= 0.5 * float(surprise @ inverse @ surprise + np.log(np.linalg.det(total)))
        gain = covariance[:, :2] @ inverse
        state = state + gain @ surprise
        covariance = covariance - gain @ covariance[:2]
        states.append(state)
        covariances.append(covariance)
    return states, covariances, told


def _smoothed(seen: _Seen, tremble: float, acceleration: float) -> Way:
    states, covariances, _ = _filtered(seen, tremble, acceleration)
    for index in range(len(states) - 2, -1, -1):
        move, between = _transition(seen.times[index + 1] - seen.times[index], acceleration)
        expected = move @ covariances[index] @ move.T + between
        gain = covariances[index] @ move.T @ np.linalg.inv(expected)
        states[index] = states[index] + gain @ (states[index + 1] - move @ states[index])
        covariances[index] = (
            covariances[index] + gain @ (covariances[index + 1] - expected) @ gain.T
        )
    state, covariance = np.array(states), np.array(covariances)
    velocity, speeds = state[:, 2:], np.hypot(state[:, 2], state[:, 3])
    # Along the direction of motion; for who stands, the larger of both.
    heading = velocity / np.maximum(speeds, 1e-9)[:, None]
    along = np.einsum("ni,nij,nj->n", heading, covariance[:, 2:, 2:], heading)
    steps = np.hypot(*np.diff(state[:, :2], axis=0).T)
    ends = covariance[0, :2, :2] + covariance[-1, :2, :2]
    is_once = len(states) < 2
    return Way(
        seen.id,
        seen.label,
        seen.frames,
        seen.times,
        state[:, :2],
        np.zeros(1) if is_once else speeds,
        np.sqrt(np.maximum(along, 0)) if not is_once else np.full(1, _START_SPEED),
        distance=float(steps.sum()),
        distance_deviation=float(np.sqrt(np.trace(ends) / 2)) if not is_once else 0.0,
        seconds=float(seen.times[-1] - seen.times[0]),
    )
