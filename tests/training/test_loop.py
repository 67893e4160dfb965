"""A run depends on nothing but its settings, data and seed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import torch
from safetensors.torch import load_file

from masa_cli.boxes import xyxy_to_xywh
from masa_cli.errors import Interrupted, OutputError, SettingsError, SourceError
from masa_cli.models.adapter import build_adapter
from masa_cli.training.curves import read_table
from masa_cli.training.job import TrainJob
from masa_cli.training.keeper import Listener
from masa_cli.training.recipe import RunSettings
from masa_cli.training.recipes import find_recipe
from masa_cli.training.run import train
from masa_cli.training.validation import split
from masa_cli.watch import Watch

ROOT = Path(__file__).parents[2]
SMALL = (
    "run.steps=4",
    "run.batch=2",
    "run.part=2",
    "run.held_out=0.2",
    "run.save_every=1",
    "run.validate_every=2",
    "views.size=64",
    "optimiser.warm_up_steps=2",
    "objects.boxes.num_samples=16",
    "matching.draw.num_samples=16",
)


@pytest.fixture(scope="module")
def data(scenes, tmp_path_factory):
    """The scenes as a file of regions."""
    folder = tmp_path_factory.mktemp("data")
    images, annotations = [], []
    for number in range(len(scenes)):
        scene = scenes[number]
        height, width = scene.size
        file = str(scene.file)
        images.append({"id": number, "file_name": file, "height": height, "width": width})
        for box in xyxy_to_xywh(scene.boxes).tolist():
            annotation = {"id": len(annotations), "image_id": number, "category_id": 1}
            annotations.append({**annotation, "bbox": box})
    categories = [{"id": 1, "name": "object"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "regions.json").write_bytes(orjson.dumps(content))
    return folder


def job_of(data, folder, *changes, **others):
    recipe = find_recipe("lite").changed([*SMALL, *changes])
    return TrainJob((data,), "lite", recipe, folder, device="cpu", **others)


def run(job, watch=None):
    return train(job, watch or Watch(), Listener())


def losses(job):
    return [
        {name: value for name, value in row.items() if name not in {"seconds", "waited"}}
        for row in read_table(job.losses)
    ]


def assert_same_weights(one, other, tolerance=0.0):
    one, other = load_file(one.last), load_file(other.last)
    assert set(one) == set(other)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=tolerance, rtol=tolerance, msg=name)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A run that was never interrupted."""
    job = job_of(data, tmp_path_factory.mktemp("finished"))
    return job, run(job)


def test_two_runs_are_the_same(finished, data, tmp_path):
    job, _ = finished
    again = job_of(data, tmp_path)
    run(again)
    assert losses(again) == losses(job)
    assert_same_weights(again, job)
    other = job_of(data, tmp_path / "other", seed=1)
    run(other)
    assert losses(other) != losses(job)


def test_a_run_leaves_what_it_promises(finished):
    job, summary = finished
    assert set(summary.written) == {job.best, job.last, job.losses, job.validation, job.curves}
    assert [row["step"] for row in losses(job)] == [1, 2, 3, 4]
    validated = read_table(job.validation)
    assert [row["step"] for row in validated] == [0, 2, 4]
    assert summary.best == pytest.approx(max(row["recall@1"] for row in validated))
    assert [path.name for path in sorted(job.checkpoints.iterdir())] == [
        "step-0000002.pt",
        "step-0000003.pt",
        "step-0000004.pt",
    ]
    assert build_adapter("lite", weights=job.best, device="cpu").dim == 256


# Where float32 is summed in another order the last digits differ, and after some steps another of
# two equally good proposals is kept. So these runs are short.
BRIEF = "run.steps=2"


@pytest.fixture(scope="module")
def brief(data, tmp_path_factory):
    job = job_of(data, tmp_path_factory.mktemp("brief"), BRIEF)
    run(job)
    return job


