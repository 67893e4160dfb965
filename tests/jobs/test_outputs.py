"""Nothing is overwritten unasked, and what cannot work is said before any work."""

import pytest

from masa_cli.errors import OutputError
from masa_cli.jobs.outputs import Outputs


def prepare(results, *, inputs=(), overwrite=False, resume=False):
    results.prepare(inputs=list(inputs), overwrite=overwrite, resume=resume)


def test_names_follow_the_stem(tmp_path):
    results = Outputs(tmp_path / "out", "street")
    assert [path.name for path in results.wanted()] == ["street.mp4", "street.txt", "tracks.jsonl"]
    prepare(results)
    assert (tmp_path / "out").is_dir()
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["street.mp4", "street.txt", "tracks.jsonl"])
def test_an_existing_result_is_refused_without_overwrite(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(OutputError, match=name) as caught:
        prepare(Outputs(tmp_path, "street"))
    assert "--overwrite" in caught.value.fix
    prepare(Outputs(tmp_path, "street"), overwrite=True)


def test_a_result_that_is_not_wanted_does_not_matter(tmp_path):
    (tmp_path / "street.mp4").touch()
    prepare(Outputs(tmp_path, "street", wants_video=False))


def test_an_interrupted_run_is_not_thrown_away(tmp_path):
    results = Outputs(tmp_path, "street")
    results.resume_state.touch()
    with pytest.raises(OutputError, match="interrupted run") as caught:
        prepare(results)
    assert "--resume" in caught.value.fix
    prepare(results, resume=True)
    prepare(results, overwrite=True)


def test_a_complete_run_cannot_be_resumed(tmp_path):
    (tmp_path / "tracks.jsonl").touch()
    with pytest.raises(OutputError, match="exists already"):
        prepare(Outputs(tmp_path, "street"), resume=True)


def test_an_input_is_never_overwritten(tmp_path):
    source = tmp_path / "street.mp4"
    source.touch()
    with pytest.raises(OutputError, match="input of this run"):
        prepare(Outputs(tmp_path, "street"), inputs=[source], overwrite=True)


def test_no_result_at_all_is_a_mistake(tmp_path):
    nothing = Outputs(tmp_path, "a", wants_video=False, wants_mot=False, wants_tracks=False)
    with pytest.raises(OutputError, match="no result"):
        prepare(nothing)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        prepare(Outputs(tmp_path / "file" / "out", "a"))


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 2**20})())
    with pytest.raises(OutputError, match="only 1 MiB"):
        prepare(Outputs(tmp_path, "a"))


@pytest.mark.parametrize("name", ["x" * 247, "é" * 124])
def test_names_that_would_get_too_long_are_refused_at_once(tmp_path, name):
    results = Outputs(tmp_path / "out", name)
    with pytest.raises(OutputError, match="longer name than"):
        results.prepare(inputs=[])
    assert not (tmp_path / "out").exists()
    Outputs(tmp_path / "out", name[: len(name) // 2]).prepare(inputs=[])
