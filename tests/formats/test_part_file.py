from contextlib import suppress
from pathlib import Path

import pytest

from masa_cli.errors import OutputError
from masa_cli.formats.part_file import PartFile


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
