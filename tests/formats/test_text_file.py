from pathlib import Path

import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.text_file import TextFile, data_lines


def test_comments_and_blank_lines_are_skipped_but_counted(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text("# made by hand\n\n1,2\n   \n  # more\n3,4\n")
    text = TextFile.read(path)
    assert text.lines == ["1,2", "3,4"]
    assert list(text.numbers) == [3, 6]


def test_byte_order_mark_and_windows_line_ends_leave_no_trace(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_bytes(b"\xef\xbb\xbf1,2\r\n3,4\r\n")
    assert TextFile.read(path).lines == ["1,2", "3,4"]


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match=r"none\.txt does not exist"):
        TextFile.read(tmp_path / "none.txt")


def test_a_folder_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match="is a folder, expected a file"):
        TextFile.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"1,2\n\x00\x01\n", r"not a text file \(line 2 is binary\)"), (b"\xff\xfe1", "not UTF-8")],
)
def test_what_is_no_text_is_one_clear_sentence(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "dets.txt"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        TextFile.read(path)


def test_lines_are_read_lazily(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_bytes(b"1,2\n" * 100_000 + b"\xff\n")
    assert next(data_lines(path)) == (1, "1,2")  # the bad byte at the end is not reached


def test_long_lines_are_cut_in_errors(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text("9" * 1000)
    assert len(str(TextFile.read(path).wrong(0, "less", "more"))) < 250 + len(str(path))
