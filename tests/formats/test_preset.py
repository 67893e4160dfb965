"""Presets of associations in files: read, written, refused."""

import math

import numpy as np
import pytest

import masa_cli
from masa_cli.errors import MasaError, SettingsError, SourceError
from masa_cli.formats.preset import KIND, Preset, preset_for, read_preset, write_preset


def written(folder, text):
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_what_is_written_is_read_again(tmp_path):
    preset = Preset(
        "masa-demo",
        {"memory_frames": 30, "momentum": 0.25, "max_distance": math.inf, "same_label": True},
        {"made by": 'masa tune "a\\b"\n', "frames": 300, "gain": 0.1, "is noise": False},
    )
    path = tmp_path / "mine.toml"
    write_preset(path, preset)
    assert read_preset(path) == preset
    assert preset.changes == (
        "memory_frames=30",
        "momentum=0.25",
        "max_distance=inf",
        "same_label=true",
    )
    assert [each.name for each in tmp_path.iterdir()] == ["mine.toml"]


def test_settings_of_the_refinement_are_told_apart(tmp_path):
    path = written(
        tmp_path,
        f'kind = "{KIND}"\nassociation = "hybrid"\n[settings]\n'
        "birth_score = 0.5\nlinking.seconds = 5",
    )
    preset = read_preset(path)
    assert preset.settings == {"birth_score": 0.5, "linking.seconds": 5}
    assert preset.tracker_changes == ("birth_score=0.5",)
    write_preset(path, preset)
    assert read_preset(path) == preset


def test_comments_stand_before_everything(tmp_path):
    path = tmp_path / "mine.toml"
    write_preset(path, Preset("motion", notes=("a note", "")))
    assert path.read_text().startswith("# a note\n#\nkind = ")


def test_a_name_is_a_preset_without_changes():
    assert preset_for("motion") == Preset("motion")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = ", "is no TOML"),
        ('association = "motion"', "lacks the line kind"),
        ("", "lacks the line kind"),
        (f'kind = "{KIND}"', "name an association, got None"),
        (f'kind = "{KIND}"\nassociation = 3', "name an association, got 3"),
        (f'kind = "{KIND}"\nassociation = "sort"', 'unknown association "sort"'),
        (f'kind = "{KIND}"\nassociation = "motion"\nsettings = 3', "a table"),
        (f'kind = "{KIND}"\nassociation = "motion"\nbirth_score = 0.5', "has birth_score, which"),
    ],
)
def test_a_file_that_is_no_preset_says_why(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(MasaError) as caught:
        preset_for(path)
    assert message in caught.value.problem
    assert str(path) in caught.value.problem


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("birth = 0.5", "no setting to change"),
        ('birth_score = "high"', "for birth_score, got 'high'"),
        ("birth_score = nan", "for birth_score, got nan"),
        ("birth_score = [1]", "for birth_score"),
        ("birth_score = true", '"true" is no float'),
    ],
)
def test_settings_that_there_are_not_are_refused_with_the_file(tmp_path, line, message):
    path = written(tmp_path, f'kind = "{KIND}"\nassociation = "motion"\n[settings]\n{line}')
    with pytest.raises(MasaError) as caught:
        read_preset(path)
    assert message in caught.value.problem
    assert str(path) in caught.value.problem


def test_settings_that_cannot_work_are_refused(tmp_path):
    head = f'kind = "{KIND}"\nassociation = "masa-demo"\n[settings]\n'
    with pytest.raises(SettingsError, match="momentum is within"):
        read_preset(written(tmp_path, head + "momentum = 7"))
    with pytest.raises(SettingsError, match=r'"3\.5" is no int'):
        read_preset(written(tmp_path, head + "memory_frames = 3.5"))


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        preset_for(tmp_path / "none.toml")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="not UTF-8"):
        preset_for(path)


def test_a_tracker_in_python_has_the_settings_of_the_file(tmp_path):
    """Births need a score of 0.95 there; what is of the offline refinement does not matter live."""
    path = written(
        tmp_path,
        f'kind = "{KIND}"\nassociation = "hybrid"\n[settings]\nbirth_score = 0.95\n'
        '"linking.seconds" = 3',
    )
    boxes, scores = np.array([[0, 0, 20, 40]]), [0.9]
    for association, count in ((path, 0), (str(path), 0), ("hybrid", 1)):
        tracker = masa_cli.build_tracker(association)
        shown = [len(tracker.update(boxes, scores)) for _ in range(8)]
        assert shown[-1] == count
    tracker = masa_cli.build_tracker(path, settings={"birth_score": 0.5})
    assert [len(tracker.update(boxes, scores)) for _ in range(8)][-1] == 1


def test_a_preset_of_what_is_not_refined_has_no_linking(tmp_path):
    head = f'kind = "{KIND}"\nassociation = "masa-demo"\n[settings]\n'
    path = written(tmp_path, head + "linking.seconds = 3")
    with pytest.raises(MasaError, match="masa-demo is not refined offline"):
        read_preset(path)
