import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.seqmap import read_seqmap


def read(folder, text):
    path = folder / "map.txt"
    path.write_text(text)
    return read_seqmap(path)


def test_motchallenge_names_sequences_below_a_header(tmp_path):
    assert read(tmp_path, "name\nMOT17-02\nMOT17-04\n\n") == {"MOT17-02": None, "MOT17-04": None}


def test_the_header_may_lack(tmp_path):
    assert list(read(tmp_path, "b\na\n")) == ["b", "a"]


def test_kitti_tells_the_last_frame_from_0(tmp_path):
    assert read(tmp_path, "0002 empty 000000 000233\n") == {"0002": 234}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\n", "names no sequence"),
        ("a b\n", "line 1: expected the name of a sequence"),
        ("0002 empty 0 x\n", "line 1: expected the name of a sequence"),
        ("a\na\n", "line 2: expected each sequence once"),
    ],
)
def test_a_malformed_seqmap_is_explained(tmp_path, text, message):
    with pytest.raises(SourceError, match=message):
        read(tmp_path, text)
