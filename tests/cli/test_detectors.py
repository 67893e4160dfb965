"""Detectors of one's own, from a file to MOT results, as a user would run them."""

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torchvision
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.detectors import DETECTORS
from masa_cli.detectors.request import request_prompt
from masa_cli.models import SharedNetworks
from masa_cli.render.video import VideoWriter
from masa_cli.structures import Frame, VideoInfo
from tests.onnx_files import ULTRALYTICS, yolov8
from tests.tiny_detectors import write as write_model

NUM_FRAMES, WIDTH, HEIGHT, RATE = 8, 200, 120, Fraction(25)


def box_at(index):
    return 40 + 4 * index, 30, 100 + 4 * index, 90


def write_video(file):
    """A bright rectangle moves to the right."""
    info = VideoInfo("bright", WIDTH, HEIGHT, RATE, 1 / RATE, NUM_FRAMES)
    with VideoWriter(file, info) as writer:
        for index in range(NUM_FRAMES):
            image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            x1, y1, x2, y2 = box_at(index)
            image[y1:y2, x1:x2] = 255
            writer.write(Frame(index, index / RATE, image))
    return file


@pytest.fixture
def video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_video(tmp_path / "bright.mp4")


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def track(video, *arguments):
    """Rows of the MOT file: frame, id, box xyxy."""
    result = masa("track", video, "--association", "motion", "--no-video", *arguments)
    assert result.exit_code == 0, result.output
    rows = np.loadtxt("bright/bright.txt", delimiter=",", ndmin=2)
    rows[:, 4:6] += rows[:, 2:4]
    return rows[:, :6]


def check_rows(rows):
    assert rows[:, 0].tolist() == list(range(1, NUM_FRAMES + 1))
    assert set(rows[:, 1]) == {1}
    expected = np.array([box_at(index) for index in range(NUM_FRAMES)])
    assert np.abs(rows[:, 2:] - expected).max() < 2  # a video's edges are soft


def test_an_exported_detector_tracks_all_its_classes_without_a_prompt(video, tmp_path):
    file = yolov8(tmp_path / "net.onnx", metadata=ULTRALYTICS)
    check_rows(track(video, "--detector", file))


def test_an_exported_detector_tracks_what_a_prompt_names(video, tmp_path):
    (tmp_path / "data.yaml").write_text("names:\n  0: cat\n  1: person\n  2: van\n")
    file = yolov8(tmp_path / "net.onnx")
    named = ("--detector", file, "--names", tmp_path / "data.yaml", "--batch-size", 3)
    check_rows(track(video, *named, "--prompt", "people"))
    result = masa("track", video, *named, "--prompt", "cat", "-o", "cats", "--no-video")
    assert result.exit_code == 0
    assert "nothing was tracked" in result.output


