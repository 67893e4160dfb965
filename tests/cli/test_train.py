"""`masa train` from the command line: prepare, show, run, and the weights in `masa track`."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from tests.clips import write_clip

SMALL = [
    word
    for change in (
        "run.steps=1",
        "run.batch=2",
        "run.held_out=0.3",
        "views.size=64",
        "views.min_resize=0.9",
        "objects.boxes.num_samples=8",
    )
    for word in ("--set", change)
]


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images, and maps of labels beside it."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number in range(4):
        image = random.integers(0, 90, (64, 96, 3), np.uint8)
        labels = np.zeros((64, 96), np.uint8)
        for label in (1, 2):
            x, y = random.integers(5, 50), random.integers(5, 30)
            image[y : y + 28, x : x + 28] += np.uint8(40 * label)
            labels[y : y + 28, x : x + 28] = label
        (folder / "images").mkdir(exist_ok=True)
        (folder / "labels").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        cv2.imwrite(str(folder / "labels" / f"{number}.png"), labels)
    return folder


@pytest.fixture(scope="module")
def data(photos):
    done = invoke(
        "train", "prepare", photos / "images", "--regions", photos / "labels", "-o", photos / "data"
    )
    assert done.exit_code == 0, done.output
    assert "regions of 4 images" in done.stdout
    return photos / "data"


def test_prepare_draws_what_it_found(data):
    assert cv2.imread(str(data / "regions.png")).std() > 10
    assert (data / "regions.json").exists()


def test_show_draws_pairs(data):
    done = invoke("train", "show", data, "--count", 2, "--set", "views.size=96")
    assert done.exit_code == 0, done.output
    # Two columns of two views each, and gaps.
    assert cv2.imread(str(data / "pairs.png")).shape == (100, 2 * (96 * 2 + 4 + 4), 3)
    again = invoke("train", "show", data)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


def test_cutouts_are_pasted_into_pairs(data, tmp_path):
    (tmp_path / "cutouts/object").mkdir(parents=True)
    red = np.full((30, 30, 4), (0, 0, 255, 255), np.uint8)
    cv2.imwrite(str(tmp_path / "cutouts/object/red.png"), red)
    sheet = tmp_path / "pairs.png"
    plain = ("train", "show", data, "-o", sheet, "--set", "views.size=96", "--overwrite")
    pasted = (*plain, "--cutouts", tmp_path / "cutouts", "--set", "views.paste_chance=1")
    shown = []
    for words in (plain, pasted):
        done = invoke(*words)
        assert done.exit_code == 0, done.output
        blue, green, red = np.moveaxis(cv2.imread(str(sheet)).astype(int), 2, 0)
        shown.append(((red > 120) & (blue < 40) & (green < 40)).sum())
    assert shown[1] > shown[0] + 500
    run = ("train", "run", data, "-o", tmp_path / "run", *SMALL, "--device", "cpu", "--workers", 0)
    assert invoke(*run, "--cutouts", tmp_path / "cutouts").exit_code == 0
    again = invoke(*run, "--resume")
    assert again.exit_code == 1
    assert "another cutouts" in again.stderr


def test_what_is_trained_is_an_adapter(data, tmp_path):
    run = tmp_path / "run"
    done = invoke("train", "run", data, "-o", run, *SMALL, "--device", "cpu", "--workers", 0)
    assert done.exit_code == 0, done.output
    assert "1 steps" in done.stdout
    clip, dets = write_clip(tmp_path, 3)
    tracked = invoke(
        *("track", clip, "--dets", dets, "--adapter", run / "best.safetensors"),
        *("-o", tmp_path / "out", "--no-video", "--device", "cpu"),
        *("--association", "masa-demo", "--runtime", "torch"),
    )
    assert tracked.exit_code == 0, tracked.output
    assert len((tmp_path / "out" / "street.txt").read_text().splitlines()) == 6
    again = invoke("train", "run", data, "-o", run, *SMALL)
    assert again.exit_code == 1
    assert "--resume" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "DATA", "--adapter", "raw", "-o", "x"], "no weights to learn"),
        (["run", "DATA", "--adapter", "nothing", "-o", "x"], "unknown adapter"),
        (["run", "DATA", "-o", "x", "--set", "run.stepz=1"], "no setting"),
        (["run", "none", "-o", "x"], "cannot be read"),
        (
            ["run", "DATA", "--adapter", "sam-b", "-o", "x", "--set", "views.size=512"],
            "1024 x 1024",
        ),
        (["run", "DATA", "-o", "x", "--videos", "."], "no sequences"),
        (["run", "DATA", "-o", "x", "--cutouts", "."], "has no cutouts"),
        (["show", "DATA", "-o", "x.png", "--cutouts", "."], "has no cutouts"),
        (["run", "DATA", "-o", "x", "--overwrite", "--resume"], "exclude each other"),
        (["prepare", "none", "-o", "x"], "no folder"),
        (["show", "none"], "cannot be read"),
    ],
)
def test_wrong_input_is_one_error(data, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    done = invoke("train", *(data if word == "DATA" else word for word in words))
    assert done.exit_code == 1, done.output
    assert said in done.stderr
    assert not (tmp_path / "x").exists()


def test_prepare_without_regions_names_the_weights_it_needs(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("MASA_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    done = invoke("train", "prepare", photos / "images", "-o", tmp_path / "x")
    assert done.exit_code == 1
    assert "masa weights pull sam-vit-b" in done.stderr
