import inspect
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from masa_cli.cli.eval import Format
from masa_cli.errors import SettingsError, SourceError
from masa_cli.evaluation import PROTOCOLS, EvalSettings, check_settings, evaluate
from masa_cli.evaluation.report import require


def test_the_command_offers_every_protocol():
    assert set(get_args(Format)) == set(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_protocol_takes_what_its_row_says(name):
    row = PROTOCOLS[name]
    function = import_module(f"masa_cli.evaluation.{row.module}").evaluate
    assert set(inspect.signature(function).parameters) == {
        "gt",
        "results",
        *row.takes,
        *row.fixed,
    }


def test_a_choice_of_another_protocol_is_refused():
    check_settings("bdd", EvalSettings(strict=True))
    with pytest.raises(SettingsError, match="strict means nothing to --format mot") as error:
        check_settings("mot", EvalSettings(strict=True))
    assert "bdd, bdd-mots" in error.value.fix
    with pytest.raises(SettingsError, match="class-vote means nothing"):
        check_settings("bdd", EvalSettings(class_vote=False))


def test_missing_files_are_named_before_anything_is_imported(tmp_path):
    with pytest.raises(SourceError, match=r"gt\.txt does not exist"):
        evaluate("mot", tmp_path / "gt.txt", Path(), EvalSettings())


def test_a_missing_library_says_what_to_install():
    with pytest.raises(SettingsError, match="needs no_such_module") as error:
        require("no_such_module.inside")
    assert error.value.fix == "pip install 'masa[eval]'"
    assert require("json").__name__ == "json"
