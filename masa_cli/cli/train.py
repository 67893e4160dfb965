"""`masa train`: from a folder of images to an adapter of one's own."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from masa_cli.cli import options
from masa_cli.cli.command import Command, Group
from masa_cli.cli.console import (
    error_console,
    messages,
    progress_bar,
    show,
    show_json,
    show_table,
    stops_on_signals,
)
from masa_cli.errors import SettingsError
from masa_cli.progress import RunProgress

if TYPE_CHECKING:
    from masa_cli.training.loop import StepFacts
    from masa_cli.training.recorder import Listener, TrainSummary

logger = logging.getLogger(__name__)
_LINE_EVERY = 30.0  # seconds between lines where there is no terminal
_SMOOTH = 0.1  # share of the newest step in what is shown
train = typer.Typer(
    name="train",
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Learn to match anything from plain images: prepare, show, run.",
)
FormatName = Literal["auto", "coco", "sa1b", "label-maps", "bsds"]
SamName = Literal["sam-vit-b", "sam-b", "sam-vit-l", "sam-vit-h", "sam-h"]
Images = Annotated[
    Path, typer.Argument(help="A folder of images; they stay as they are.", show_default=False)
]
Prepared = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the regions.", show_default=False)
]
RegionFiles = Annotated[
    Path | None,
    typer.Option(
        "--regions",
        help="Regions you have: a COCO json file (boxes or masks), or a folder with a file for "
        "each image: SA-1B's json, maps of labels as PNG, BSDS's .mat. Without it, Segment "
        "Anything finds them.",
        show_default=False,
    ),
]
Format = Annotated[
    FormatName, typer.Option("--format", help="Format of --regions, if it is not recognised.")
]
Sam = Annotated[
    SamName,
    typer.Option("--sam", help="Which Segment Anything finds regions; see masa weights list."),
]
Points = Annotated[
    int, typer.Option("--points", min=1, help="Points per side of the grid it is asked about.")
]
MinArea = Annotated[
    float, typer.Option("--min-area", help="Leave out regions below this share of the image.")
]
MaxArea = Annotated[
    float, typer.Option("--max-area", help="Leave out regions above this share of the image.")
]
Data = Annotated[
    list[Path], typer.Argument(help="Folders that masa train prepare made.", show_default=False)
]
Variant = Annotated[
    str,
    typer.Option(
        "--adapter",
        metavar="NAME",
        help="What to train: lite (small enough for a CPU), r50, gdino, detic, sam-b, sam-h.",
    ),
]
Folder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the results.", show_default=False)
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="Another recipe than the adapter's own: lite-detector learns from boxes with classes "
        "to find them, too; lite-two-stage goes on from a file with both stages.",
        show_default=False,
    ),
]
Changes = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change one setting, such as run.steps=300, run.batch=16, optimiser.lr=0.02 or "
        "views.size=512; may be repeated. A wrong name lists all.",
        show_default=False,
    ),
]
PrecisionName = Annotated[
    Literal["float32", "bfloat16", "float16"],
    options.further(options.RUNNING, "--precision", help="Numbers that networks compute with."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of all that is random.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that make views; 0: none of their own.")
]
Start = Annotated[
    Path | None,
    typer.Option(
        "--start",
        help="A file of weights of this adapter to go on from, published or trained. Without it "
        "the backbone has the weights it is published with, the rest begins at random.",
        show_default=False,
    ),
]
Videos = Annotated[
    Path | None,
    typer.Option(
        "--videos",
        help="Folder of sequences (<sequence>/gt/gt.txt beside img1 or a video file) to validate "
        "with: their true boxes are tracked, and IDF1 chooses the best weights. Needs masa[eval].",
        show_default=False,
    ),
]
TeacherFile = Annotated[
    Path | None,
    typer.Option(
        "--teacher",
        exists=True,
        dir_okay=False,
        help="ONNX file of a detector to imitate on every view, beside the labels: PicoDet as "
        "PaddleDetection exports it without post-processing. Its classes are COCO's.",
        show_default=False,
    ),
]
Cutouts = Annotated[
    Path | None,
    typer.Option(
        "--cutouts",
        help="Folder of objects for copy-paste augmentation, as PNG files with transparency in "
        "folders named after their classes; how often and how many: views.paste_chance and "
        "others, see --set.",
        show_default=False,
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The PNG to write (default: pairs.png beside the first regions)."
    ),
]
Count = Annotated[int, typer.Option("--count", min=1, help="How many pairs.")]


@train.command(cls=Command)
def prepare(
    images: Images,
    output: Prepared,
    regions: RegionFiles = None,
    format: Format = "auto",
    sam: Sam = "sam-vit-b",
    points: Points = 32,
    min_area: MinArea = 0.0005,
    max_area: MaxArea = 0.8,
    weights_dir: options.WeightsDir = None,
    device: options.DeviceName = "auto",
    threads: options.Threads = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Collect the regions of images into one file, and draw some of them.

    Writes regions.json (COCO) and regions.png into the output folder. Ctrl-C keeps what is done for
    --resume.
    """
    from masa_cli.training import prepare as preparation
    from masa_cli.training.region_sources import plan_source
    from masa_cli.training.regions import read_regions
    from masa_cli.training.sheets import draw_regions

    _refuse_both(resume=resume, overwrite=overwrite)
    total = len(preparation.find_images(images))
    source, origin = plan_source(
        regions, format, sam=sam, points=points, weights_dir=weights_dir, device=device
    )
    run_progress = RunProgress()
    with (
        messages(quiet=quiet),
        stops_on_signals(run_progress),
        progress_bar(run_progress, total, quiet=quiet),
    ):
        found = preparation.prepare(
            images,
            output,
            source,
            origin,
            preparation.RegionFilter(min_area=min_area, max_area=max_area),
            run_progress,
            threads=threads,
            resume=resume,
            overwrite=overwrite,
        )
    sheet = output / "regions.png"
    draw_regions(sheet, read_regions(found.file))
    show(
        f"{found.num_regions} regions of {found.num_images} images; {found.num_empty} images "
        f"without any, {found.num_broken} that could not be read"
    )
    show(str(found.file))
    show(str(sheet))


