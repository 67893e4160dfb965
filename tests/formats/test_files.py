from contextlib import suppress
from pathlib import Path

import pytest

from masa_cli.errors import OutputError, SourceError
from masa_cli.formats.files import PartFile, TextFile, data_lines


def test_the_name_is_given_at_a_clean_close(tmp_path: Path):
    path = tmp_path / "out.txt"
    with PartFile(path) as file:
        file.write(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_exception_an_earlier_result_is_untouched(tmp_path: Path):
    path = tmp_path / "out.txt"
    path.write_bytes(b"earlier")
    with suppress(KeyboardInterrupt), PartFile(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"earlier"
    assert (tmp_path / "out.txt.part").read_bytes() == b"half"


def test_what_counts_as_written_is_on_disk(tmp_path: Path):
    with PartFile(tmp_path / "out.txt") as file:
        file.write(b"four")
        assert file.offset == 4
        assert file.part.read_bytes() == b"four"


def test_resuming_cuts_off_what_is_behind_the_offset(tmp_path: Path):
    path = tmp_path / "out.txt"
    (tmp_path / "out.txt.part").write_bytes(b"kept, lost")
    with PartFile(path, resume_at=4) as file:
        assert file.offset == 4
        file.write(b"!")
    assert path.read_bytes() == b"kept!"


def test_resuming_behind_the_end_is_refused(tmp_path: Path):
    (tmp_path / "out.txt.part").write_bytes(b"123")
    with pytest.raises(OutputError, match="has 3 bytes, expected at least 4"):
        PartFile(tmp_path / "out.txt", resume_at=4)


def test_a_folder_that_does_not_exist_is_explained(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot be written: No such file"):
        PartFile(tmp_path / "none" / "out.txt")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a disk that is always full")
def test_a_full_disk_is_explained(tmp_path: Path):
    (tmp_path / "out.txt.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="cannot be written: No space left"):
        write_and_close(tmp_path / "out.txt")
    assert not (tmp_path / "out.txt").exists()


def write_and_close(path: Path) -> None:
    with PartFile(path) as file:
        file.write(b"too much")


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
