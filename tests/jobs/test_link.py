"""Runs that were kept are linked: one id for one object, wherever it was seen."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from masa_cli.cli.app import app
from masa_cli.formats.embeddings import EmbeddingsWriter, Kept, finish_embeddings
from masa_cli.formats.jsonl import TracksWriter
from masa_cli.formats.mot import read_results
from masa_cli.jobs.link import compare_on_ray
from masa_cli.structures import CameraMotion, Detections, Frame, Observation, Tracks, VideoInfo
from masa_cli.tracking.appearance import normalised
from masa_cli.tracking.calibration import compared
from masa_cli.tracking.recognition import Company, Rows, Template, pairs_above

RATE, DIM, NUM_FRAMES = Fraction(10), 32, 12
FACTS = {"adapter": "raw", "adapter weights": ""}
OBJECTS = np.random.default_rng(0).normal(size=(100, DIM))


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def keep_run(folder, objects, seed, *, facts=FACTS, cut=None, noise=0.4):
    """Objects side by side, as ids from 11; after `cut` frames, in another shot under new ids."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    count = len(objects)
    info = VideoInfo(f"video-{folder.name}", 640, 480, RATE, 1 / RATE, NUM_FRAMES)
    camera = 0.5 * rng.normal(size=DIM)
    kept = Kept(info, ("person",), facts=facts)
    path = folder / "embeddings.masa"
    with (
        EmbeddingsWriter(path, kept) as writer,
        TracksWriter(folder / "tracks.jsonl", ("person",)) as tracks,
    ):
        for index in range(NUM_FRAMES):
            left = 20.0 + 40 * np.arange(count) + index
            boxes = np.stack([left, left * 0 + 50, left + 30, left * 0 + 130], axis=1)
            boxes, scores = boxes.astype(np.float32), np.full(count, 0.9, np.float32)
            labels, shot = np.zeros(count, np.int64), cut is not None and index >= cut
            vectors = OBJECTS[objects] + camera + noise * rng.normal(size=(count, DIM))
            embeddings = normalised(vectors.astype(np.float32))
            motion = CameraMotion.identity(is_cut=index == cut)
            found = Detections(boxes, scores, labels)
            seen = Observation(index, index / 10, found, embeddings, motion, (640, 480))
            writer.write(seen)
            ids = 11 + np.arange(count) + (50 if shot else 0)
            frame = Frame.without_image(index, index / RATE)
            tracks.write(frame, Tracks(boxes, scores, labels, ids))
        offset = writer.offset
    finish_embeddings(path, offset, NUM_FRAMES)
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [
        keep_run(Path("one"), list(range(10)), 1),
        keep_run(Path("two"), [3, 1, 4, 20, 21, 22, 23, 24], 2),
        keep_run(Path("three"), [4, 20, 0, 30, 31, 32, 33], 3),
    ]


def ids(run, frame=0, folder="together"):
    lines = (Path(folder) / run / "tracks.jsonl").read_text().splitlines()
    return json.loads(lines[frame])["ids"]


def test_the_same_objects_get_the_same_ids_in_all_runs(runs):
    result = masa("link", *runs, "-o", "together")
    assert result.exit_code == 0, result.output
    one, two, three = ids("one"), ids("two"), ids("three")
    assert one == list(range(1, 11))
    assert two[:3] == [one[3], one[1], one[4]]
    assert not set(two[3:]) & set(one)
    assert three[:3] == [one[4], two[3], one[0]]
    assert len({*one, *two, *three}) == 19
    assert "19 identities, 5 of them in several runs" in " ".join(result.stdout.split())
    assert set(read_results(Path("together/two/video-two.txt")).ids) == set(two)
    told = json.loads(Path("together/identities.json").read_text())
    assert [each["id"] for each in told["identities"]] == list(range(1, 20))
    shared = told["identities"][4]
    assert [(seen["run"], seen["track"]) for seen in shared["seen"]] == [
        ("one", 15),
        ("two", 13),
        ("three", 11),
    ]


def test_what_is_seen_at_the_same_time_in_two_videos_is_two(runs):
    assert masa("link", *runs, "-o", "together", "--same-time", "0").exit_code == 0
    assert not set(ids("one")) & set(ids("two"))
    result = masa("link", *runs, "-o", "together", "--same-time", "0,100,0:50", "--overwrite")
    assert result.exit_code == 0
    assert set(ids("one")) & set(ids("two"))


