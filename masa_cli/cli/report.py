"""Run a job in front of the user: signals, progress, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from masa_cli.cli.boundary import stops_on_signals
from masa_cli.cli.console import progress, show, show_json, show_table
from masa_cli.summary import Summary
from masa_cli.watch import Watch


def run_and_report(
    work: Callable[[Watch], Summary], num_frames: int | None, *, quiet: bool, json: bool
) -> Summary:
    """Do `work`; print a table of files and stages, or the same as JSON.

    Args:
        work: what to do; it is given the watch that a signal or a bar belongs to.
        num_frames: how many frames to expect, if that is known.
        quiet: no bar and no table.
        json: one line of JSON instead of bar and table.

    Raises:
        MasaError, Interrupted: as `work`.
    """
    watch = Watch()
    start = time.perf_counter()
    with stops_on_signals(watch), progress(watch, num_frames, quiet=quiet or json):
        summary = work(watch)
    seconds = time.perf_counter() - start
    if json:
        show_json(_record(summary, watch, seconds))
    elif not quiet:
        _show(summary, watch, seconds)
    return summary


def _record(summary: Summary, watch: Watch, seconds: float) -> dict[str, object]:
    return {
        "frames": summary.num_frames,
        "boxes": summary.num_boxes,
        "tracks": summary.num_tracks,
        "masks": summary.num_masks,
        "boxes_per_frame": round(summary.boxes_per_frame, 2),
        "most_in_frame": summary.most_in_frame,
        "written": [str(path) for path in summary.written],
        "seconds": round(seconds, 3),
        "stages": {name: round(spent, 3) for name, spent in watch.seconds.items()},
    }


def _show(summary: Summary, watch: Watch, seconds: float) -> None:
    frames = max(summary.num_frames, 1)
    stages = [
        (name, f"{spent:.2f}", f"{spent / frames * 1e3:.2f}")
        for name, spent in watch.seconds.items()
    ]
    masks = f" ({summary.num_masks} with masks)" if summary.num_masks else ""
    show(
        f"{summary.num_tracks} tracks, {summary.num_boxes} boxes{masks} in {summary.num_frames} "
        f"frames: {seconds:.1f} s, {summary.num_frames / seconds:.1f} frames/s"
    )
    show(
        f"tracks in a frame: {summary.boxes_per_frame:.1f} on average, "
        f"{summary.most_in_frame} at most"
    )
    show("")
    show_table(("stage (some run side by side)", "seconds", "ms/frame"), stages)
    show("")
    show_table(("written", "size"), [(str(p), _size(_bytes(p))) for p in summary.written])


def _bytes(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"
