"""What a prompt means to Detic."""

import logging

import pytest

from masa_cli.detectors import DETECTORS, DetectorRequest
from masa_cli.detectors.lvis import (
    as_words,
    find_text_encoder,
    load_lvis,
    text_encoder_of,
    with_lvis_words,
)
from masa_cli.detectors.prompt import parse_prompt
from masa_cli.errors import SettingsError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only folder that is looked in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("MASA_WEIGHTS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    return tmp_path


def prepared(folder, text):
    prompt, file = parse_prompt(text), folder / "detic_masa.pth"
    row = DETECTORS["detic"]
    request = DetectorRequest(
        row, prompt.classes, row.settings, prompt, weights=file, files=(file,)
    )
    return with_lvis_words(request)


def text_encoder(folder):
    folder = folder / "clip-vit-base-patch32"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "vocab.json", "merges.txt"):
        (folder / name).touch()
    return folder


def test_names_are_in_the_order_of_the_columns():
    classes = load_lvis().classes
    assert len(classes) == len(set(classes)) == 1203
    assert classes[:3] == ("aerosol_can", "air_conditioner", "airplane")
    assert classes[-2:] == ("zebra", "zucchini")
    assert (classes[792], classes[377], classes[135]) == ("person", "dog", "bow_(weapon)")


def test_every_name_means_itself_however_it_is_written():
    lvis = load_lvis()
    for name in lvis.classes:
        assert lvis.meaning(as_words(name)) == (name,)
        (phrase,) = parse_prompt(name.replace("_", " ")).classes
        assert lvis.meaning(as_words(phrase)) == (name,)


@pytest.mark.parametrize(
    ("phrase", "names"),
    [
        ("bow", ("bow_(weapon)", "bow_(decorative_ribbons)")),
        ("cars", ("car_(automobile)",)),
        ("a traffic light", ("traffic_light",)),
        ("Traffic_Light", ("traffic_light",)),
        ("bow_(weapon)", ("bow_(weapon)",)),
    ],
)
def test_brackets_may_be_left_out(folder, phrase, names):
    request = prepared(folder, phrase)
    (query,) = request.queries
    assert {load_lvis().classes[number] for number in query} == set(names)
    assert request.classes == (phrase.lower(),)
    assert request.files == (folder / "detic_masa.pth",)


def test_lvis_means_all_classes_and_a_named_one_keeps_its_threshold(folder):
    assert prepared(folder, "lvis").classes == load_lvis().classes
    request = prepared(folder, "person:0.5, lvis:0.3")
    assert len(request.classes) == len(request.queries) == len(request.min_scores) == 1203
    assert request.classes[:2] == ("person", "aerosol_can")
    assert request.min_scores[:3] == (0.5, 0.3, 0.3)
    assert request.queries[0] == (792,)
    assert sorted(request.queries) == [(number,) for number in range(1203)]


def test_other_words_need_the_text_encoder(folder, caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(SettingsError) as error:
        prepared(folder, "person, pedestrian, zebar")
    assert 'but not "pedestrian", "zebar"' in error.value.problem
    assert 'like "pedestrian", it knows person' in error.value.problem
    assert 'like "zebar", it knows' in error.value.problem
    assert "zebra" in error.value.problem
    assert "hf download openai/clip-vit-base-patch32 config.json" in error.value.fix
    assert str(folder / "clip-vit-base-patch32") in error.value.fix

    encoder = text_encoder(folder)
    request = prepared(folder, "person, pedestrian")
    assert request.queries == ((792,), "pedestrian")
    assert text_encoder_of(request) == encoder
    assert encoder / "model.safetensors" in request.files
    assert f'"pedestrian": CLIP\'s text encoder in {encoder}' in caplog.text
    assert text_encoder_of(prepared(folder, "person")) is None


def test_the_text_encoder_must_be_whole(folder):
    (text_encoder(folder) / "merges.txt").unlink()
    assert find_text_encoder(folder) is None


def test_the_text_encoder_is_found_in_the_cache_of_the_hub(folder, monkeypatch):
    encoder = text_encoder(folder / "hub")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda name, file, revision: (
            str(encoder / file) if name == "openai/clip-vit-base-patch32" else None
        ),
    )
    assert find_text_encoder(folder) == encoder