def test_shots_of_one_video_are_linked_as_videos_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = keep_run(Path("one"), list(range(8)), 1, cut=6)
    assert masa("link", run, "-o", "together").exit_code == 0
    assert ids("one", 0) == ids("one", 11) == list(range(1, 9))


def test_a_folder_of_runs_stands_for_these(runs, tmp_path):
    assert masa("link", tmp_path, "-o", tmp_path / "together").exit_code == 0
    assert len(list(Path("together").glob("*/tracks.jsonl"))) == 3


def test_results_that_exist_are_not_lost(runs):
    assert masa("link", *runs, "-o", "together").exit_code == 0
    again = masa("link", *runs, "-o", "together")
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    inside = masa("link", *runs, "-o", ".", "--overwrite")
    assert inside.exit_code == 1
    assert "is an input of this run" in " ".join(inside.stderr.split())


def test_runs_that_cannot_be_compared_are_told(runs):
    other = keep_run(Path("other"), [0], 5, facts={"adapter": "lite", "adapter weights": "ab"})
    old = keep_run(Path("old"), [0], 5, facts={})
    twin = keep_run(Path("elsewhere/one"), [0], 5)
    Path("empty").mkdir()
    cases = {
        other: "has embeddings of the adapter raw, other those of lite ab",
        old: "does not tell the adapter",
        twin: "would both be written to one",
        Path("empty"): "empty has no tracks.jsonl",
    }
    for folder, words in cases.items():
        result = masa("link", *runs, folder, "-o", "together")
        assert result.exit_code == 1, result.output
        assert words in " ".join(result.stderr.split())
    assert masa("link", *runs, "-o", "together", "--same-time", "1,2").exit_code == 2
    assert not Path("together").exists()


def test_damaged_embeddings_are_told_and_nothing_is_written(runs):
    path = runs[1] / "embeddings.masa"
    path.write_bytes(path.read_bytes()[:-2000])
    result = masa("link", *runs, "-o", "together")
    assert result.exit_code == 1
    assert "damaged or cut short" in " ".join(result.stderr.split())
    assert not list(Path("together").glob("*/*"))


def many_rows(count=2500):
    rng = np.random.default_rng(0)
    rows = normalised(rng.normal(size=(count, DIM)).astype(np.float32))
    spans = np.array([[0.0, 1.0]])
    parts = [Template("person", rows[[row]], spans) for row in range(count)]
    found, _ = compared([[Company(parts)]], np.eye(DIM, dtype=np.float32))
    return Rows.joined(found[0])


def test_blocks_give_each_pair_once():
    rows = many_rows()
    pairs = [np.stack(each[:2], axis=1) for each in pairs_above(rows, 3.0)]
    together = np.concatenate(pairs)
    assert len(pairs) == 6  # three blocks, each with each
    assert len(np.unique(together, axis=0)) == len(together) > 100
    assert np.all(together[:, 0] < together[:, 1])


def test_on_ray_all_is_as_here(runs):
    ray = pytest.importorskip("ray")
    rows = many_rows()
    here, there = list(pairs_above(rows, 3.0)), list(compare_on_ray(rows, 3.0))
    ray.shutdown()
    for one, other in zip(here, there, strict=True):
        assert all(np.array_equal(*each) for each in zip(one, other, strict=True))


def test_results_of_ray_are_those_of_here(runs):
    ray = pytest.importorskip("ray")
    assert masa("link", *runs, "-o", "here").exit_code == 0
    ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)
    result = masa("link", *runs, "-o", "there", "--engine", "ray")
    ray.shutdown()
    assert result.exit_code == 0
    files = sorted(path.relative_to("here") for path in Path("here").rglob("*.*"))
    assert len(files) == 7
    for file in files:
        assert (Path("here") / file).read_bytes() == (Path("there") / file).read_bytes()


def test_without_ray_it_says_how_to_install_it(runs, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    result = masa("link", *runs, "-o", "together", "--engine", "ray")
    assert result.exit_code == 1
    assert "Ray is not installed" in result.stderr