def test_parts_of_a_batch_add_up_to_the_whole(brief, data, tmp_path):
    parted = job_of(data, tmp_path, BRIEF, "run.part=1")
    run(parted)
    for ours, theirs in zip(losses(parted), losses(brief), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    assert_same_weights(parted, brief, tolerance=1e-4)


def test_a_stopped_run_goes_on_where_it_was(finished, data, tmp_path):
    job, _ = finished
    stopped = job_of(data, tmp_path, "run.save_every=100")
    watch, listener = Watch(), Listener()
    listener.on_step = lambda facts: setattr(watch, "stop_requested", facts.step == 3)
    with pytest.raises(Interrupted, match="3 steps are kept"):
        train(stopped, watch, listener)
    with pytest.raises(OutputError, match="holds a run already"):
        run(stopped)
    run(replace(stopped, resume=True))
    assert losses(stopped) == losses(job)
    assert_same_weights(stopped, job)


def command(data, job, *options):
    changes = [word for change in SMALL for word in ("--set", change)]
    return [
        *("-m", "masa_cli", "train", "run", str(data), "-o", str(job.folder)),
        *("--device", "cpu", "--workers", "0", "--quiet", *changes, *options),
    ]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(finished, data, tmp_path):
    job, _ = finished
    killed = job_of(data, tmp_path)
    process = subprocess.Popen([sys.executable, *command(data, killed)], cwd=ROOT, env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + 120
        while not list(killed.checkpoints.glob("step-0000002.pt")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not killed.last.exists()
    run(replace(killed, resume=True))
    assert losses(killed) == losses(job)
    assert_same_weights(killed, job)


def test_ctrl_c_finishes_the_step_and_keeps_it(data, tmp_path):
    """Sent to the whole group, as a terminal does: to the workers, too."""
    stopped = job_of(data, tmp_path)
    words = [sys.executable, *command(data, stopped), "--workers", "1", "--set", "run.steps=5000"]
    process = subprocess.Popen(
        words, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while not list(stopped.checkpoints.glob("step-0000002.pt")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "steps are kept" in said
    assert "--resume" in said
    assert not stopped.last.exists()


@pytest.fixture
def with_a_broken_image(data, tmp_path):
    """The same data and an image that cannot be read."""
    content = orjson.loads((data / "regions.json").read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no image")
    for number in (100, 101, 102, 103):
        image = {"id": number, "file_name": str(tmp_path / "broken.png"), "height": 9, "width": 9}
        content["images"].append(image)
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 6, 6]}
        content["annotations"].append(box)
    (tmp_path / "regions.json").write_bytes(orjson.dumps(content))
    return tmp_path / "regions.json"


def test_broken_images_are_named_and_counted(with_a_broken_image, tmp_path, caplog):
    summary = run(job_of(with_a_broken_image, tmp_path / "run"))
    assert summary.steps == 4
    assert summary.num_broken > 0
    assert "broken.png cannot be read" in caplog.text


def test_two_processes_are_as_one_with_the_same_batch(brief, data, tmp_path):
    shared = job_of(data, tmp_path)
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run(
        [sys.executable, *launcher, *command(data, shared, "--set", BRIEF)],
        cwd=ROOT,
        env=ENVIRONMENT,
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )
    for ours, theirs in zip(losses(shared), losses(brief), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    assert_same_weights(shared, brief, tolerance=1e-4)


def test_short_numbers_train_too(data, tmp_path):
    job = replace(job_of(data, tmp_path, BRIEF), precision="bfloat16")
    run(job)
    assert load_file(job.last)["head.hidden.weight"].dtype == torch.float32
    assert all(row["loss"] > 0 for row in losses(job))


def test_views_made_by_workers_are_the_same(finished, data, tmp_path):
    job, _ = finished
    helped = job_of(data, tmp_path, workers=2)
    run(helped)
    assert losses(helped) == losses(job)


def test_a_run_is_not_gone_on_with_in_another_way(finished, data):
    job, _ = finished
    other = job_of(data, job.folder, "optimiser.lr=0.5", resume=True)
    with pytest.raises(OutputError, match="began with another optimiser"):
        run(other)


def test_what_cannot_work_is_said_before_anything_is_written(data, tmp_path):
    with pytest.raises(SettingsError, match="unknown precision"):
        run(replace(job_of(data, tmp_path / "run"), precision="int3"))
    with pytest.raises(SourceError, match="no sequences"):
        run(replace(job_of(data, tmp_path / "run"), videos=tmp_path))
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_gives_way_to_the_one_before(finished, data, tmp_path, caplog):
    job, _ = finished
    again = job_of(data, tmp_path)
    run(again)
    (again.checkpoints / "step-0000004.pt").write_bytes(b"PK no archive")
    run(replace(again, resume=True))
    assert "is damaged" in caplog.text
    assert losses(again) == losses(job)
    assert_same_weights(again, job)


def test_a_detector_alone_is_judged_by_what_it_finds(data, tmp_path):
    own = [each for each in SMALL if not each.startswith(("objects.", "matching."))]
    recipe = find_recipe("lite", "lite-detector").changed([*own, BRIEF])
    job = TrainJob((data,), "lite", recipe, tmp_path / "run", device="cpu")
    summary = run(job)
    assert set(summary.scores) == {"AP50"}
    assert 0 <= summary.scores["AP50"] <= 1
    assert not any(name.startswith("head.") for name in load_file(job.last))
    with pytest.raises(SettingsError, match="this recipe trains none"):
        run(replace(job, folder=tmp_path / "other", videos=tmp_path))


def test_an_image_listed_often_is_seen_more_but_held_out_once(scenes):
    often = scenes.chosen([0, 1, 1, 1, 2, 3, 4, 5, 5])
    learned, held_out = split(often, RunSettings(held_out=0.5))
    assert len(held_out) == len(set(held_out.files)) == 3
    assert not set(held_out.files) & set(learned.files)
    assert len(learned) + sum(often.files.count(file) for file in held_out.files) == len(often)
