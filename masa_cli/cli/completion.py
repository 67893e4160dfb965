"""`masa completion`: the shell completes commands, options and their values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

Shell = Annotated[
    Literal["bash", "zsh", "fish", "powershell", "pwsh"],
    typer.Argument(help="The shell to complete in.", show_default=False),
]
Install = Annotated[
    bool, typer.Option("--install", help="Write it where the shell looks for it, in your home.")
]

_INSTALL = "--install-completion"
_VARIABLE = "_MASA_COMPLETE"  # how the shell asks for completions


def completion(shell: Shell, install: Install = False) -> None:
    """Print the script that makes a shell complete `masa`, or install it.

    masa --install-completion does the latter for the shell it is called from, or for one that is
    named behind it.
    """
    from typer import completion as scripts  # noqa: PLC0415 - only to run

    from masa_cli.cli.console import show  # noqa: PLC0415

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
