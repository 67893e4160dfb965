"""What we write as KITTI's labels, read by the code that scores them; and what is refused."""

from fractions import Fraction

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.formats import open_writer, read_tracks
from masa_cli.structures import Frame, Tracks, VideoInfo

INFO = VideoInfo("0000", 320, 200, Fraction(10), Fraction(1, 10))
BOXES = np.array([[10, 20, 40, 80.25], [100, 50, 120, 95]], np.float32)
LINE = "1 3 Car 0 0 -1.79 10 20 40 80 1.5 1.6 3.9 -4.5 1.8 13.4 -2.1"


def test_trackeval_reads_what_is_written(tmp_path):
    trackeval = pytest.importorskip("trackeval", reason="needs trackeval as the oracle")
    own = tmp_path / "trackers" / "masa" / "data"
    own.mkdir(parents=True)
    (tmp_path / "label_02").mkdir()
    (tmp_path / "evaluate_tracking.seqmap.training").write_text("0000 empty 000000 000002\n")
    tracks = Tracks(BOXES, np.float32([0.5, 0.75]), np.array([0, 1]), np.array([7, 9]))
    for path in (own / "0000.txt", tmp_path / "label_02" / "0000.txt"):
        with open_writer("kitti", path, info=INFO, classes=("car", "pedestrian")) as writer:
            for index in range(2):
                writer.write(Frame.without_image(index, Fraction(index, 10)), tracks)
    config = {"GT_FOLDER": str(tmp_path), "TRACKERS_FOLDER": str(tmp_path / "trackers")}
    dataset = trackeval.datasets.Kitti2DBox(config | {"PRINT_CONFIG": False})
    read = dataset.get_raw_seq_data("masa", "0000")
    for index in range(2):
        assert read["tracker_ids"][index].tolist() == [7, 9]
        assert read["tracker_dets"][index].tolist() == BOXES.tolist()
        assert read["tracker_confidences"][index].tolist() == [0.5, 0.75]
        assert read["gt_dets"][index].tolist() == BOXES.tolist()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.replace(" 10 ", " left "), r'expected a number in column 7 \(x1\), got "left"'),
        (LINE.removesuffix(" -2.1"), "expected 17 columns, or 18 with a score, got 16"),
        (LINE.replace("1 3", "-1 3"), "expected a whole frame number from 0, got -1"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path, line, message):
    path = tmp_path / "0000.txt"
    path.write_text(f"0 -1 DontCare {LINE[8:]}\n{LINE}\n{line}\n")
    with pytest.raises(SourceError, match=f"line 3: {message}"):
        read_tracks(path)
