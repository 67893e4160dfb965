"""The README promises only what the program has, and CI runs what the README says."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from masa_cli.cli import options
from masa_cli.cli.app import app
from masa_cli.models.variants import PREPARATIONS, VARIANTS
from masa_cli.tracking import NAMES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
_GROUP = typer.main.get_command(app)
COMMANDS = {name: _GROUP.get_command(None, name) for name in _GROUP.list_commands(None)}
# Those of groups, too, as `masa weights pull` is.
ALL_COMMANDS = {
    f"{name} {each}".rstrip(): inner
    for name, command in COMMANDS.items()
    for each, inner in getattr(command, "commands", {"": command}).items()
}


def shell_lines():
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def masa_lines():
    return [line for line in shell_lines() if line.startswith("masa ")]


def test_the_readme_shows_every_command():
    assert {shlex.split(line)[1] for line in masa_lines()} == set(COMMANDS)


@pytest.mark.parametrize("line", masa_lines())
def test_each_command_of_the_readme_parses(line):
    words = shlex.split(line)[1:]
    name = max(
        (name for name in ALL_COMMANDS if words[: len(name.split())] == name.split()), key=len
    )
    ALL_COMMANDS[name].make_context(name, words[len(name.split()) :])


def test_each_option_the_readme_names_exists():
    prose = re.sub(r"```sh\n.*?```", "", README, flags=re.DOTALL)
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", prose))
    known = {
        text
        for command in ALL_COMMANDS.values()
        for parameter in command.params
        for text in (*parameter.opts, *parameter.secondary_opts)
    }
    assert len(named) > 10
    assert named <= known | {"--help", "--install-completion"}


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_each_option_has_a_help_text(name):
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    for parameter in ALL_COMMANDS[name].params:
        assert getattr(parameter, "help", None), f"{parameter.name} of {name}"


def test_choices_of_options_are_the_names_of_the_tables():
    assert set(get_args(options.AssociationName)) == set(NAMES)
    assert set(get_args(options.PreparationName)) == set(PREPARATIONS)
    for name in (*NAMES, *VARIANTS):
        assert f"`{name}`" in README


def test_the_readme_opens_with_set_up_and_test():
    run, test = shell_lines()[:2]
    assert run.endswith("masa demo")
    assert test.endswith("pytest")
    assert test in (ROOT / ".ci/run").read_text()
