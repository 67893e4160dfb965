import logging

import pytest

from masa_cli.detectors.prompt import (
    MAX_TOKENS,
    load_vocabulary,
    parse_prompt,
    read_prompt,
    split_to_fit,
    to_captions,
)
from masa_cli.errors import SourceError, UsageError, WeightsError
from tests.golden import golden
from tests.vocabulary import write_vocabulary


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("car", ("car",)),
        ("car, person", ("car", "person")),
        ("car . person . dog. ", ("car", "person", "dog")),
        ("dog,cat\nbird;fish", ("dog", "cat", "bird", "fish")),
        ("  Traffic   LIGHT ,,. person  on a\tbike.", ("traffic light", "person on a bike")),
        ("car, Car, CAR .car", ("car",)),
        ("zebra, lion, ape", ("zebra", "lion", "ape")),
        ("what is this?, t-shirt", ("what is this", "t-shirt")),
        ("iphone 4.5 case", ("iphone 4 5 case",)),  # a dot inside would end its sentence
    ],
)
def test_each_phrase_is_a_class_in_the_order_given(text, classes):
    prompt = parse_prompt(text)
    assert prompt.classes == classes
    assert prompt.thresholds == (None,) * len(classes)


@pytest.mark.parametrize("text", ["", "  ", ". , .", "\n"])
def test_an_empty_prompt_is_wrong_usage(text):
    with pytest.raises(UsageError, match="names nothing to look for"):
        parse_prompt(text)


@pytest.mark.parametrize("text", ["car:0.4, dog, cat:.25", "CAR :0.4. dog. cat: 0.25. "])
def test_a_phrase_may_have_a_threshold(text):
    prompt = parse_prompt(text)
    assert prompt.classes == ("car", "dog", "cat")
    assert prompt.thresholds == (0.4, None, 0.25)
    assert prompt.min_scores(0.1) == [0.4, 0.1, 0.25]
    assert str(prompt) == "car:0.4, dog, cat:0.25"


def test_a_threshold_of_nought_is_a_threshold():
    assert parse_prompt("car:0").min_scores(0.3) == [0]


@pytest.mark.parametrize("text", ["car:", "car:much", "car:1.5", "car:-0.1", "car:nan", "a:b:c"])
def test_a_threshold_that_is_no_score_is_wrong_usage(text):
    with pytest.raises(UsageError, match="no score from 0 to 1"):
        parse_prompt(text)


def test_a_repeated_phrase_keeps_its_threshold():
    assert parse_prompt("car, car:0.4, car").thresholds == (0.4,)
    assert parse_prompt("car:0, car").thresholds == (0,)
    with pytest.raises(UsageError, match=r'"car" two thresholds, 0.4 and 0.5'):
        parse_prompt("car:0.4, car:0.5")


def test_prompts_that_mean_the_same_print_the_same():
    assert str(parse_prompt("Car . dog.")) == str(parse_prompt("car,dog")) == "car, dog"


def test_a_file_holds_a_phrase_per_line(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_bytes("\ufeffcar:0.4\r\nTraffic light\r\n\r\ndog, cat\n".encode())
    assert str(read_prompt(file)) == "car:0.4, traffic light, dog, cat"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"none\.txt cannot be read: No such file"):
        read_prompt(tmp_path / "none.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="it is not text in UTF-8"):
        read_prompt(tmp_path / "binary")
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError, match="names nothing"):
        read_prompt(tmp_path / "empty")


def test_what_does_not_fit_is_split_in_order():
    assert split_to_fit([3, 4, 3], 10) == [range(3)]
    assert split_to_fit([3, 4, 4], 10) == [range(2), range(2, 3)]
    assert split_to_fit([10, 10], 10) == [range(1), range(1, 2)]


@pytest.fixture
def vocabulary(tmp_path):
    return write_vocabulary(tmp_path / "vocab.txt")


def test_the_tokens_are_those_of_the_official_code(vocabulary):
    (caption,) = to_captions(["car", "person", "dog"], vocabulary)
    file = golden("full/full_gdino")
    assert list(caption.ids) == file["gd_input_ids"][0].tolist()
    assert [list(range(8))[span] for span in caption.spans] == [[1], [3], [5]]
    assert caption.sentences == [1, 2, 2, 2, 1]


