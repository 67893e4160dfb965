"""masa from Python: `for frame in masa_cli.track(...)`."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

import masa_cli
from masa_cli.errors import MasaError, SettingsError, SourceError, UsageError
from masa_cli.structures import Detections
from tests.clips import HEIGHT, WIDTH, boxes_at, write_clip

NUM_FRAMES = 12
LINES_ALONE = ("--jsonl", "-", "--no-video", "--no-mot", "--no-jsonl")


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path, NUM_FRAMES)


class Truth:
    """A detector of one's own: it knows where the boxes are, and is sure."""

    classes = ("car", "dog")

    def __init__(self):
        self.seen = []

    def detect(self, frames):
        self.seen += [frame.image.shape for frame in frames]
        boxes = [[(x, y, x + w, y + h) for x, y, w, h in boxes_at(each.index)] for each in frames]
        return [
            Detections(
                np.array(each, np.float32), np.array([0.9, 0.9], np.float32), np.array([0, 1])
            )
            for each in boxes
        ]


def test_each_frame_comes_with_its_tracks(clip):
    video, dets = clip
    frames = list(masa_cli.track(video, dets=dets))
    assert [frame.index for frame in frames] == list(range(NUM_FRAMES))
    assert frames[5].time == 0.2
    assert frames[5].image.shape == (HEIGHT, WIDTH, 3)
    last = frames[-1]
    assert (len(last), sorted(last.ids), last.names) == (2, [1, 2], ["object", "object"])
    assert np.allclose(last.scores, 0.9)
    x, y, w, h = boxes_at(NUM_FRAMES - 1)[0]
    assert last.boxes[last.ids == 1][0].tolist() == [x, y, x + w, y + h]


def test_it_is_the_live_run_of_the_command(clip):
    video, dets = clip
    run = subprocess.run(
        [sys.executable, "-m", "masa_cli", "track", video, "--dets", dets, *LINES_ALONE],
        capture_output=True,
        check=True,
    )
    lines = [orjson.loads(line) for line in run.stdout.splitlines()]
    frames = list(masa_cli.track(video, dets=dets))
    assert [line["ids"] for line in lines] == [frame.ids.tolist() for frame in frames]
    assert [line["boxes"] for line in lines] == [frame.boxes.tolist() for frame in frames]


def test_a_detector_of_ones_own_is_asked_for_each_frame(clip):
    detector = Truth()
    frames = list(masa_cli.track(clip[0], dets=detector, association="motion"))
    assert len(detector.seen) == NUM_FRAMES
    assert set(detector.seen) == {(HEIGHT, WIDTH, 3)}
    assert sorted(frames[-1].names) == ["car", "dog"]


def test_it_can_be_left_at_any_frame(clip):
    video, dets = clip
    for frame in masa_cli.track(str(video), dets=str(dets), association="motion"):
        if frame.index == 3:
            break
    assert frame.index == 3


def test_settings_are_those_of_the_association(clip):
    video, dets = clip
    frames = list(masa_cli.track(video, dets=dets, settings={"birth_score": 0.95}))
    assert not any(map(len, frames))


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, UsageError),
        ({"dets": "d.txt", "prompt": "car"}, UsageError),
        ({"dets": "none.txt"}, SourceError),
        ({"dets": Truth(), "association": "nothing"}, SettingsError),
        ({"dets": Truth(), "settings": {"nothing": 1}}, SettingsError),
    ],
    ids=["nothing to track", "two detectors", "no file", "no association", "no setting"],
)
def test_mistakes_are_told_at_once_with_a_way_on(clip, arguments, kind):
    with pytest.raises(kind) as error:
        masa_cli.track(clip[0], **arguments)
    assert isinstance(error.value, MasaError)
    assert error.value.fix


