import pytest

from masa_cli.errors import SourceError
from masa_cli.evaluation.sequences import find_pairs


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return folder


def test_two_files_are_one_sequence(tmp_path):
    touch(tmp_path, "S/gt/gt.txt", "flat.txt", "beside/gt.txt", "res.txt")
    for truth, name in (("S/gt/gt.txt", "S"), ("flat.txt", "flat"), ("beside/gt.txt", "beside")):
        (pair,) = find_pairs(tmp_path / truth, tmp_path / "res.txt")
        assert (pair.name, pair.length) == (name, None)


@pytest.mark.parametrize("layout", ["{}/gt/gt.txt", "{}.txt"])
def test_two_folders_are_the_sequences_of_the_truth(tmp_path, layout):
    gt = touch(tmp_path / "gt", layout.format("b"), layout.format("a"))
    results = touch(tmp_path / "res", "a.txt", "b.txt")
    assert [(pair.name, pair.truth, pair.results) for pair in find_pairs(gt, results)] == [
        (name, gt / layout.format(name), results / f"{name}.txt") for name in "ab"
    ]


def test_the_length_is_of_seqinfo(tmp_path):
    gt = touch(tmp_path / "gt", "a/gt/gt.txt")
    (gt / "a" / "seqinfo.ini").write_text("[Sequence]\nname=a\nseqLength=30\n")
    (pair,) = find_pairs(gt, touch(tmp_path / "res", "a.txt"))
    assert (pair.length, pair.told_by) == (30, "seqinfo.ini")


def test_a_seqmap_chooses_sequences_and_may_tell_their_length(tmp_path):
    gt = touch(tmp_path / "gt", "a.txt", "b.txt", "c.txt")
    results = touch(tmp_path / "res", "b.txt", "elsewhere.txt")
    (tmp_path / "map").write_text("b empty 0 9\n")
    (pair,) = find_pairs(gt, results, tmp_path / "map")
    assert (pair.name, pair.length, pair.told_by) == ("b", 10, "the seqmap")


def test_missing_results_are_none_only_when_allowed(tmp_path):
    gt, results = touch(tmp_path / "gt", "a.txt", "b.txt"), touch(tmp_path / "res", "a.txt")
    with pytest.raises(SourceError, match=r"has no b\.txt"):
        find_pairs(gt, results)
    assert [pair.results for pair in find_pairs(gt, results, allow_missing=True)] == [
        results / "a.txt",
        None,
    ]


def test_results_of_another_data_set_are_refused(tmp_path):
    gt, results = touch(tmp_path / "gt", "a.txt"), touch(tmp_path / "res", "a.txt", "x.txt")
    with pytest.raises(SourceError, match=r"has the sequence 'x', but .* has no truth for it"):
        find_pairs(gt, results, allow_missing=True)


def test_a_seqmap_of_another_data_set_is_refused(tmp_path):
    gt, results = touch(tmp_path / "gt", "a.txt"), touch(tmp_path / "res", "a.txt")
    (tmp_path / "map").write_text("name\nx\n")
    with pytest.raises(SourceError, match="map has the sequence 'x'"):
        find_pairs(gt, results, tmp_path / "map")


def test_files_and_folders_that_do_not_fit_are_refused(tmp_path):
    folder = touch(tmp_path / "gt", "a.txt")
    with pytest.raises(SourceError, match="give two files or two folders"):
        find_pairs(folder, folder / "a.txt")
    with pytest.raises(SourceError, match="does not exist"):
        find_pairs(folder, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no truth"):
        find_pairs(tmp_path / "empty", folder)
