import pytest

from masa_cli.detectors.vocabulary import load_vocabulary


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
