"""YOLO's label files as Ultralytics and CVAT write them."""

import pytest

from masa_cli.errors import SourceError
from masa_cli.formats.yolo import read_tracks

BOX = "0 0.5 0.5 0.2 0.4"  # of 100 x 50 pixels: 40, 15, 60, 35


def read(folder, files, under="labels"):
    for name, text in files.items():
        file = folder / "run" / under / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return read_tracks(folder / "run", size=(100, 50))


@pytest.mark.parametrize(
    ("lines", "left_out", "score"),
    [
        ((f"{BOX}\n", f"{BOX} 7\n"), 1, 1.0),  # save_txt
        ((f"{BOX} 1\n", f"{BOX} 0.5 7\n"), 1, 0.5),  # with save_conf; 1 is a confidence
        ((f"{BOX} 0.8\n{BOX} 0.7\n", f"{BOX} 0.5 7\n"), 2, 0.5),
    ],
)
def test_rows_without_an_id_are_left_out_and_counted(tmp_path, caplog, lines, left_out, score):
    table = read(tmp_path, {f"21_{n + 30}.txt": text for n, text in enumerate(lines)})
    assert table.frames.tolist() == [30]
    assert table.tracks.ids.tolist() == [7]
    assert table.tracks.scores.tolist() == [score]
    assert table.tracks.boxes[0].tolist() == pytest.approx([40, 15, 60, 35], abs=1e-4)
    assert f"{left_out} of {left_out + 1} rows have no id and were left out" in caplog.text


@pytest.mark.parametrize("line", [BOX, f"{BOX} 0.8"])
def test_a_folder_without_any_id_is_an_error(tmp_path, line):
    with pytest.raises(SourceError, match="none of its 2 rows has an id"):
        read(tmp_path, {"a_1.txt": line, "a_2.txt": line})


def test_the_export_of_cvat_counts_frames_and_ids_from_0(tmp_path, caplog):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "data.yaml").write_text("names:\n  0: car\npath: .\ntrain: train.txt\n")
    (tmp_path / "run" / "train.txt").write_text("data/images/train/frame_000000.PNG\n")
    files = {"frame_000000.txt": "", "frame_000001.txt": f"{BOX} 0\n{BOX} 3\n"}
    table = read(tmp_path, files, "labels/train")
    assert table.frames.tolist() == [1, 1]
    assert table.tracks.ids.tolist() == [1, 4]
    assert table.classes == ("car",)
    assert "frames were taken to count from 0 (frame_000000.txt is frame 0)" in caplog.text
    assert "ids count from 0; all were raised by 1" in caplog.text


def test_names_of_cvat_count_from_0_where_the_first_is_missing(tmp_path):
    assert read(tmp_path, {"frame_000004.txt": f"{BOX} 1"}, "labels/train").frames.tolist() == [4]


def test_labels_of_two_videos_are_refused_and_both_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"labels of 2 videos: left_…, right_…"):
        read(tmp_path, {"left_1.txt": f"{BOX} 1", "right_2.txt": f"{BOX} 1"})
