import pytest

from masa_cli.detectors.prompt import parse_prompt
from masa_cli.detectors.request import TEXT_MODELS, Choice, plan_search
from masa_cli.errors import SettingsError, WeightsError
from tests.vocabulary import write_vocabulary


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_a_plan_names_its_files_and_tokens(folder):
    write_vocabulary(folder / "bert-base-uncased-vocab.txt")
    (folder / "groundingdino_swint_ogc.pth").touch()
    search = plan_search(parse_prompt("Car, dog:0.4"), "gdino-swint", Choice(), folder)
    assert search.classes == ("car", "dog")
    assert search.captions[0].lengths == (1, 1)
    assert search.weights == folder / "groundingdino_swint_ogc.pth"
    assert search.vocabulary == folder / "bert-base-uncased-vocab.txt"


@pytest.mark.parametrize("model", TEXT_MODELS)
def test_missing_weights_are_named_with_the_way_to_get_them(folder, model):
    with pytest.raises(WeightsError, match=f'"{model}".*not on this machine') as caught:
        plan_search(parse_prompt("car"), model, Choice(), folder)
    assert f"masa weights pull {model}" in caught.value.fix


def test_an_unknown_model_is_refused(folder):
    with pytest.raises(SettingsError, match='unknown detector "yolo"'):
        plan_search(parse_prompt("car"), "yolo", Choice(), folder)


@pytest.mark.parametrize(("score", "overlap"), [(-0.1, 0.5), (1.5, 0.5), (0.5, 2)])
def test_thresholds_are_within_0_and_1(score, overlap):
    with pytest.raises(SettingsError, match="within 0 and 1"):
        Choice(score, overlap)
