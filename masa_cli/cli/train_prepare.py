"""`masa train prepare`: regions of images, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from masa_cli.cli import options
from masa_cli.errors import SettingsError

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
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Collect the regions of images into one file, and draw some of them.

    Writes regions.json (COCO) and regions.png into the output folder. Ctrl-C keeps what is done for
    --resume.
    """
    from masa_cli.cli.boundary import stops_on_signals  # noqa: PLC0415 - heavy, only to run
    from masa_cli.cli.console import messages, progress, show  # noqa: PLC0415
    from masa_cli.formats.regions import read_regions  # noqa: PLC0415
    from masa_cli.training.preparation import prepare as preparation  # noqa: PLC0415
    from masa_cli.training.preparation.sources import plan_source  # noqa: PLC0415
    from masa_cli.training.sheets import draw_regions  # noqa: PLC0415
    from masa_cli.watch import Watch  # noqa: PLC0415

    refuse_both(resume=resume, overwrite=overwrite)
    total = len(preparation.find_images(images))
    source, origin = plan_source(
        regions, format, sam=sam, points=points, weights_dir=weights_dir, device=device
    )
    watch = Watch()
    with messages(quiet=quiet), stops_on_signals(watch), progress(watch, total, quiet=quiet):
        found = preparation.prepare(
            images,
            output,
            source,
            origin,
            preparation.RegionFilter(min_area=min_area, max_area=max_area),
            watch,
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


def refuse_both(*, resume: bool, overwrite: bool) -> None:
    """Raise SettingsError if a run is to go on and to begin anew."""
    if resume and overwrite:
        raise SettingsError("--overwrite and --resume exclude each other", fix="choose one")
