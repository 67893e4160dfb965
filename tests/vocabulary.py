"""A vocabulary of the size of bert-base-uncased with a dozen of its words, at their places."""

WORDS = {
    "[UNK]": 100,
    "[CLS]": 101,
    "[SEP]": 102,
    ",": 1010,
    ".": 1012,
    "?": 1029,
    "a": 1037,
    "##s": 2015,
    "the": 1996,
    "car": 2482,
    "person": 2711,
    "dog": 3899,
    "cat": 4937,
}


def write_vocabulary(file):
    words = [f"[unused{place}]" for place in range(30522)]
    for word, place in WORDS.items():
        words[place] = word
    file.write_text("\n".join(words) + "\n")
    return file
