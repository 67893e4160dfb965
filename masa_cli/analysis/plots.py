"""Tracks of a video at one glance: who was there when, and where they were. Needs matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from masa_cli.analysis.ground import Way
from masa_cli.analysis.lifetimes import rows_by_track
from masa_cli.errors import SettingsError
from masa_cli.formats.tables import TrackTable
from masa_cli.render.annotator import colour_of
from masa_cli.structures import Image

_MAX_ROWS = 120  # of a timeline; more are too thin to read
_MAX_WAYS = 12  # more cannot be told apart
_MAX_SIDE = 1600  # of a heat map, pixels


def check_matplotlib() -> None:
    """Raise SettingsError if it is not installed."""
    if find_spec("matplotlib") is None:
        raise SettingsError(
            "pictures need matplotlib, which is not installed", fix="pip install 'masa[eval]'"
        )


def timeline(table: TrackTable, times: NDArray[np.float64]) -> bytes:
    """A PNG: a bar per stretch in which a track was observed; the longest tracks, by beginning.

    Args:
        table: the tracks.
        times: (num_frames,) seconds of each frame.
    """
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    tracks = sorted(rows_by_track(table), key=len, reverse=True)[:_MAX_ROWS]
    tracks.sort(key=lambda rows: (table.frames[rows[0]], table.tracks.ids[rows[0]]))
    # The figure alone, without pyplot: that keeps state and asks for a display.
    figure = import_module("matplotlib.figure").Figure(
        figsize=(10, max(2.0, 0.6 + 0.16 * len(tracks))), layout="constrained"
    )
    axes = figure.add_subplot(xlabel="seconds", ylabel="id")
    for number, rows in enumerate(tracks):
        runs = np.split(rows, np.flatnonzero(np.diff(table.frames[rows]) > 1) + 1)
        bars = [
            (
                times[table.frames[run[0]]],
                times[table.frames[run[-1]]] - times[table.frames[run[0]]] + step,
            )
            for run in runs
        ]
        colour = np.array(colour_of(int(table.tracks.ids[rows[0]]))) / 255
        axes.broken_barh(bars, (number - 0.4, 0.8), color=colour)
    names = [f"{table.tracks.ids[rows[0]]}" for rows in tracks]
    axes.set_yticks(range(len(tracks)), names, fontsize=7)
    axes.set_ylim(len(tracks) - 0.4, -0.6)
    axes.set_xlim(0, max(float(times[-1]) + step if len(times) else 1.0, 1e-3))
    axes.grid(axis="x", alpha=0.3)
    return _png(figure)


def occupancy_plot(inside: Mapping[str, NDArray[np.int64]], times: NDArray[np.float64]) -> bytes:
    """A PNG: how many are in each zone over time, a plot below another.

    Args:
        inside: by name of the zone (num_frames,) how many.
        times: (num_frames,) seconds of each frame.
    """
    figure = import_module("matplotlib.figure").Figure(
        figsize=(10, 0.8 + 1.8 * len(inside)), layout="constrained"
    )
    plots = figure.subplots(len(inside), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, (name, counts)) in enumerate(zip(plots, inside.items(), strict=True)):
        colour = np.array(colour_of(number + 1)) / 255
        axes.fill_between(times, counts, step="post", color=colour, alpha=0.6)
        # A name is shown as it is: "$" begins no formula.
        axes.set_title(name, loc="left", fontsize=9, parse_math=False)
        axes.set_ylim(0, max(1.0, 1.1 * int(counts.max(initial=0))))
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    plots[-1].set_xlabel("seconds")
    return _png(figure)


def ground_plot(ways: Sequence[Way]) -> bytes:
    """A PNG: ways seen from above, in metres, and speeds over time, with their deviation.

    Args:
        ways: those that went farthest are shown.
    """
    shown = sorted(ways, key=lambda way: -way.distance)[:_MAX_WAYS]
    figure = import_module("matplotlib.figure").Figure(figsize=(11, 5), layout="constrained")
    above, over_time = figure.subplots(1, 2)
    for way in sorted(shown, key=lambda way: way.id):
        colour = np.array(colour_of(way.id)) / 255
        above.plot(*way.places.T, color=colour, label=f"{way.id}")
        over_time.plot(way.times, way.speeds, color=colour)
        low, high = way.speeds - way.deviations, way.speeds + way.deviations
        over_time.fill_between(way.times, np.maximum(low, 0), high, color=colour, alpha=0.2)
    above.set(xlabel="metres", ylabel="metres", aspect="equal")
    over_time.set(xlabel="seconds", ylabel="metres per second")
    over_time.set_ylim(bottom=0)
    for axes in (above, over_time):
        axes.grid(alpha=0.3)
    if shown:
        above.legend(fontsize=7, title="id")
    return _png(figure)


def heat_map(table: TrackTable, size: tuple[int, int], background: Image | None = None) -> bytes:
    """A PNG: how long each pixel was inside boxes, dark to bright.

    Args:
        table: the tracks.
        size: width and height of the video, pixels.
        background: (H, W, 3) uint8 RGB, a frame to draw over.
    """
    factor = min(1.0, _MAX_SIDE / max(size))
    width, height = (max(1, round(side * factor)) for side in size)
    # Corners of boxes only; two running sums then fill them. The time is that of one box a frame.
    corners = np.zeros((height + 1, width + 1))
    edges = np.round(table.tracks.boxes * factor)
    edges = np.clip(edges, 0, (width, height, width, height)).astype(np.int64)
    for x, y, sign in ((0, 1, 1), (2, 1, -1), (0, 3, -1), (2, 3, 1)):
        np.add.at(corners, (edges[:, y], edges[:, x]), sign)
    heat = corners.cumsum(axis=0).cumsum(axis=1)[:height, :width]
    # The square root shows what is rare beside what is frequent.
    level = np.sqrt(np.maximum(heat, 0) / max(heat.max(), 1))
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    if background is not None:
        below = cv2.resize(background, (width, height), interpolation=cv2.INTER_AREA)
        share = np.minimum(1, 2 * level)[..., None] * 0.75
        colours = (share * colours + (1 - share) * below).astype(np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(colours, np.uint8)).save(file, "PNG")
    return file.getvalue()


def _png(figure: Any) -> bytes:  # noqa: ANN401 - matplotlib is imported when it is needed
    file = io.BytesIO()
    figure.savefig(file, dpi=130, format="png")
    return file.getvalue()
