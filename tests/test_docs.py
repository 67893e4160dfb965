"""The documents promise only what the program has, and CI runs what the README says."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from masa_cli.cli import options
from masa_cli.cli.app import app
from masa_cli.models.variants import PREPROCESSINGS, VARIANTS
from masa_cli.sources.scenarios import DEMOS
from masa_cli.tracking import TRACKERS

ROOT = Path(__file__).parent.parent
CARD = ROOT / "weights/README.md"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
}
_GROUP = typer.main.get_command(app)
COMMANDS = {name: _GROUP.get_command(None, name) for name in _GROUP.list_commands(None)}
# Those of groups, too, as `masa weights pull` is.
ALL_COMMANDS = {
    f"{name} {each}".rstrip(): inner
    for name, command in COMMANDS.items()
    for each, inner in getattr(command, "commands", {"": command}).items()
}
OTHER_PROGRAMS = ("python", "pip", "pytest", "ruff", "mypy", "uv", "pre-commit", "torchrun")
# `masa` itself has these, or its boundary adds them to every command.
EVERYWHERE = {"--help", "--help-all", "--version", "--install-completion"}


def shell_lines(text):
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def masa_lines():
    return [
        pytest.param(line, id=f"{page}: {line}")
        for page, text in PAGES.items()
        for line in shell_lines(text)
        if line.startswith("masa ")
    ]


def prose(text):
    """Without code blocks, and without inline commands of other programs."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.sub(rf"`(?:{'|'.join(OTHER_PROGRAMS)})\b[^`]*`", "", text)


def anchors(text):
    """Of the headings, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_documents_show_every_command():
    shown = {shlex.split(line.values[0])[1] for line in masa_lines()}
    assert shown == set(COMMANDS)


@pytest.mark.parametrize("line", masa_lines())
def test_each_command_that_is_shown_parses(line):
    words = shlex.split(line)[1:]
    name = max(
        (name for name in ALL_COMMANDS if words[: len(name.split())] == name.split()), key=len
    )
    ALL_COMMANDS[name].make_context(name, words[len(name.split()) :])


@pytest.mark.parametrize("page", PAGES)
def test_each_command_that_is_named_exists(page):
    named = re.findall(r"`masa\s+([a-z][\w-]*)", prose(PAGES[page]))
    assert set(named) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_each_option_that_is_named_exists(page):
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", prose(PAGES[page])))
    known = {
        text
        for command in ALL_COMMANDS.values()
        for parameter in command.params
        for text in (*parameter.opts, *parameter.secondary_opts)
        if not getattr(parameter, "hidden", False)  # documents use no old names
    }
    assert named <= known | EVERYWHERE


def test_documents_name_many_options():
    """So that the test above is not passed by finding none."""
    text = "".join(map(prose, PAGES.values()))
    assert len(set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))) > 60


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.is_file(), target
        if anchor:
            assert anchor in anchors(path.read_text()), target


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", PAGES["README.md"]))
    assert linked == {page for page in PAGES if page.startswith("docs/")}


def test_nothing_is_left_open():
    assert not [page for page, text in PAGES.items() if "<!-- open" in text]


def test_headline_figures_are_those_of_the_benchmarks():
    source = PAGES["docs/benchmarks.md"] + CARD.read_text()
    table = PAGES["README.md"].partition("## Accuracy and speed")[2].partition("\n## ")[0]
    rows = [row for row in re.findall(r"^\|.*\|$", table, flags=re.MULTILINE) if "`" in row]
    assert rows
    for row in rows:
        for figure in re.findall(r"(?<=\| )\d+(?:\.\d+)?(?= \|)", row):
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.]*\d)", source), (figure, row)


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_each_option_has_a_help_text(name):
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    for parameter in ALL_COMMANDS[name].params:
        assert getattr(parameter, "help", None), f"{parameter.name} of {name}"


def test_choices_of_options_are_the_names_of_the_tables():
    assert set(get_args(options.PreprocessingName)) == set(PREPROCESSINGS)


def test_names_of_the_tables_are_explained():
    for name in (*TRACKERS, *VARIANTS):
        assert f"`{name}`" in PAGES["docs/association.md"]


def test_kinds_of_the_demo_are_listed_as_in_their_table():
    for name, row in DEMOS.items():
        assert f"| `{name}` | {row.summary} |\n" in PAGES["docs/install.md"]


def test_the_readme_opens_with_set_up_and_test():
    run, test = shell_lines(PAGES["README.md"])[:2]
    assert run.endswith("masa demo")
    assert test.endswith("pytest")
    assert test in (ROOT / ".ci/run").read_text()


def test_pre_commit_runs_the_checks_of_ci():
    entries = re.findall(r"entry: (.*)", (ROOT / ".pre-commit-config.yaml").read_text())
    programs = re.findall(r"^\.venv/bin/(.*)$", (ROOT / ".ci/run").read_text(), flags=re.MULTILINE)
    assert entries == [each for each in programs if not each.startswith("masa ")]