def test_the_class_in_the_documents_runs(video, tmp_path):
    page = (Path(__file__).parents[2] / "docs/detectors.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "moving.py").write_text(code)
    things = resolve_plug_in("moving:Things")
    black = Frame(0, Fraction(0), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    white = black.image.copy()
    white[30:90, 40:100] = 255
    *_, found = things.detect([black] * 5 + [Frame(5, Fraction(1, 5), white)])
    assert found.boxes.tolist() == [[40, 30, 100, 90]]
    result = masa("track", video, "--detector", "moving:Things", "--min-score", 0.3, "--no-video")
    assert result.exit_code == 0, result.output


def resolve_plug_in(name):
    return request_prompt(None, name).build(SharedNetworks())


def test_a_class_of_the_current_folder_tracks(video, tmp_path):
    (tmp_path / "bright_parts.py").write_text(
        "import numpy as np\n"
        "from masa_cli.structures import Detections\n"
        "class Bright:\n"
        "    classes = ('thing',)\n"
        "    def detect(self, frames):\n"
        "        return [self.one(frame.image[..., 0] > 127) for frame in frames]\n"
        "    def one(self, bright):\n"
        "        y, x = bright.nonzero()\n"
        "        box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]])\n"
        "        return Detections(box, np.ones(1), np.zeros(1, int))\n"
    )
    check_rows(track(video, "--detector", "bright_parts:Bright"))


def test_tiles_of_a_frame_give_the_same_track(video, tmp_path):
    file = yolov8(tmp_path / "net.onnx", metadata=ULTRALYTICS)
    check_rows(track(video, "--detector", file, "--tiles", "2x1", "--tile-overlap", 0.4))
    (tmp_path / "dets.txt").write_text("1,-1,10,10,20,20,0.9\n")
    result = masa("track", video, "--dets", "dets.txt", "--tiles", "2x2", "-o", "other")
    assert result.exit_code == 2
    assert "--tiles is for a detector that looks at frames" in result.stderr


@pytest.mark.parametrize(("kind", "prompt"), [("rt_detr", None), ("owlvit", "red hat, dog")])
def test_a_model_of_transformers_tracks(video, tmp_path, kind, prompt):
    write_model(kind, tmp_path / "model")
    words = ("--prompt", prompt) if prompt else ()
    rows = track(video, "--detector", "hf:model", *words, "--set", "birth_score=0.1")
    assert len(rows)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--detector", "other.onnx"), "other.onnx is not a file"),
        (("--detector", "net.onnx", "--prompt", "unicorn"), 'net.onnx does not know "unicorn"'),
        (("--detector", "net.onnx", "--onnx-layout", "x"), '--onnx-layout: unknown layout "x"'),
        (("--detector", "net.onnx", "--names", "none.txt"), "--names: none.txt cannot be read"),
        (("--detector", "hf:owner/none"), "the model owner/none is not on this machine"),
        (("--detector", "torchvision:yolo"), 'torchvision has no detector "yolo"'),
        (("--detector", "some.where:Net"), "--detector some.where:Net cannot be imported"),
        (("--detector", "lite"), "nothing says which objects to track"),
        (("--prompt", "car", "--names", "none.txt", "--detector", "lite"), "but lite is none"),
    ],
)
def test_what_cannot_work_is_told_in_a_sentence_before_anything_is_written(
    video, tmp_path, arguments, error
):
    yolov8(tmp_path / "net.onnx", metadata=ULTRALYTICS)
    result = masa("track", video, *arguments)
    assert result.exit_code in (1, 2)
    assert error in " ".join(result.stderr.split())
    assert not (tmp_path / "bright").exists()


def listed(*arguments):
    result = masa("detectors", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return {each["name"]: each for each in json.loads(result.stdout)["detectors"]}


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))


def test_every_detector_is_listed_and_doctor_agrees(no_weights):
    rows = listed()
    assert set(rows) == {row.written for row in DETECTORS.values()} - {"file"}
    assert rows["lite"]["weights"] == "come with masa"
    assert rows["gdino"]["weights"] == "masa weights pull gdino bert-vocab"
    assert (rows["gdino"]["licence"], rows["FILE.onnx"]["runtime"]) == ("Apache-2.0", "OpenVINO")
    doctor = json.loads(masa("doctor", "--json").stdout)["commands"]
    for name, row in rows.items():
        ways = [each for each in doctor if each["command"].split()[-1] == name]
        assert ways or name.endswith("-grid"), name  # an option of the same model
        assert all(row["is_ready"] == each["ready"] for each in ways), name


def test_models_on_this_machine_are_listed_one_by_one(no_weights, tmp_path):
    write_model("rt_detr", tmp_path / "weights/tiny")
    url = torchvision.models.get_model_weights("fcos_resnet50_fpn").DEFAULT.url
    (tmp_path / "weights" / url.rpartition("/")[2]).touch()
    rows = listed("--weights-dir", tmp_path / "weights")
    assert (rows["hf:tiny"]["finds"], rows["hf:tiny"]["what"]) == ("its own classes", "rt_detr")
    assert rows["torchvision:fcos_resnet50_fpn"]["weights"] == "here"
    text = masa("detectors", "--weights-dir", tmp_path / "weights").stdout
    assert "hf:tiny" in text
    assert "FILE.onnx" in text
