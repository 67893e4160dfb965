import hashlib
import json

import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.weights import manifest
from masa_cli.weights.manifest import load_manifest

CONTENT = b"words"


@pytest.fixture(autouse=True)
def clean_machine(tmp_path, monkeypatch):
    monkeypatch.delenv("MASA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def words(tmp_path, monkeypatch):
    """A manifest of one small file, which two things need."""
    path = tmp_path / "weights.toml"
    path.write_text(
        f"""
        [[files]]
        name = "words"
        summary = "some words"
        file = "words.txt"
        url = "http://127.0.0.1:9/words.txt"
        adapters = ["r50"]
        detectors = ["gdino"]
        bytes = {len(CONTENT)}
        sha256 = "{hashlib.sha256(CONTENT).hexdigest()}"
        """
    )
    monkeypatch.setattr(manifest, "MANIFEST", path)
    load_manifest.cache_clear()
    yield tmp_path / "folder"
    load_manifest.cache_clear()


def masa(*arguments):
    return CliRunner().invoke(app, ["weights", *(str(argument) for argument in arguments)])


def listed(*arguments):
    return json.loads(masa("list", "--json", *arguments).stdout)["files"]


def put(folder, content=CONTENT, name="words.txt"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_the_list_tells_what_is_here(words, tmp_path):
    assert [file["path"] for file in listed("--weights-dir", words)] == [None]
    path = put(words)
    [file] = listed("--weights-dir", words)
    assert file["path"] == str(path)
    assert (file["adapters"], file["detectors"], file["bytes"]) == (["r50"], ["gdino"], 5)
    [head, row] = masa("list", "--weights-dir", words).stdout.splitlines()
    assert head.split()[:2] == ["name", "needed"]
    assert "--adapter r50, --prompt" in row
    assert "some words" in row
    assert "yes" in row.split()


def test_the_real_list_shows_every_row():
    shown = masa("list").stdout
    for name, row in load_manifest().items():
        assert name in shown
        assert row.summary in shown


def test_pull_prints_where_the_file_is(words):
    path = put(words)
    result = masa("pull", "words", "--weights-dir", words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{path}\n", "")


def test_pull_brings_what_is_needed_besides(tmp_path):
    """gdino reads prompts with a file of its own."""
    for row in load_manifest().values():
        put(tmp_path / "all", name=row.file)
    result = masa("pull", "gdino", "r50", "--weights-dir", tmp_path / "all")
    files = [line.rpartition("/")[2] for line in result.stdout.splitlines()]
    assert files == ["gdino_masa.pth", "bert-base-uncased-vocab.txt", "masa_r50.pth"]


def test_pull_without_a_connection_is_two_lines(words):
    result = masa("pull", "words", "--weights-dir", words)
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "fix"]
    assert str(words / "words.txt") in result.stderr


def test_pull_checks_all_names_before_it_begins(words):
    result = masa("pull", "words", "wrds", "--weights-dir", words)
    assert result.exit_code == 1
    assert 'unknown weights "wrds"' in result.stderr


def test_verify_tells_right_from_wrong(words):
    path = put(words)
    result = masa("verify", "--weights-dir", words)
    assert (result.exit_code, result.stdout) == (0, f"words: right (sha256), {path}\n")
    put(words, b"sword")
    result = masa("verify", "words", "--weights-dir", words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "sha256" in result.stderr
    assert "fix: delete it, then: masa weights pull words" in result.stderr


def test_verify_of_nothing_is_right_unless_it_was_asked_for(words):
    assert masa("verify", "--weights-dir", words).exit_code == 0
    assert masa("verify", "words", "--weights-dir", words).exit_code == 1


def test_where_prints_a_path_or_the_folders(words, tmp_path):
    path = put(words)
    assert masa("where", "words", "--weights-dir", words).stdout == f"{path}\n"
    folders = masa("where", "--weights-dir", words).stdout.splitlines()
    assert folders == [str(words), str(tmp_path / "cache/masa/weights"), str(tmp_path / "hub")]
    path.unlink()
    assert masa("where", "words", "--weights-dir", words).exit_code == 1


def test_import_takes_over_a_file(words, tmp_path):
    mine = put(tmp_path / "downloads", name="words (1).txt")
    result = masa("import", mine, "--weights-dir", words)
    assert (result.exit_code, result.stdout) == (0, f"{words / 'words.txt'}\n")
    assert (words / "words.txt").read_bytes() == CONTENT
    assert masa("import", mine, "--link").exit_code == 0
    assert (tmp_path / "cache/masa/weights/words.txt").resolve() == mine


def test_import_refuses_what_it_does_not_know(words, tmp_path):
    mine = put(tmp_path / "downloads", b"sword", name="mine.txt")
    assert "none of the published files" in masa("import", mine).stderr
    result = masa("import", mine, "--as", "words", "--weights-dir", words)
    assert result.exit_code == 1
    assert "sha256" in result.stderr
    assert not words.exists()
