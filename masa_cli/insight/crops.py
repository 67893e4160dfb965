"""Views of tracks cut out of their video, into a folder with one folder per track."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from masa_cli.errors import Interrupted
from masa_cli.formats.csv_tracks import harmless
from masa_cli.formats.part_folder import PartFolder
from masa_cli.formats.track_table import TrackTable
from masa_cli.insight.views import ViewSettings, best_views, crop_box
from masa_cli.overlap import prefetch
from masa_cli.sources import Source
from masa_cli.structures import Frame
from masa_cli.summary import Summary
from masa_cli.watch import Watch

INDEX = "crops.csv"
_HEADER = ("file", "id", "frame", "time", "label", "score", "x1", "y1", "x2", "y2")
_QUALITY = 95  # of JPEG
_AHEAD = 4  # frames


def write_crops(
    source: Source, table: TrackTable, folder: Path, settings: ViewSettings, watch: Watch
) -> Summary:
    """Cut out the best views of each track: `<folder>/<id>/<frame>.jpg`, listed in `crops.csv`.

    Args:
        source: the video.
        table: its tracks.
        folder: is replaced if it holds crops; appears once all are there.
        settings: which views.
        watch: is told of the progress, and may ask to stop; then nothing is kept.

    Raises:
        MasaError: the video cannot be read, or the folder not written.
    """
    info = source.info
    size = info.width, info.height
    rows = best_views(table, size, settings)
    text = io.StringIO()
    index = csv.writer(text, lineterminator="\n")
    index.writerow(_HEADER)
    watch.on_pass("cropping", 0)
    frames = table.frames[rows]
    num_crops, place = 0, 0
    with PartFolder(folder, _is_ours) as target:
        for frame in _until(source, int(frames[-1]) if len(frames) else -1, watch):
            while place < len(rows) and frames[place] == frame.index:
                row = int(rows[place])
                place += 1
                name = f"{table.tracks.ids[row]}/{frame.index:06d}.jpg"
                x1, y1, x2, y2 = crop_box(table.tracks.boxes[row], size, settings.margin)
                picture = io.BytesIO()
                Pillow.fromarray(frame.image[y1:y2, x1:x2]).save(picture, "JPEG", quality=_QUALITY)
                target.write(name, picture.getvalue())
                label = harmless(table.classes[table.tracks.labels[row]])
                score = f"{table.tracks.scores[row]:.4f}"
                place_in_time = frame.index, f"{float(frame.time):.4f}"
                index.writerow(
                    [name, table.tracks.ids[row], *place_in_time, label, score, x1, y1, x2, y2]
                )
                num_crops += 1
            watch.on_frame(frame.index + 1, num_crops)
        target.write(INDEX, text.getvalue().encode())
    num_tracks = len(set(table.tracks.ids[rows[:place]].tolist()))
    most = int(np.unique(frames, return_counts=True)[1].max(initial=0))
    return Summary(table.num_frames, num_crops, num_tracks, 0, most, (folder,))


def _until(source: Source, last: int, watch: Watch) -> Iterator[Frame]:
    """The frames up to one, and no further."""
    if last < 0:
        return
    with closing(prefetch(watch.timed("decode", source.frames()), _AHEAD)) as frames:
        for frame in frames:
            yield frame
            if frame.index >= last:
                return
            if watch.stop_requested:
                raise Interrupted(f"nothing is kept of {frame.index + 1} frames")


def _is_ours(name: str) -> bool:
    return name == INDEX or name.isdecimal()
