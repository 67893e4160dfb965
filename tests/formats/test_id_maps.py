from contextlib import suppress

import cv2
import numpy as np
import pytest

from masa_cli.errors import OutputError
from masa_cli.formats.id_maps import IdMapWriter
from tests.mask_tracks import INFO, SIZE, frame, three_frames, write_three_frames


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_each_frame_is_a_picture_of_ids(tmp_path):
    folder = tmp_path / "street.masks"
    write_three_frames(IdMapWriter(folder, info=INFO))
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["000001.png", "000002.png", "000003.png"]
    first, second, third = (read(folder / name) for name in names)
    expected = np.zeros(SIZE, np.uint16)
    expected[:10, :10] = 7
    expected[:10, 5:15] = 3
    np.testing.assert_array_equal(first, expected, strict=True)
    assert not second.any()
    assert (third == 7).sum() == 100
    assert [path.name for path in tmp_path.iterdir()] == ["street.masks"]


def test_ids_beyond_a_byte_and_up_to_the_last_are_kept(tmp_path):
    tracks = three_frames()[2].renamed(np.array([65535]))
    with IdMapWriter(tmp_path / "a", info=INFO) as writer:
        writer.write(frame(0), tracks)
    assert read(tmp_path / "a" / "000001.png").max() == 65535
    with (
        pytest.raises(OutputError, match="the id 65536"),
        IdMapWriter(tmp_path / "b", info=INFO) as writer,
    ):
        writer.write(frame(0), tracks.renamed(np.array([65536])))


def test_an_interrupted_folder_stays_a_part(tmp_path):
    with suppress(KeyboardInterrupt), IdMapWriter(tmp_path / "a", info=INFO) as writer:
        writer.write(frame(0), three_frames()[0])
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.part"]
    with IdMapWriter(tmp_path / "a", info=INFO) as writer:
        writer.write(frame(0), three_frames()[1])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_earlier_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "a"
    write_three_frames(IdMapWriter(folder, info=INFO))
    with IdMapWriter(folder, info=INFO) as writer:
        writer.write(frame(0), three_frames()[1])
    assert [path.name for path in folder.iterdir()] == ["000001.png"]


def test_what_else_is_in_the_folder_is_never_lost(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other things"):
        IdMapWriter(folder, info=INFO)
    assert (folder / "notes.txt").read_text() == "mine"
