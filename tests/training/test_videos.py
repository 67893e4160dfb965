"""Validation on videos: true boxes, the real tracker, the real scores."""

import numpy as np
import pytest

from masa_cli.errors import SourceError
from masa_cli.training.videos import find_videos, score_videos
from tests.clips import boxes_at, write_clip

NUM_FRAMES = 8


class Names:
    """An adapter that knows every box by its size, or none."""

    temperature = 1.0

    def __init__(self, knows):
        self._knows = knows

    def embed(self, frames, boxes):
        (rows,) = boxes
        is_first = (rows[:, 2] - rows[:, 0]) > 19
        if not self._knows:
            is_first = np.full(len(rows), frames[0].index % 2 == 0) ^ is_first
        return [np.where(is_first[:, None], [[9.0, 0]], [[0, 9.0]]).astype(np.float32)]


@pytest.fixture
def folder(tmp_path):
    """Two sequences: a video file, and nothing but boxes that do not count."""
    sequence = tmp_path / "truth" / "street"
    (sequence / "gt").mkdir(parents=True)
    write_clip(sequence, NUM_FRAMES)
    (sequence / "dets.txt").unlink()
    rows = [
        f"{index + 1},{number + 1},{','.join(map(str, box))},1,-1,-1,-1"
        for index in range(NUM_FRAMES)
        for number, box in enumerate(boxes_at(index))
    ]
    (sequence / "gt" / "gt.txt").write_text("\n".join(rows))
    return tmp_path / "truth"


def test_embeddings_that_know_objects_score_higher_than_those_that_swap_them(folder, tmp_path):
    videos = find_videos(folder)
    assert [video.name for video in videos] == ["street"]
    known = score_videos(videos, folder, tmp_path / "known", Names(knows=True))
    assert known == {"IDF1": 1.0, "AssA": pytest.approx(1.0)}
    swapped = score_videos(videos, folder, tmp_path / "swapped", Names(knows=False))
    assert swapped["IDF1"] <= 0.5
    assert (tmp_path / "known" / "street.txt").exists()


def test_incomplete_sequences_are_errors(folder, tmp_path):
    with pytest.raises(SourceError, match="no sequences"):
        find_videos(tmp_path / "known")
    (folder / "street" / "other.avi").write_bytes(b"")
    with pytest.raises(SourceError, match="neither img1 nor one video"):
        find_videos(folder)
    (folder / "street" / "other.avi").unlink()
    (folder / "street" / "gt" / "gt.txt").write_text("1,1,0,0,5,5,0,-1,-1,-1\n")
    with pytest.raises(SourceError, match="no boxes that count"):
        find_videos(folder)
