"""weights/finish.py: what it learns from tracks, and the file it makes."""

import importlib.util
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from masa_cli.models.adapter import build_adapter, resolve
from masa_cli.models.trained_weights import (
    classes_of,
    default_changes,
    objectness_of,
    variant_in,
)
from masa_cli.structures import Frame, Tracks
from tests.lite_file import write_lite

FILE = Path(__file__).parents[1] / "weights/finish.py"


@pytest.fixture(scope="module")
def finish():
    spec = importlib.util.spec_from_file_location("finish", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_changes_most_counts_least(finish):
    random = np.random.default_rng(0)
    mixed = np.array([[4.0, 1, 0], [0, 1, 0], [0, 0, 1]])
    rows = np.einsum("dc,ncs->nds", mixed, random.normal(size=(4000, 3, 7)))
    white = finish.whitening(rows)
    np.testing.assert_allclose(white, white.T, atol=1e-9)
    after = np.einsum("dc,ncs->nds", white, rows)
    before = rows.std(axis=(0, 2))
    assert before.max() / before.min() > 4
    assert after.std(axis=(0, 2)).max() / after.std(axis=(0, 2)).min() < 1.5


def test_later_boxes_of_one_track_are_compared(finish):
    track = [(time, np.full((2, 7), time)) for time in (0.0, 0.05, 0.2, 0.9, 3.0)]
    rows = finish.differences(track, np.random.default_rng(0))
    gaps = sorted(round(-float(row[0, 0]), 2) for row in rows)
    assert gaps == [0.15, 0.2, 0.7, 0.85, 0.9]


def test_a_file_is_made_that_finds_and_describes(finish, tmp_path, monkeypatch):
    trained = write_lite(tmp_path / "last.safetensors", with_head=False)
    clip = tmp_path / "clip"
    clip.mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        picture = random.integers(0, 255, (96, 128, 3), np.uint8)
        cv2.imwrite(str(clip / f"{number}.png"), picture)
    # An untrained detector is sure of nothing: what it finds is put in its place.
    boxes = np.array([[10, 10, 60, 80], [70, 20, 120, 90]], np.float32)

    def tracks(path, fps, weights):
        assert (path, fps, weights) == (clip, 4, trained)
        return [[(time / 4, random.normal(size=(32, 7))) for time in range(5)] for _ in boxes]

    monkeypatch.setattr(finish, "parts_of_tracks", tracks)
    out = tmp_path / "lite.safetensors"
    given = [str(trained), str(out), str(clip), "--fps", "4"]
    given += ["--set", "hybrid", "birth_score=0.4", "gate=9", "--objectness", "0.5", "0.2"]
    given += ["--set-objects", "hybrid", "birth_score=0.3"]
    monkeypatch.setattr(sys, "argv", ["finish.py", *given])
    finish.main()
    assert out.stat().st_size < 0.6 * trained.stat().st_size
    assert default_changes(out) == {"hybrid": ("birth_score=0.4", "gate=9")}
    assert default_changes(out, of_objects=True) == {"hybrid": ("birth_score=0.3",)}
    assert objectness_of(out) == (0.5, 0.2)
    assert classes_of(out) == classes_of(trained)
    assert variant_in("lite", out).head == "whitened-part-pooling"
    name, weights = resolve(str(out))
    adapter = build_adapter(name, weights=weights, device="cpu")
    frame = Frame(0, Fraction(0), random.integers(0, 255, (96, 128, 3), np.uint8))
    (rows,) = adapter.embed([frame], [boxes])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_parts_of_a_clip_are_those_of_what_is_detected(finish, tmp_path, monkeypatch):
    trained = write_lite(tmp_path / "last.safetensors", with_head=False)
    clip = tmp_path / "clip"
    clip.mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(str(clip / f"{number}.png"), random.integers(0, 255, (96, 128, 3), np.uint8))
    monkeypatch.setattr(finish, "MIN_SCORE", 0.001)
    monkeypatch.setattr(finish, "build_tracker", lambda name: _Follow())
    (track,) = finish.parts_of_tracks(clip, Fraction(10), trained)
    assert [time for time, _ in track] == pytest.approx([0, 0.1, 0.2])
    assert all(own.shape == (32, 7) for _, own in track)


class _Follow:
    """One track, of the first box."""

    def update(self, place, time, found, embeddings):

        assert len(found.boxes) == len(embeddings) > 0
        one = slice(0, 1)
        return Tracks(found.boxes[one], found.scores[one], found.labels[one], np.array([1]))