def test_importing_masa_imports_nothing_heavy():
    code = (
        "import sys, masa_cli;"
        "sys.exit(bool({'numpy', 'torch', 'cv2', 'av', 'typer'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def examples(page):
    text = (Path(masa_cli.__file__).parents[1] / page).read_text()
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_example_of_the_readme_runs(clip, monkeypatch, capsys):
    (example,) = examples("README.md")
    monkeypatch.chdir(clip[0].parent)
    exec(compile(example, "README.md", "exec"), {})
    # A live run names a track when it was found in three frames.
    assert capsys.readouterr().out.count("\n") == 2 * (NUM_FRAMES - 2)


def test_the_examples_of_the_documents_run(clip, monkeypatch, capsys):
    monkeypatch.chdir(clip[0].parent)
    first, *rest, last = examples("docs/python.md")
    for example in (first, *rest):
        exec(compile(example, "python.md", "exec"), {})
    capsys.readouterr()
    exec(compile(last, "python.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[]")  # not confirmed yet
    assert lines[-1] == "[1 2] [ 54. 200.] [0 1]"


def test_a_tracker_of_ones_own_gives_what_the_video_gives(clip):
    """Boxes, embeddings and images in one's own loop: the identities of the live run."""
    rng = np.random.default_rng(0)
    own, expected = masa_cli.build_tracker("motion", frame_rate=25), []
    for frame in masa_cli.track(clip[0], dets=clip[1], association="motion"):
        boxes = [(x, y, x + w, y + h) for x, y, w, h in boxes_at(frame.index)]
        tracks = own.update(boxes, [0.9, 0.9], image=frame.image, embeddings=rng.random((2, 8)))
        expected.append((frame.ids.tolist(), frame.boxes.tolist()))
        assert (tracks.ids.tolist(), tracks.boxes.tolist()) == expected[-1]
    assert expected[-1][0] == [1, 2]


@pytest.mark.parametrize("association", ["hybrid", "motion", "masa-demo"])
def test_a_tracker_of_ones_own_takes_embeddings_and_empty_frames(association):
    embeddings = np.eye(2, 16, dtype=np.float32)
    tracker = masa_cli.build_tracker(association)
    for shift in range(10):
        if shift in {0, 7}:
            assert tracker.update([], []).interpolated.all()
            continue
        boxes = [[shift, 0, shift + 20, 40], [100, 0, 120, 40]]
        tracks = tracker.update(boxes, [0.9, 0.9], [3, 4], embeddings=embeddings)
    assert dict(zip(tracks.labels.tolist(), tracks.ids.tolist(), strict=True)) == {3: 1, 4: 2}


def test_embeddings_tell_apart_what_motion_cannot():
    """Two of four change places while nobody looks."""
    looks = np.eye(4, 16, dtype=np.float32)
    boxes = np.array(
        [[0, 0, 20, 40], [30, 0, 50, 40], [300, 300, 320, 340], [600, 400, 620, 440]], np.float32
    )
    ids = {}
    for name, embeddings in (("appearance", looks), ("motion", None)):
        tracker = masa_cli.build_tracker("hybrid", frame_rate=10)
        for _ in range(30):
            tracker.update(boxes, [0.9] * 4, embeddings=embeddings)
        for _ in range(10):
            tracker.update([], [])
        swapped = None if embeddings is None else embeddings[[1, 0, 2, 3]]
        for _ in range(5):
            tracks = tracker.update(boxes, [0.9] * 4, embeddings=swapped)
        ids[name] = tracks.ids.tolist()
    assert ids == {"appearance": [2, 1, 3, 4], "motion": [1, 2, 3, 4]}


def test_mistakes_in_ones_own_loop_are_told():
    tracker = masa_cli.build_tracker("masa-demo")
    with pytest.raises(SettingsError, match="compares embeddings, but there are none"):
        tracker.update([[0, 0, 9, 9]], [1.0])
    tracker = masa_cli.build_tracker("hybrid")
    tracker.update([[0, 0, 9, 9]], [1.0], embeddings=[[1.0, 0.0]], time=1.0)
    with pytest.raises(ValueError, match=r"embeddings must be \(1, 2\), got \(1, 3\)"):
        tracker.update([[0, 0, 9, 9]], [1.0], embeddings=[[1.0, 0.0, 0.0]], time=2.0)
    with pytest.raises(ValueError, match="time must grow"):
        tracker.update([[0, 0, 9, 9]], [1.0], embeddings=[[1.0, 0.0]], time=1.0)
    with pytest.raises(ValueError, match="finite"):
        tracker.update([[0, 0, 9, np.nan]], [1.0], embeddings=[[1.0, 0.0]], time=3.0)
    with pytest.raises(ValueError, match="scores must have shape"):
        tracker.update([[0, 0, 9, 9]], [1.0, 0.5], embeddings=[[1.0, 0.0]], time=4.0)
    with pytest.raises(SettingsError, match="unknown association"):
        masa_cli.build_tracker("sort")
