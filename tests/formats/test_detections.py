import subprocess
import sys
from pathlib import Path

import pytest

from masa_cli.errors import SettingsError, SourceError
from masa_cli.formats.detections import read_detections

# The same box of the second frame, in each format.
SAME_BOX = {
    "mot": "2,-1,1,2,3,4,0.5\n",
    "csv": "frame,x1,y1,x2,y2,score\n1,1,2,4,6,0.5\n",
    "jsonl": '{"frame":1,"boxes":[[1,2,4,6]],"scores":[0.5]}\n',
    "coco": '{"images":[{"id":7,"frame_index":1}],'
    '"annotations":[{"image_id":7,"category_id":1,"bbox":[1,2,3,4],"score":0.5}]}',
}


@pytest.mark.parametrize("name", SAME_BOX)
@pytest.mark.parametrize("recognise", [True, False])
def test_every_format_is_recognised_and_gives_the_same_box(
    tmp_path: Path, name: str, recognise: bool
):
    path = tmp_path / "dets.whatever"
    path.write_text(SAME_BOX[name])
    dets = read_detections(path, format="auto" if recognise else name)  # type: ignore[arg-type]
    assert dets.frames.tolist() == [1]
    assert dets.boxes.tolist() == [[1, 2, 4, 6]]
    assert dets.scores.tolist() == [0.5]


def test_comments_do_not_hide_the_format(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text("\n# x1,y1\n" + SAME_BOX["csv"])
    assert len(read_detections(path)) == 1


@pytest.mark.parametrize("text", ["", "\n\n", "# none\n"])
def test_an_empty_file_holds_no_detections(tmp_path: Path, text: str):
    path = tmp_path / "dets.txt"
    path.write_text(text)
    assert len(read_detections(path)) == 0
    assert len(read_detections(path, images=tmp_path / "images.json")) == 0


def test_an_unknown_format_shows_its_first_line_and_the_formats(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text("# head\nHello [red] world\n")
    with pytest.raises(SourceError, match=r'line 2 .* formats: "Hello \[red\] world"') as error:
        read_detections(path)
    assert "jsonl, coco, csv, mot" in error.value.fix


def test_too_few_columns_are_named_rather_than_unrecognised(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text("1,2,30,40\n")
    with pytest.raises(
        SourceError, match='line 1: expected at least 7 columns, got 4: "1,2,30,40"'
    ):
        read_detections(path)


def test_an_images_file_is_only_for_coco(tmp_path: Path):
    path = tmp_path / "dets.txt"
    path.write_text(SAME_BOX["mot"])
    with pytest.raises(SettingsError, match=r"--dets-images is for COCO results, but .* is mot"):
        read_detections(path, images=tmp_path / "images.json")


def test_the_rules_are_shown_without_numpy():
    code = "import sys, masa_cli.formats.detections; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
