"""What a run tells of itself while it goes on: tables as CSV, a plot of them, TensorBoard."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from masa_cli.formats.files import part_of

STEP = "step"
_SMOOTH = 0.05  # share of the newest value in the curves drawn


class Table:
    """Rows of numbers by name, appended to a CSV file; all rows have the columns of the first.

    Args:
        path: of the file.
        until: rows of an earlier run up to that step are kept; 0: none.
    """

    def __init__(self, path: Path, until: int = 0) -> None:
        self._path = path
        rows = [row for row in read_table(path) if row[STEP] <= until] if until else []
        part = part_of(path)
        with part.open("w", newline="") as file:
            for row in rows:
                _append(file, row, is_first=not file.tell())
        os.replace(part, path)
        self.rows = rows

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row; it is on disk when this returns."""
        row = {STEP: step, **values}
        with self._path.open("a", newline="") as file:
            _append(file, row, is_first=not self.rows)
        self.rows.append(row)


def read_table(path: Path) -> list[dict[str, float]]:
    """The complete rows of a table; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # A run that was killed may have left half a line.
    return [
        {name: float(value) for name, value in row.items()}
        for row in rows
        if None not in row and all(row.values())
    ]


def _append(file: Any, row: Mapping[str, float], *, is_first: bool) -> None:  # noqa: ANN401
    writer = csv.DictWriter(file, list(row))
    if is_first:
        writer.writeheader()
    writer.writerow({name: f"{value:.6g}" for name, value in row.items()})


def draw_curves(path: Path, losses: Table, validation: Table, lines: Mapping[str, float]) -> bool:
    """Draw losses and validation over steps.

    Args:
        path: a PNG to write.
        losses: of all steps.
        validation: of some.
        lines: values of `raw` to compare with, by the names of scores; drawn in their colours.

    Returns:
        Whether it was drawn: matplotlib may not be installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, losses.rows, [n for n in _names(losses) if n.startswith("loss")], smooth=_SMOOTH)
    left.set(xlabel=STEP, ylabel="loss", yscale="log")
    _draw(right, validation.rows, _names(validation), smooth=1.0)
    colours = {line.get_label(): line.get_color() for line in right.lines}
    for name, value in lines.items():
        right.axhline(value, linestyle=":", color=colours.get(name, "grey"))
    if lines:
        right.set_title("dotted: raw, never trained to match", fontsize=8)
    right.set(xlabel=STEP, ylabel="share", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    part = part_of(path)
    figure.savefig(part, dpi=120, format="png")
    os.replace(part, path)
    return True


def _names(table: Table) -> list[str]:
    return [name for name in (table.rows[0] if table.rows else {}) if name != STEP]


def _draw(axes: Any, rows: list[dict[str, float]], names: list[str], smooth: float) -> None:  # noqa: ANN401
    for name in names:
        value, values = rows[0][name], []
        for row in rows:
            value += smooth * (row[name] - value)
            values.append(value)
        axes.plot(
            [row[STEP] for row in rows], values, label=name, marker="." if smooth == 1 else ""
        )


class TensorBoard:
    """Writes event files; does nothing where TensorBoard is not installed.

    Args:
        folder: for the files.
        first_step: later steps of an interrupted run, which this one repeats, are hidden.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._writer: Any = None
        if find_spec("tensorboard") is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of a step."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Hand over to the system what was written."""
        if self._writer is not None:
            self._writer.flush()
