"""What all commands have in common: where their errors end, and how their help looks.

Help stands under headings, in panels where a terminal shows it: `--help` has the options that most
people need, `--help-all` (as in Jupyter) all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from textwrap import wrap
from types import MappingProxyType
from typing import Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from masa_cli.cli.console import FAILED, INTERRUPTED, MISUSED, say
from masa_cli.errors import Interrupted, MasaError, UsageError
from masa_cli.formats import AUTO

# Headings, in the order in which they are shown; those of options without one come before.
INPUT, WANTED, DETECTOR, IDENTITY = "Input", "What to track", "Detector", "Identity"
MASKS, OUTPUTS, RUNNING = "Masks", "Outputs", "Running"
_HEADINGS = ("Arguments", "Options", INPUT, WANTED, DETECTOR, IDENTITY, MASKS, OUTPUTS, RUNNING)

# Former names of options: not shown, but accepted with a warning.
_FORMER: Mapping[str, str] = MappingProxyType(
    {
        "--relink": "--refine",
        "--no-relink": "--no-refine",
        "--tighten": "--fit-boxes",
        "--preparation": "--preprocessing",
    }
)
_HELP_ALL = "--help-all"
_FEW = 15  # parameters, of which none is left out
_NAMES = 25  # characters of a name that leave room for its text on the same line


class Group(TyperGroup):
    """Commands, listed as options are."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Click's own
        """Write the options of the group, and its commands."""
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        options = [record for record in records if record]
        _write_sections({"Options": options, "Commands": self.summaries(ctx)}, formatter)

    def summaries(self, ctx: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Click's own
        """Names and one line for each command."""
        names = self.list_commands(ctx)
        return [(name, self.commands[name].get_short_help_str(limit=100)) for name in names]


class Boundary(Group):
    """The group of all commands; whatever they raise ends here."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Click's own signature
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except MasaError as error:
            say("error", error.problem, style="bold red")
            say("fix", error.fix, style="bold green")
            code = MISUSED if isinstance(error, UsageError) else FAILED
            raise typer.Exit(code) from error
        except OSError as error:  # what the system refuses where nobody expected it to
            where = f"{error.filename}: " if error.filename else ""
            say("error", f"{where}{error.strerror or error}", style="bold red")
            say("fix", "check the path, the permissions and the space left", style="bold green")
            raise typer.Exit(FAILED) from error
        except Interrupted as interruption:
            say("interrupted", interruption.kept, style="bold yellow")
            raise typer.Exit(INTERRUPTED) from interruption
        except KeyboardInterrupt as interruption:
            say("interrupted", "stopped at once", style="bold yellow")
            raise typer.Exit(INTERRUPTED) from interruption


class Further(str):
    """A heading of options that `--help` leaves out."""

    __slots__ = ()


def option(heading: str, *names: str, **settings: Any) -> Any:  # noqa: ANN401 - as typer.Option
    """An option that `--help` shows under `heading`."""
    return typer.Option(*names, rich_help_panel=heading, **settings)


def further(heading: str, *names: str, **settings: Any) -> Any:  # noqa: ANN401 - as typer.Option
    """An option that only `--help-all` shows, under `heading`."""
    return option(Further(heading), *names, **settings)


def listed(rows: Mapping[str, Any]) -> str:
    """Names and summaries of a table's rows, a line each, for help texts."""
    return "\n".join(
        f"{getattr(row, 'written', name)}: {row.summary}" for name, row in rows.items()
    )


def choice(
    names: Callable[[], Sequence[str]], what: str = "format", file_ending: str = ""
) -> dict[str, Any]:
    """What makes an option take one of the names of a table, looked up when it is used.

    Args:
        names: of the table.
        what: they are, for the help and errors.
        file_ending: how the name of a file ends that may be given instead; "": none may.
    """

    def check(param: typer.CallbackParam, value: str | None) -> str | None:
        is_file = bool(file_ending) and (value or "").endswith(file_ending)
        if value is not None and value not in names() and not is_file:
            or_file = f"; or a file {file_ending} of masa tune" if file_ending else ""
            raise UsageError(
                f'{param.opts[0]}: unknown {what} "{value}"',
                fix=f"use one of: {', '.join(names())}{or_file}",
            )
        return value

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    metavar = f"{what.upper()}|FILE" if file_ending else what.upper()
    return {"metavar": metavar, "callback": check, "autocompletion": complete}


def or_auto(names: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
    """These names, and "auto" before them."""
    return lambda: (AUTO, *names())


class Command(TyperCommand):
    """A command with `--help-all`; former names of its options are accepted."""

    def __init__(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 - Click's own
        super().__init__(*args, **settings)
        self._help_all: Any = None
        self._shows_all = False

    @property
    def _has_further(self) -> bool:
        return len(self.params) > _FEW and any(
            isinstance(_heading(p), Further) for p in self.params
        )

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - Click's own
        """Those of the command, `--help`, `--help-all`."""
        params: list[Any] = super().get_params(ctx)  # the last of them is --help
        params[-1].rich_help_panel = RUNNING if any(map(_heading, self.params)) else None
        if self._help_all is None:  # Click compares parameters by identity
            self._help_all = copy(params[-1])
            self._help_all.name, self._help_all.opts = "help_all", [_HELP_ALL]
            self._help_all.help = "Show all options and exit."
            self._help_all.callback = self._print_all
            self._help_all.hidden = not self._has_further
        return [*params, self._help_all]

    def _print_all(self, ctx: Any, parameter: Any, is_wanted: bool) -> None:  # noqa: ANN401
        if is_wanted and not ctx.resilient_parsing:
            self._shows_all = True
            typer.echo(self.get_help(ctx), color=ctx.color)
            raise typer.Exit

    def parse_args(self, ctx: Any, args: Sequence[str]) -> list[str]:  # noqa: ANN401 - Click's own
        """The words of the command line, former names of options as those of today."""
        known = {name for each in self.params for name in (*each.opts, *each.secondary_opts)}
        words, rest = list(args), []
        if "--" in words:  # ends the options
            words, rest = words[: words.index("--")], words[words.index("--") :]
        for index, word in enumerate(words):
            former, equals, value = word.partition("=")
            name = _FORMER.get(former)
            if name in known:
                words[index] = f"{name}{equals}{value}"
                if not ctx.resilient_parsing:
                    _warn(former, str(name))
        return super().parse_args(ctx, [*words, *rest])

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Click's own
        """Write the options under their headings, and how many were left out."""
        rows: dict[str, list[tuple[str, str]]] = {}
        num_left_out = 0
        for parameter in self.get_params(ctx):
            heading, record = _heading(parameter), parameter.get_help_record(ctx)
            if record is None:
                continue
            if isinstance(heading, Further) and self._has_further and not self._shows_all:
                num_left_out += 1
                continue
            name, text = record
            if parameter.param_type_name == "argument":
                heading, name = heading or "Arguments", name.partition(" <")[0]  # no type
            rows.setdefault(heading or "Options", []).append((name, text))
        _write_sections({each: rows[each] for each in _HEADINGS if each in rows}, formatter)
        if num_left_out:
            formatter.write_paragraph()
            formatter.write_text(
                f"{ctx.command_path} {_HELP_ALL} shows {num_left_out} more options."
            )

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Click's own
        """Write what follows the options, if they were all shown."""
        if self._shows_all or not self._has_further:
            super().format_epilog(ctx, formatter)


def _heading(parameter: Any) -> str | None:  # noqa: ANN401 - Click's own
    heading: str | None = getattr(parameter, "rich_help_panel", None)
    return heading


def _write_sections(sections: Mapping[str, Sequence[tuple[str, str]]], formatter: Any) -> None:  # noqa: ANN401
    """Names and what they mean: in panels on a terminal, else as indented text."""
    longest = max(len(name) for rows in sections.values() for name, _ in rows)
    column = min(longest, _NAMES) + 2
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write(
                    "".join(f"  {line}\n" for line in _layout(rows, column, formatter.width - 2))
                )
        return
    formatter.write_paragraph()
    for heading, rows in sections.items():
        lines = _layout(rows, column, formatter.width - 4)  # less borders and padding
        text = Text("\n".join(lines))
        text.highlight_regex(r"(?<![\w-])--?[a-z][\w-]*", "bold cyan")
        text.highlight_regex(r"\[(default|required)[^]]*\]", "dim")
        title = Text(heading, "bold")
        with console.capture() as captured:
            console.print(
                Panel(
                    text, title=title, title_align="left", border_style="dim", width=formatter.width
                )
            )
        formatter.write(captured.get())


def _layout(rows: Sequence[tuple[str, str]], column: int, width: int) -> Iterator[str]:
    """The lines of names and, from a column on, their texts, whose own line breaks are kept."""
    indent = " " * column
    for name, raw in rows:
        is_list = "\n" in raw
        text = re.sub(r"\[default: \((.*)\)", r"[default: \1", raw)  # of those put into words
        if is_list:  # what Click appends gets a line of its own
            text = re.sub(r"  (\[[^[]*\])$", r"\n\1", text)
        lines = [
            indent + line
            for part in text.splitlines()
            for line in wrap(
                part,
                width - column,
                subsequent_indent="  " if is_list else "",
                break_on_hyphens=False,
            )
        ]
        if len(name) <= column - 2 and lines:
            lines[0] = f"{name:<{column}}{lines[0].lstrip()}"
        else:
            lines.insert(0, name)
        yield from lines


def _warn(former: str, name: str) -> None:
    say("warning", f"{former} is now {name}; the old name goes in 0.3", style="yellow")