def test_each_phrase_has_its_own_tokens(vocabulary):
    (caption,) = to_captions(["dog", "a person the dog", "dog car"], vocabulary)
    words = ["dog", "a person the dog", "dog car"]
    assert caption.lengths == tuple(len(phrase.split()) for phrase in words)
    spans = [caption.ids[span] for span in caption.spans]
    assert spans == [(3899,), (1037, 2711, 1996, 3899), (3899, 2482)]
    assert caption.ids[0] == 101
    assert caption.ids[-2:] == (1012, 102)


def test_words_the_vocabulary_lacks_are_taken_apart(vocabulary, caplog):
    (caption,) = to_captions(["cars"], vocabulary)
    assert caption.lengths == (2,)  # car, ##s
    with caplog.at_level(logging.WARNING):
        to_captions(["car \N{DOG FACE}"], vocabulary)
    assert "does not know all characters" in caplog.text


def test_long_prompts_become_several_captions(vocabulary):
    phrases = ["car person dog", "cat"] * 50
    captions = to_captions(phrases, vocabulary)
    assert len(captions) == 2
    assert max(len(caption.ids) for caption in captions) <= MAX_TOKENS
    assert [length for caption in captions for length in caption.lengths] == [3, 1] * 50


def test_a_caption_is_filled_to_the_last_token(vocabulary):
    one, other = "car " * 100, "dog " * (MAX_TOKENS - 2 - 101 - 1)
    assert [len(caption.ids) for caption in to_captions([one, other], vocabulary)] == [MAX_TOKENS]
    assert len(to_captions([one, other + "dog"], vocabulary)) == 2


@pytest.mark.parametrize("phrase", ["car " * MAX_TOKENS, "\u200b"])
def test_a_phrase_that_is_too_long_or_nothing_is_wrong_usage(vocabulary, phrase):
    with pytest.raises(UsageError, match="tokens long, expected 1 to 253"):
        to_captions(["dog", phrase], vocabulary)


def test_a_file_that_is_no_vocabulary_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.txt cannot be read: No such file"):
        to_captions(["car"], tmp_path / "none.txt")
    (tmp_path / "vocab.txt").write_text("[CLS]\n[SEP]\n.\n")
    with pytest.raises(WeightsError, match=r"no vocabulary.*lacks \[UNK\]"):
        to_captions(["car"], tmp_path / "vocab.txt")


@pytest.mark.parametrize(
    ("phrase", "classes"),
    {
        "person": ("person",),
        "people": ("person",),
        "pedestrian": ("person",),
        "a pedestrian": ("person",),
        "pedestrians": ("person",),
        "bike": ("bicycle",),
        "bikes": ("bicycle",),
        "automobile": ("car",),
        "buses": ("bus",),
        "the bus": ("bus",),
        "knives": ("knife",),
        "scissors": ("scissors",),
        "skis": ("skis",),
        "sheep": ("sheep",),
        "lorries": ("truck",),
        "couches": ("couch",),
        "sofa": ("couch",),
        "mobile phones": ("cell phone",),
        "van": ("car", "truck"),
        "unicorn": (),
        "": (),
    }.items(),
)
def test_what_words_mean(phrase, classes):
    assert load_vocabulary().meaning(phrase) == classes


def test_a_word_for_many_classes_means_all_of_them():
    animals = load_vocabulary().meaning("animals")
    assert {"dog", "cat", "horse", "cow"} <= set(animals)
    assert "person" not in animals


def test_there_are_the_classes_of_coco():
    vocabulary = load_vocabulary()
    assert len(vocabulary.classes) == len(set(vocabulary.classes)) == 80
    assert vocabulary.classes[:4] == ("person", "bicycle", "car", "motorcycle")
    assert vocabulary.classes[-1] == "toothbrush"


def test_every_meaning_is_a_class_and_every_word_is_clean():
    vocabulary = load_vocabulary()
    for word, classes in vocabulary.meanings.items():
        assert set(classes) <= set(vocabulary.classes)
        assert word == " ".join(word.lower().split())


def test_no_alias_is_also_the_name_of_another_class():
    vocabulary = load_vocabulary()
    for name in vocabulary.classes:
        assert vocabulary.meaning(name) == (name,)


def test_unknown_words_are_told_with_what_is_spelt_like_them():
    vocabulary = load_vocabulary()
    assert vocabulary.unknown(["person", "persn", "xylophone"]) == ["persn", "xylophone"]
    assert vocabulary.nearest("persn")[0] == "person"
    assert vocabulary.nearest("xylophone") in ([], ["cell phone"])
