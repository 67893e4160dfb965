"""`masa weights`: which published files there are, and how they come onto this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masa_cli.cli import options
from masa_cli.cli.command import Command, Group

if TYPE_CHECKING:
    from masa_cli.weights.manifest import WeightsFile

weights = typer.Typer(
    name="weights",
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The published files masa runs on: list, pull, verify, where, import.",
)

_NAME_HELP = "Names as masa weights list shows them."
Names = Annotated[
    list[str],
    typer.Argument(
        help=f"{_NAME_HELP} hf:OWNER/NAME: a whole model of the Hugging Face hub, for --detector "
        "or --segmenter; a revision may follow: hf:OWNER/NAME@REVISION. torchvision:NAME: one of "
        "torchvision's.",
        show_default=False,
    ),
]
SomeNames = Annotated[
    list[str] | None,
    typer.Argument(help=f"{_NAME_HELP} Without any: all that are here.", show_default=False),
]
Name = Annotated[
    str | None,
    typer.Argument(
        help="A name as masa weights list shows it. Without one: the folders that are looked in.",
        show_default=False,
    ),
]
File = Annotated[Path, typer.Argument(help="A file that is here already.", show_default=False)]
As = Annotated[
    str | None,
    typer.Option("--as", help="What it is, if name and content do not tell.", show_default=False),
]
Link = Annotated[bool, typer.Option("--link", help="Link to it instead of copying it.")]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON, for machines.")]


@weights.command(name="list", cls=Command)
def list_(weights_dir: options.WeightsDir = None, json: Json = False) -> None:
    """List the files, what needs them, and which are here."""
    from masa_cli.cli.console import show_json, show_table
    from masa_cli.weights.manifest import load_manifest, look_for

    rows = [(row, look_for(row, weights_dir)) for row in load_manifest().values()]
    if json:
        show_json({"files": [_record(row, path) for row, path in rows]})
        return
    show_table(
        ("name", "needed by", "what", "here", "size"),
        [
            (row.name, _needed_by(row), row.summary, "yes" if path else "-", row.size)
            for row, path in rows
        ],
        num_left=4,
    )


@weights.command(cls=Command)
def pull(
    names: Names, weights_dir: options.WeightsDir = None, quiet: options.Quiet = False
) -> None:
    """Download files, and what is needed with them.

    A file has its name only once it is complete and checked. After a cut connection the same
    command goes on where it was. HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the usual
    variables for proxies are respected.
    """
    from masa_cli.cli.console import byte_progress, show
    from masa_cli.weights.fetch import MODEL, fetch, fetch_model
    from masa_cli.weights.manifest import find_row, needed_for

    for name in names:
        if name.startswith(MODEL):
            show(str(fetch_model(name, weights_dir)))
        elif name.startswith(_TORCHVISION):
            show(str(_pull_torchvision(name, weights_dir, quiet=quiet)))
    others = [name for name in names if not name.startswith((MODEL, _TORCHVISION))]
    rows = {
        row.name: row
        for wanted in [find_row(name) for name in others]
        for row in (wanted, *needed_for(adapter=wanted.name, detector=wanted.name))
    }
    for name in rows:
        with byte_progress(name, quiet=quiet) as told:
            path = fetch(name, weights_dir, on_progress=told)
        show(str(path))


_TORCHVISION = "torchvision:"


def _pull_torchvision(name: str, weights_dir: Path | None, *, quiet: bool) -> Path:
    """Weights of torchvision, into torch's cache or the folder of the user."""
    from masa_cli.cli.console import byte_progress
    from masa_cli.detectors.torchvision_models import fetch_weights
    from masa_cli.errors import WeightsError
    from masa_cli.weights.download import Cut

    try:
        with byte_progress(name, quiet=quiet) as told:
            model = name.removeprefix(_TORCHVISION)
            return fetch_weights(model, weights_dir, on_progress=told)
    except Cut as cut:
        raise WeightsError(
            f"the weights of {name} could not be fetched: {cut}",
            fix="try again, which goes on with what has arrived",
        ) from cut


@weights.command(cls=Command)
def verify(
    names: SomeNames = None, weights_dir: options.WeightsDir = None, quiet: options.Quiet = False
) -> None:
    """Compare files with what is published of them.

    Exit code 1 if one is damaged, another one than it should be, or not here.
    """
    from masa_cli.cli.console import FAILED, byte_progress, say, show
    from masa_cli.errors import WeightsError
    from masa_cli.weights.manifest import find_row, find_weights, load_manifest, look_for
    from masa_cli.weights.manifest import verify as compare

    rows = [find_row(name) for name in names or []]
    some_wrong = False
    for row in rows or [r for r in load_manifest().values() if look_for(r, weights_dir)]:
        try:
            path = find_weights(row.name, weights_dir)
            with byte_progress(row.name, quiet=quiet) as told:
                basis = compare(path, row, on_bytes=told)
        except WeightsError as error:
            some_wrong = True
            say("error", error.problem, style="bold red")
            say("fix", error.fix, style="bold green")
        else:
            show(f"{row.name}: right ({basis}), {path}")
    if some_wrong:
        raise typer.Exit(FAILED)


@weights.command(cls=Command)
def where(name: Name = None, weights_dir: options.WeightsDir = None) -> None:
    """Print where a file is, or which folders are looked in.

    Downloads go into the first folder, or into the last, the hub's cache, if they come from the
    hub and no folder is named.
    """
    from masa_cli.cli.console import show
    from masa_cli.weights.manifest import all_places, find_weights

    for path in [find_weights(name, weights_dir)] if name else all_places(weights_dir):
        show(str(path))


@weights.command(name="import", cls=Command)
def import_(
    file: File, as_: As = None, link: Link = False, weights_dir: options.WeightsDir = None
) -> None:
    """Take over a file that is here already.

    It is recognised by its name or its content, checked, and copied to where masa looks for it.
    """
    from masa_cli.cli.console import show
    from masa_cli.weights.fetch import adopt, recognise
    from masa_cli.weights.manifest import find_row

    row = find_row(as_) if as_ else recognise(file)
    show(str(adopt(file, row, weights_dir, link=link)))


def _needed_by(row: WeightsFile) -> str:
    from masa_cli.models.variants import SAM_VARIANTS

    needs = [f"--adapter {name}" for name in row.adapters]
    needs += ["--prompt"] if row.detectors else []
    needs += ["--masks"] if row.name in SAM_VARIANTS else []
    needs += ["segment-track"] if row.name in SAM_VARIANTS and row.adapters else []
    return ", ".join(needs) or "-"


def _record(row: WeightsFile, path: Path | None) -> dict[str, object]:
    return {
        "name": row.name,
        "summary": row.summary,
        "file": row.file,
        "adapters": row.adapters,
        "detectors": row.detectors,
        "bytes": row.bytes,
        "sha256": row.sha256,
        "licence": row.licence,
        "origin": row.origin,
        "path": str(path) if path else None,
    }
