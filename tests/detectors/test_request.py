"""Which detector is requested, what the request says, and what is refused before any loading."""

from pathlib import Path

import pytest

from masa_cli.detectors import DETECTORS, BoxSettings, detectors_taking
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import (
    Candidate,
    choose_detector,
    request_objects,
    request_prompt,
    settings_for,
)
from masa_cli.errors import SettingsError, WeightsError
from tests.lite_file import write_lite
from tests.vocabulary import write_vocabulary


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_a_request_names_its_files_and_tokens(folder):
    write_vocabulary(folder / "bert-base-uncased-vocab.txt")
    (folder / "groundingdino_swint_ogc.pth").touch()
    request = request_prompt(parse_prompt("Car, dog:0.4"), "gdino-swint", folder=folder)
    assert request.classes == ("car", "dog")
    assert request.min_scores == (0.1, 0.4)
    assert request.queries[0].lengths == (1, 1)
    assert request.weights == folder / "groundingdino_swint_ogc.pth"
    assert request.files == (request.weights, folder / "bert-base-uncased-vocab.txt")


@pytest.mark.parametrize("model", [row.name for row in detectors_taking("words")])
def test_missing_weights_are_named_with_the_way_to_get_them(folder, model):
    with pytest.raises(WeightsError, match=f'"{model}".*not on this machine') as caught:
        request_prompt(parse_prompt("car"), model, folder=folder)
    assert f"masa weights pull {model}" in caught.value.fix


def test_an_unknown_model_is_refused(folder):
    with pytest.raises(SettingsError, match='unknown detector "yolo"') as caught:
        request_prompt(parse_prompt("car"), "yolo", folder=folder)
    assert caught.value.fix.startswith("use one of: gdino, gdino-swinb, gdino-swint, detic, lite, ")


@pytest.mark.parametrize(("score", "overlap"), [(-0.1, 0.5), (1.5, 0.5), (0.5, 2)])
def test_thresholds_are_within_0_and_1(score, overlap):
    with pytest.raises(SettingsError, match="within 0 and 1"):
        BoxSettings(score, overlap)


def test_counts_and_areas_that_cannot_be_are_refused():
    for wrong in ({"max_boxes": 0}, {"min_area": -1}):
        with pytest.raises(SettingsError, match="expected at least 1 box"):
            BoxSettings(**wrong)


def test_words_become_classes_and_unknown_ones_an_error(folder):
    file = write_lite(folder / "own.safetensors")
    request = request_prompt(parse_prompt("People, van:0.3"), str(file))
    assert request.queries == (("person",), ("car", "truck"))
    assert request.classes == ("people", "van")
    assert (request.weights, request.adapter) == (file, str(file))
    assert "hybrid" in request.changes
    with pytest.raises(SettingsError) as error:
        request_prompt(parse_prompt("persn, car"), str(file))
    assert '"persn"' in error.value.problem
    assert "person" in error.value.problem
    assert "masa weights pull gdino bert-vocab" in error.value.fix


def test_post_processing_is_that_of_the_row_and_of_the_presets():
    text, objects = DETECTORS["gdino"], DETECTORS["sam-b"]
    assert settings_for(text, "hybrid") == BoxSettings(0.1, 0.7, 300)
    assert settings_for(text, "masa-demo") == BoxSettings(0, 1, 300)
    assert settings_for(objects, "masa-demo") == BoxSettings(0.02, 0.5, 50)
    assert settings_for(DETECTORS["sam-h-grid"], "hybrid") == BoxSettings(0.02, 0.7, 50)
    assert settings_for(DETECTORS["lite"], "hybrid") == BoxSettings(0.1, 0.5, 300)


def test_a_class_agnostic_model_is_found_by_its_name_and_by_what_proposes(folder):
    (folder / "sam_vitb_masa.pth").touch()
    request = request_objects("sam-b", {"max_boxes": 7}, folder=folder)
    assert (request.row.name, request.settings.max_boxes) == ("sam-b", 7)
    assert (request.classes, request.prompt, request.has_masks) == (("object",), None, True)
    assert request.adapter == str(folder / "sam_vitb_masa.pth")
    for model in ("sam-b", "sam-b-grid"):
        grid = request_objects(model, proposals="grid", folder=folder)
        assert grid.row.name == "sam-b-grid"
    assert request_objects(None, folder=Path(folder)).row.name == "sam-b"


@pytest.mark.parametrize(
    ("text", "classes", "accelerator", "unknown", "name", "reason"),
    [
        (True, True, True, (), "gdino", "an accelerator"),
        (True, True, False, (), "lite", "without an accelerator"),
        (True, True, False, ("unicorn",), "gdino", 'does not know "unicorn"'),
        (True, False, False, (), "gdino", "no weights of lite"),
        (False, True, True, ("unicorn",), "lite", "no download"),
        (False, False, False, (), "gdino", "no weights of lite"),
    ],
)
def test_the_detector_that_suits(text, classes, accelerator, unknown, name, reason):
    row, why = choose_detector(
        [
            Candidate(DETECTORS["gdino"], is_here=text, is_fast=accelerator),
            Candidate(DETECTORS["lite"], is_here=classes, is_fast=True, unknown=unknown),
        ]
    )
    assert row.name == name
    assert reason in why
