import logging

import pytest

from masa_cli.detectors.tokens import MAX_TOKENS, to_captions
from masa_cli.errors import UsageError, WeightsError
from tests.golden import golden
from tests.vocabulary import write_vocabulary


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
