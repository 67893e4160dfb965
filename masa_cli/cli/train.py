"""`masa train`: from a folder of images to an adapter of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.train_prepare import prepare, refuse_both

train = typer.Typer(
    name="train",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Learn to match anything from plain images: prepare, show, run.",
)
train.command()(prepare)

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
        "to find them, too.",
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


Cutouts = Annotated[
    Path | None,
    typer.Option(
        "--cutouts",
        help="Folder of objects to paste into the images, as PNG files with transparency in "
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


@train.command(name="show")
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
    """Draw pairs of views as a run would make them, what is the same in both joined by a line."""
    from masa_cli.cli.console import messages, show  # noqa: PLC0415 - heavy, only to run
    from masa_cli.formats.regions import RegionSet, read_regions  # noqa: PLC0415
    from masa_cli.results import make_folder, refuse_existing  # noqa: PLC0415
    from masa_cli.training.cutouts import find_cutouts  # noqa: PLC0415
    from masa_cli.training.pairs import PairMaker  # noqa: PLC0415
    from masa_cli.training.recipes import find_recipe  # noqa: PLC0415
    from masa_cli.training.sheets import draw_pairs  # noqa: PLC0415

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


@train.command()
def run(
    data: Data,
    output: Folder,
    adapter: Variant = "lite",
    recipe: RecipeName = None,
    changes: Changes = [],  # noqa: B006 - Typer copies it
    seed: Seed = 0,
    cutouts: Cutouts = None,
    videos: Videos = None,
    start: Start = None,
    weights_dir: options.WeightsDir = None,
    device: options.DeviceName = "auto",
    precision: options.PrecisionName = "float32",
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
    from masa_cli.cli.boundary import stops_on_signals  # noqa: PLC0415 - heavy, only to run
    from masa_cli.cli.console import messages  # noqa: PLC0415
    from masa_cli.cli.training_report import show_summary, training_progress  # noqa: PLC0415
    from masa_cli.training.job import TrainJob, is_helper  # noqa: PLC0415
    from masa_cli.training.keeper import Listener  # noqa: PLC0415
    from masa_cli.training.recipes import find_recipe  # noqa: PLC0415
    from masa_cli.training.run import train  # noqa: PLC0415
    from masa_cli.watch import Watch  # noqa: PLC0415

    refuse_both(resume=resume, overwrite=overwrite)
    job = TrainJob(
        data=tuple(data),
        variant=adapter,
        recipe=find_recipe(adapter, recipe).changed(changes),
        folder=output,
        seed=seed,
        device=device,
        precision=precision,
        workers=workers,
        start=start,
        cutouts=cutouts,
        weights_dir=weights_dir,
        videos=videos,
        resume=resume,
        overwrite=overwrite,
    )
    watch, listener = Watch(), Listener()
    silent = quiet or json or is_helper()
    with (
        messages(quiet=silent),
        stops_on_signals(watch),
        training_progress(listener, job.recipe.run.steps, quiet=silent),
    ):
        summary = train(job, watch, listener)
    show_summary(summary, watch, quiet=quiet, json=json)
