"""Shell completion: installed for a shell that is named, and what it then completes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app, with_shell_named

MASA = [sys.executable, "-m", "masa_cli"]


def run(*arguments, home, **environment):
    return subprocess.run(
        [*MASA, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(home), **environment},
    )


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", ".bash_completions/masa.sh"),
        ("zsh", ".zfunc/_masa"),
        ("fish", ".config/fish/completions/masa.fish"),
    ],
)
def test_it_is_installed_for_the_shell_that_is_named(tmp_path, shell, file):
    result = run("--install-completion", shell, home=tmp_path)
    assert result.returncode == 0, result.stderr
    assert file in result.stdout
    assert "_MASA_COMPLETE" in (tmp_path / file).read_text()


def test_the_script_can_be_printed(tmp_path):
    result = CliRunner().invoke(app, ["completion", "bash"])
    assert result.exit_code == 0
    assert "complete -o default -F _masa_completion masa" in result.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("masa ret", {"retrack"}),
        ("masa weights pu", {"pull"}),
        ("masa track --assoc", {"--association"}),
        ("masa track --association mo", {"motion"}),
    ],
)
def test_bash_is_told_what_fits(tmp_path, words, expected):
    index = str(len(words.split()) - 1)
    result = run(home=tmp_path, _MASA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=index)
    assert set(result.stdout.split()) == expected, result.stderr


def test_other_arguments_stay_as_they_are(monkeypatch):
    for arguments in ([], ["track", "a.mp4"], ["--install-completion"], ["--version", "bash"]):
        assert with_shell_named(arguments) == arguments
    named = with_shell_named(["--install-completion", "zsh"])
    assert named == ["completion", "zsh", "--install"]


def test_an_unknown_shell_is_wrong_usage(tmp_path):
    result = run("--install-completion", "tcsh", home=tmp_path)
    assert result.returncode == 2
    assert not list(Path(tmp_path).iterdir())