@train.command(name="show", cls=Command)
def show_(
    data: Data,
    output: Sheet = None,
    adapter: Variant = "lite",
    recipe: RecipeName = None,
    count: Count = 8,
    changes: Changes = [],  # noqa: B006 - Typer copies it
    seed: Seed = 0,
    cutouts: Cutouts = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Draw pairs of augmented views as a run would make them, the same objects joined by lines."""
    from masa_cli.formats.files import make_folder, refuse_existing
    from masa_cli.training.pairs import PairMaker, find_cutouts
    from masa_cli.training.recipe import find_recipe
    from masa_cli.training.regions import RegionSet, read_regions
    from masa_cli.training.sheets import draw_pairs

    views = find_recipe(adapter, recipe).changed(changes).views
    backgrounds = cutouts is not None
    regions = RegionSet.joined([read_regions(path, backgrounds=backgrounds) for path in data])
    folder = data[0] if data[0].is_dir() else data[0].parent
    output = output or folder / "pairs.png"
    if not overwrite:
        refuse_existing([output])
    make_folder(output.parent)
    with messages(quiet=False):
        found = find_cutouts(cutouts, regions) if cutouts else None
        maker = PairMaker(regions, views, seed, found)
        draw_pairs(output, [maker.make(number) for number in range(count)])
    show(str(output))


@train.command(cls=Command)
def run(
    data: Data,
    output: Folder,
    adapter: Variant = "lite",
    recipe: RecipeName = None,
    changes: Changes = [],  # noqa: B006 - Typer copies it
    seed: Seed = 0,
    cutouts: Cutouts = None,
    teacher: TeacherFile = None,
    videos: Videos = None,
    start: Start = None,
    weights_dir: options.WeightsDir = None,
    device: options.DeviceName = "auto",
    precision: PrecisionName = "float32",
    threads: options.Threads = None,
    workers: Workers = 1,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train an adapter on prepared images.

    Writes best.safetensors (the weights that validate best, for --adapter), last.safetensors,
    losses.csv, validation.csv, curves.png and checkpoints. With torchrun, several processes share
    each batch: torchrun --nproc-per-node 8 -m masa_cli train run ...
    """
    from masa_cli.training.recipe import TrainJob, find_recipe, is_helper
    from masa_cli.training.recorder import Listener
    from masa_cli.training.training_run import train as train_network

    _refuse_both(resume=resume, overwrite=overwrite)
    job = TrainJob(
        data=tuple(data),
        recipe=find_recipe(adapter, recipe).changed(changes),
        folder=output,
        seed=seed,
        device=device,
        precision=precision,
        threads=threads,
        workers=workers,
        start=start,
        cutouts=cutouts,
        teacher=teacher,
        weights_dir=weights_dir,
        videos=videos,
        resume=resume,
        overwrite=overwrite,
    )
    run_progress, listener = RunProgress(), Listener()
    silent = quiet or json or is_helper()
    with (
        messages(quiet=silent),
        stops_on_signals(run_progress),
        _training_progress(listener, job.recipe.run.steps, quiet=silent),
    ):
        summary = train_network(job, run_progress, listener)
    _show_summary(summary, run_progress, quiet=quiet, json=json)


def _refuse_both(*, resume: bool, overwrite: bool) -> None:
    """Raise SettingsError if a run is to go on and to begin anew."""
    if resume and overwrite:
        raise SettingsError("--overwrite and --resume exclude each other", fix="choose one")


class _Board:
    """The latest of everything, smoothed a little."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._values: dict[str, float] = {}
        self._scores: dict[str, float] = {}
        self._step = 0

    def take(self, facts: StepFacts) -> None:
        """A step."""
        self._step = facts.step
        for name, value in facts.row().items():
            before = self._values.get(name, value)
            self._values[name] = before + _SMOOTH * (value - before)

    def score(self, scores: Mapping[str, float]) -> None:
        """A validation."""
        self._scores |= scores

    def line(self) -> str:
        """All in one line."""
        left = (self._total - self._step) * self._values["seconds"]
        rest = ", ".join(f"{n} {v:.3f}" for n, v in self._scores.items())
        return (
            f"step {self._step} of {self._total}: loss {self._values['loss']:.3f}, "
            f"{self._values['seconds']:.2f} s per step, {left / 60:.0f} min left"
            + (f"; {rest}" if rest else "")
        )

    def table(self) -> Table:
        """All as a table."""
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in {f"step of {self._total}": self._step, **self._values}.items():
            table.add_row(Text(name), Text(f"{value:.5g}"))
        for name, value in self._scores.items():
            table.add_row(Text(name, style="bold"), Text(f"{value:.3f}", style="bold"))
        return table


@contextmanager
def _training_progress(listener: Listener, total: int, *, quiet: bool) -> Iterator[None]:
    """Show what the listener hears: a live table, or lines where stderr is no terminal."""
    console = error_console()
    board = _Board(total)
    is_live = console.is_terminal and not quiet
    last = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def on_step(facts: StepFacts) -> None:
            nonlocal last
            board.take(facts)
            if is_live:
                live.update(board.table(), refresh=True)
            elif time.monotonic() - last > _LINE_EVERY or facts.step == total:
                last = time.monotonic()
                logger.info("%s", board.line())

        def on_validation(step: int, scores: Mapping[str, float]) -> None:
            board.score(scores)
            told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
            logger.info("after step %d: %s", step, told)

        listener.on_step, listener.on_validation = on_step, on_validation
        yield


def _show_summary(
    summary: TrainSummary, run_progress: RunProgress, *, quiet: bool, json: bool
) -> None:
    """What a run came to, on stdout; nothing in processes that only helped."""
    if not summary.written:
        return
    if json:
        show_json(
            {
                "steps": summary.steps,
                "scores": dict(summary.scores),
                "best": summary.best,
                "broken": summary.num_broken,
                "written": [str(path) for path in summary.written],
                "stages": {name: round(spent, 3) for name, spent in run_progress.seconds.items()},
            }
        )
    elif not quiet:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in summary.scores.items())
        show(f"{summary.steps} steps; {scores}; best {summary.best:.3f}")
        if summary.num_broken:
            show(f"{summary.num_broken} times an image could not be read and was passed over")
        show("")
        show_table(("stage", "seconds"), [(n, f"{s:.1f}") for n, s in run_progress.seconds.items()])
        show("")
        show_table(("written",), [(str(path),) for path in summary.written])
