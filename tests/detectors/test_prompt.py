import pytest

from masa_cli.detectors.prompt import in_passes, parse_prompt, read_prompt
from masa_cli.errors import SourceError, UsageError


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
    assert prompt.least_scores(0.1) == [0.4, 0.1, 0.25]
    assert str(prompt) == "car:0.4, dog, cat:0.25"


def test_a_threshold_of_nought_is_a_threshold():
    assert parse_prompt("car:0").least_scores(0.3) == [0]


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
    assert in_passes([3, 4, 3], 10) == [range(3)]
    assert in_passes([3, 4, 4], 10) == [range(2), range(2, 3)]
    assert in_passes([10, 10], 10) == [range(1), range(1, 2)]
