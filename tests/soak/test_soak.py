"""A few runs of the soak, so that the script itself stays whole; the long one is run by hand."""

from tests.soak.damage import KINDS, soak


def test_one_run_of_each_kind_goes_right(tmp_path):
    kinds = tuple(dict.fromkeys(KINDS))
    counts, wrong = soak(len(kinds), 1, tmp_path, kinds=kinds)
    assert sum(counts.values()) == len(kinds)
    assert not wrong
