"""The table of protocols: what its rows promise, and that a row is all a new protocol needs."""

import importlib
import inspect
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

import masa_cli.cli.eval
from masa_cli import evaluation
from masa_cli.cli.app import app
from masa_cli.errors import SettingsError, SourceError
from masa_cli.evaluation import PROTOCOLS, EvalSettings, Protocol, evaluate
from masa_cli.evaluation.report import Metric, Report, require

PAGE = (Path(__file__).parents[2] / "docs/evaluation.md").read_text()


@pytest.fixture
def toy(monkeypatch):
    """A protocol of another package, which counts the lines of the results."""

    def lines(gt, results, *, unit, strict):
        count = len(results.read_text().splitlines())
        return Report((Metric("lines", is_count=True),), {"lines": unit * count + strict})

    module = ModuleType("toy_protocol")
    module.evaluate = lines
    monkeypatch.setitem(sys.modules, "toy_protocol", module)
    row = Protocol("Lines of a file", "toy_protocol", ("strict",), {"unit": 10})
    monkeypatch.setattr(evaluation, "PROTOCOLS", {**PROTOCOLS, "toy": row})
    importlib.reload(masa_cli.cli.eval)  # the command reads the table when it is imported
    yield
    monkeypatch.undo()
    importlib.reload(masa_cli.cli.eval)


def masa_eval(*arguments):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_a_row_is_all_that_a_protocol_needs(toy, tmp_path):
    gt, results = tmp_path / "gt.txt", tmp_path / "res.txt"
    gt.touch()
    results.write_text("a\nb\nc\n")
    arguments = ("--format", "toy", "--gt", gt, "--results", results)
    result = masa_eval(*arguments, "--json", "--strict")
    assert json.loads(result.stdout)["results"][str(results)]["combined"] == {"lines": 31}
    assert "lines" in masa_eval(*arguments).stdout
    assert "toy: Lines of a file." in " ".join(masa_eval("--help").stdout.split())
    refused = masa_eval("--format", "mot", "--gt", gt, "--results", results, "--strict")
    assert "it is for bdd, bdd-mots, toy" in refused.stderr


def test_the_command_offers_every_protocol_and_no_other(tmp_path):
    refused = masa_eval("--format", "none", "--gt", tmp_path, "--results", tmp_path)
    assert refused.exit_code == 2
    offered = " ".join(refused.stderr.split()).partition("is not one of ")[2]
    assert re.findall(r"'([\w-]+)'", offered) == list(PROTOCOLS)


def test_the_page_has_a_line_for_every_protocol_in_order():
    assert re.findall(r"^\| `([a-z][\w-]*)` \| (.*?) \|", PAGE, re.MULTILINE) == [
        (name, row.title) for name, row in PROTOCOLS.items()
    ]


@pytest.mark.parametrize(
    "choice", ["allow_missing", "seqmap", "class_vote", "strict", "all_classes"]
)
def test_the_page_names_the_protocols_of_each_option(choice):
    option = ("--no-" if choice == "class_vote" else "--") + choice.replace("_", "-")
    [named] = re.findall(rf"^\| `{option}(?: FILE)?` \| (.*?) \|", PAGE, re.MULTILINE)
    takers = [f"`{name}`" for name, row in PROTOCOLS.items() if choice in row.takes]
    assert named == ("all" if len(takers) == len(PROTOCOLS) else ", ".join(takers))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_protocol_takes_what_its_row_says(name):
    row = PROTOCOLS[name]
    parameters = inspect.signature(import_module(row.module).evaluate).parameters
    given = {"gt", "results", *row.takes, *row.fixed}
    needed = {key for key, each in parameters.items() if each.default is inspect.Parameter.empty}
    assert needed <= given <= set(parameters)
    assert not set(row.takes) & set(row.fixed)


def test_a_choice_of_another_protocol_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="strict means nothing to --format mot") as error:
        evaluate(tmp_path, tmp_path, protocol="mot", settings=EvalSettings(strict=True))
    assert "bdd, bdd-mots" in error.value.fix
    with pytest.raises(SettingsError, match="class-vote means nothing"):
        evaluate(tmp_path, tmp_path, protocol="bdd", settings=EvalSettings(class_vote=False))
    with pytest.raises(SourceError):  # the empty folder: what belongs to it is let through
        evaluate(tmp_path, tmp_path, protocol="bdd", settings=EvalSettings(strict=True))


def test_missing_files_are_named_before_anything_is_imported(tmp_path):
    with pytest.raises(SourceError, match=r"gt\.txt does not exist"):
        evaluate(tmp_path / "gt.txt", Path(), protocol="mot")


def test_a_missing_library_says_what_to_install():
    with pytest.raises(SettingsError, match="needs no_such_module") as error:
        require("no_such_module.inside")
    assert error.value.fix == "pip install 'masa[eval]'"
    assert require("json").__name__ == "json"
