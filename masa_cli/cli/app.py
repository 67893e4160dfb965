"""The command `masa` and its subcommands. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Any, Literal

import typer

from masa_cli import __version__
from masa_cli.cli.command import Boundary, Command

Shell = Annotated[
    Literal["bash", "zsh", "fish", "powershell", "pwsh"],
    typer.Argument(help="The shell to complete in.", show_default=False),
]
Install = Annotated[
    bool, typer.Option("--install", help="Write it where the shell looks for it, in your home.")
]

_INSTALL = "--install-completion"
_WIDEST = 100  # characters in a line of help: longer ones are hard to read
_VARIABLE = "_MASA_COMPLETE"  # how the shell asks for completions


def completion(shell: Shell, install: Install = False) -> None:
    """Print the script that makes a shell complete `masa`, or install it.

    masa --install-completion does the latter for the shell it is called from, or for one that is
    named behind it.
    """
    from typer import completion as scripts

    from masa_cli.cli.console import show

    known = {"prog_name": "masa", "complete_var": _VARIABLE, "shell": shell}
    if not install:
        typer.echo(scripts.get_completion_script(**known))  # type: ignore[attr-defined]
        return
    name, path = scripts.install(**known)  # type: ignore[attr-defined]
    show(f"{name} completion installed in {path}")
    show("It takes effect in new terminals.")


def with_shell_named(arguments: Sequence[str]) -> list[str]:
    """`--install-completion SHELL` as the command it stands for; other arguments as they are.

    The option itself takes no value: it finds out which shell it is called from.
    """
    if len(arguments) == 2 and arguments[0] == _INSTALL and _VARIABLE not in os.environ:
        return ["completion", arguments[1], "--install"]
    return list(arguments)


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command of `masa`, whose module is imported only when it is called.

    Attributes:
        module: in masa_cli.cli.
        function: or group, in that module.
        summary: its line in `masa --help`.
        epilog: module:function that gives what follows the options in its own help.
    """

    module: str
    function: str
    summary: str
    epilog: str | None = None


COMMANDS: Mapping[str, CommandRow] = MappingProxyType(
    {
        "track": CommandRow(
            "track",
            "track",
            "Track the objects of a video, given their boxes or their names.",
            "masa_cli.formats.detections:help_text",
        ),
        "segment-track": CommandRow(
            "segment_track", "segment_track", "Find, segment and track everything in a video."
        ),
        "retrack": CommandRow(
            "retrack", "retrack", "Associate the boxes of an earlier run anew, in seconds."
        ),
        "tune": CommandRow(
            "tune", "tune", "Search settings of an association on your own videos and their truth."
        ),
        "gallery": CommandRow(
            "gallery", "gallery", "Identities of several videos: see, name, merge and remove them."
        ),
        "link": CommandRow(
            "link", "link", "Give the tracks of several videos common ids, from kept embeddings."
        ),
        "refine": CommandRow(
            "link", "refine", "Refine the tracks of any tool: split, link anew, fill gaps."
        ),
        "render": CommandRow("render", "render", "Draw tracks into their video, without models."),
        "convert": CommandRow(
            "convert",
            "convert",
            "Write tracks in another format.",
            "masa_cli.cli.convert:help_on_tracks",
        ),
        "review": CommandRow(
            "review", "review", "Look at tracks in a browser, find what is wrong, and mend it."
        ),
        "edit": CommandRow("review", "edit", "Do the edits of a review again, without a browser."),
        "crops": CommandRow("analyse", "crops", "Cut out the best views of each track."),
        "stats": CommandRow("analyse", "stats", "Count tracks; how long they last, and where."),
        "measure": CommandRow("measure", "measure", "Speeds and distances on the ground."),
        "count": CommandRow(
            "count", "count", "Count the tracks that cross lines, or are in zones."
        ),
        "eval": CommandRow("eval", "eval_", "Compare results with their ground truth."),
        "demo": CommandRow("demo", "demo", "Track a rendered scene, with no video at hand."),
        "train": CommandRow("train", "train", "Train an adapter or a detector on plain images."),
        "detectors": CommandRow(
            "detectors", "detectors", "List what can detect: classes, weights, licences, runtimes."
        ),
        "weights": CommandRow("weights", "weights", "Get and check published files of weights."),
        "doctor": CommandRow("doctor", "doctor", "Tell what is installed, and what could run."),
        "completion": CommandRow("app", "completion", "Make a shell complete masa."),
    }
)


class Commands(Boundary):
    """The commands of `masa`, by their rows."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - Click's own
        """Their names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, name: str) -> Any:  # noqa: ANN401 - Click's own
        """The command of that name, imported now; None if there is none."""
        row = COMMANDS.get(name)
        if row is None:
            return None
        member = getattr(import_module(f"masa_cli.cli.{row.module}"), row.function)
        if isinstance(member, typer.Typer):
            return typer.main.get_command(member)
        one = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        one.command(name=name, cls=Command, epilog=_told_by(row.epilog))(member)
        return typer.main.get_command(one)

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Click's own
        """Those of the rows; no command is imported."""
        return [(name, row.summary) for name, row in COMMANDS.items()]


def _told_by(target: str | None) -> str | None:
    """What the function at module:name tells."""
    if target is None:
        return None
    module, _, name = target.partition(":")
    text: str = getattr(import_module(module), name)()
    return text


app = typer.Typer(
    cls=Commands,
    name="masa",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST},
)


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
