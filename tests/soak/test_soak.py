"""A few runs of the soak, so that the script itself stays whole; the long one is run by hand."""

from tests.soak.damage import KINDS, soak


def test_one_run_of_each_kind_goes_right(tmp_path):
    counts, wrong = soak(len(KINDS), 1, tmp_path)
    assert sum(counts.values()) == len(KINDS)
    assert not wrong
