"""The command `masa` and its subcommands. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

from typing import Annotated

import typer

from masa_cli import __version__
from masa_cli.cli.boundary import Boundary
from masa_cli.cli.completion import completion
from masa_cli.cli.convert import convert
from masa_cli.cli.count import count
from masa_cli.cli.crops import crops
from masa_cli.cli.demo import demo
from masa_cli.cli.doctor import doctor
from masa_cli.cli.eval import eval_
from masa_cli.cli.render import render
from masa_cli.cli.retrack import retrack
from masa_cli.cli.segment_track import segment_track
from masa_cli.cli.stats import stats
from masa_cli.cli.track import track
from masa_cli.cli.train import train
from masa_cli.cli.weights import weights
from masa_cli.formats.detections import DETECTION_RULES

app = typer.Typer(
    cls=Boundary,
    name="masa",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=DETECTION_RULES)(track)
app.command(name="segment-track")(segment_track)
app.command()(retrack)
app.command()(render)
app.command()(convert)
app.command()(crops)
app.command()(stats)
app.command()(count)
app.command(name="eval")(eval_)
app.command()(demo)
app.add_typer(train)
app.add_typer(weights)
app.command()(doctor)
app.command()(completion)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"masa {__version__}")
        raise typer.Exit


@app.callback()
def masa(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Match anything in any video: boxes in, identities that last out.

    Exit codes: 0 done, 1 an error that the message explains, 2 wrong usage, 130 interrupted.
    """
