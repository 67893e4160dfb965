"""A run depends on nothing but its settings, data and seed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import load_file
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from masa_cli.boxes import xyxy_to_xywh
from masa_cli.errors import Interrupted, OutputError, SettingsError, SourceError, WeightsError
from masa_cli.models.adapter import build_adapter, build_parts
from masa_cli.models.lite_heads import SecondStage
from masa_cli.models.variants import VARIANTS, find_variant
from masa_cli.progress import RunProgress
from masa_cli.training.augmentations import AugmentationSettings
from masa_cli.training.batches import Batch
from masa_cli.training.curves import read_table
from masa_cli.training.loop import Trainee, build_optimiser
from masa_cli.training.objectives import initial_weights, initialise
from masa_cli.training.pairs import PairMaker
from masa_cli.training.recipe import RECIPES, RunSettings, TrainJob, find_recipe
from masa_cli.training.recorder import Listener, RunRecorder
from masa_cli.training.training_run import train
from masa_cli.training.validation import split
from tests.training.networks import lite, objectives_of

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
    return TrainJob((data,), recipe, folder, device="cpu", **others)


def run(job, progress=None):
    return train(job, progress or RunProgress(), Listener())


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
    assert build_adapter("lite-learned", weights=job.best, device="cpu").dim == 256


# Where float32 is summed in another order the last digits differ, and after some steps another of
# two equally good proposals is kept. So these runs are short.
BRIEF = "run.steps=2"


@pytest.fixture(scope="module")
def brief(data, tmp_path_factory):
    job = job_of(data, tmp_path_factory.mktemp("brief"), BRIEF)
    run(job)
    return job


def test_a_run_trains_with_the_threads_asked_for(data, tmp_path, monkeypatch):
    before, seen = torch.get_num_threads(), []
    job = job_of(data, tmp_path / "run", "run.steps=1", threads=before + 1)
    own = RunRecorder.begin

    def begin(recorder):
        seen.append((torch.get_num_threads(), blas_threads()))
        own(recorder)

    monkeypatch.setattr(RunRecorder, "begin", begin)
    with threadpool_limits(3, user_api="blas"):
        run(job)
        assert blas_threads() == {3}
    assert seen == [(before + 1, {1})]
    assert torch.get_num_threads() == before


def blas_threads():
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_parts_of_a_batch_add_up_to_the_whole(brief, data, tmp_path):
    parted = job_of(data, tmp_path, BRIEF, "run.part=1")
    run(parted)
    for ours, theirs in zip(losses(parted), losses(brief), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
    assert_same_weights(parted, brief, tolerance=1e-4)


def test_a_stopped_run_goes_on_where_it_was(finished, data, tmp_path):
    job, _ = finished
    stopped = job_of(data, tmp_path, "run.save_every=100")
    progress, listener = RunProgress(), Listener()
    listener.on_step = lambda facts: setattr(progress, "stop_requested", facts.step == 3)
    with pytest.raises(Interrupted, match="3 steps are kept"):
        train(stopped, progress, listener)
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


def test_a_run_goes_on_with_another_number_of_steps(data, tmp_path, caplog):
    short = job_of(data, tmp_path, "run.steps=2")
    run(short)
    longer = job_of(data, tmp_path, "run.steps=3", resume=True)
    with caplog.at_level("INFO"):
        run(longer)
    assert "was of 2 steps, and is of 3" in caplog.text
    assert len(losses(longer)) == 3
    with pytest.raises(SettingsError, match="has taken 3 steps already, more than 2"):
        run(replace(short, resume=True))


def test_a_run_of_another_version_is_refused_in_one_sentence(finished, data, monkeypatch):
    job, _ = finished
    monkeypatch.setattr("masa_cli.training.recipe.__version__", "99.0")
    with pytest.raises(
        OutputError, match=r"began with masa \d.*, whose .* masa 99\.0 cannot resume"
    ):
        run(job_of(data, job.folder, resume=True))


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
    job = TrainJob((data,), recipe, tmp_path / "run", device="cpu")
    summary = run(job)
    assert set(summary.scores) == {"AP50"}
    assert 0 <= summary.scores["AP50"] <= 1
    assert not any(name.startswith("head.") for name in load_file(job.last))
    with pytest.raises(SettingsError, match="this recipe trains none"):
        run(replace(job, folder=tmp_path / "other", videos=tmp_path))


def test_both_stages_of_a_detector_are_trained_together(data, tmp_path):
    own = [each for each in SMALL if not each.startswith(("objects.", "matching."))]
    recipe = find_recipe("lite", "lite-two-stage").changed([*own, BRIEF])
    job = TrainJob((data,), recipe, tmp_path / "run", device="cpu")
    run(job)
    assert {"loss detection score", "loss second score"} < losses(job)[0].keys()
    stage = SecondStage(find_variant("lite"), 1)
    own = {name: x for name, x in load_file(job.last).items() if name.startswith("second.")}
    assert own.keys() == {f"second.{name}" for name in stage.state_dict()}
    assert all(x.isfinite().all() for x in own.values())
    assert own["second.trust"] == pytest.approx(0.4, abs=0.1)
    going_on = replace(job, folder=tmp_path / "other", start=job.last)
    run(going_on)
    again = load_file(going_on.last)
    assert not torch.equal(again["second.first.weight"], own["second.first.weight"])


def test_an_image_listed_often_is_seen_more_but_held_out_once(scenes):
    often = scenes.chosen([0, 1, 1, 1, 2, 3, 4, 5, 5])
    learned, held_out = split(often, RunSettings(held_out=0.5))
    assert len(held_out) == len(set(held_out.files)) == 3
    assert not set(held_out.files) & set(learned.files)
    assert len(learned) + sum(often.files.count(file) for file in held_out.files) == len(often)


STRIDES = {"sam-b": (16,) * 4, "sam-h": (16,) * 4, "r50": (4, 8, 16, 32)}


class Patches(nn.Module):
    """In place of a backbone of hundreds of millions of weights: the same maps of fewer."""

    def __init__(self, variant, strides):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(3, channels, stride, stride)
            for channels, stride in zip(variant.channels, strides, strict=True)
        )

    def forward(self, x):
        return [conv(x) for conv in self.convs]


@pytest.fixture(scope="module")
def batch(scenes):
    views = AugmentationSettings(size=64, min_resize=0.8, max_resize=1.2, mix_chance=0)
    return Batch.of([PairMaker(scenes, views, 0).make(number) for number in range(2)])


def trainee_of(name):
    variant = VARIANTS[name]
    torch.manual_seed(0)
    parts = {"backbone": Patches(variant, STRIDES.get(name, variant.strides))}
    rows = objectives_of(name)
    with torch.device("meta"):
        rest = {row.part: row.build(variant, ("object",)) for row, _ in rows}
    for part, module in {**build_parts(variant, "neck", "fusion"), **rest}.items():
        initialise(module.to_empty(device="cpu"), part)
        parts[part] = module
    return Trainee(variant, parts, rows).train()


@pytest.mark.parametrize(
    "name", [r.variant for r in RECIPES.values() if "matching" in r.objectives]
)
def test_a_step_changes_all_that_is_trained_and_nothing_else(name, batch):
    trainee = trainee_of(name)
    before = {n: p.detach().clone() for n, p in trainee.named_parameters()}
    optimiser = torch.optim.SGD([p for p in trainee.parameters() if p.requires_grad], lr=0.1)
    losses = trainee(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert {"anchor score", "box score", "contrast", "cosine"} <= set(losses)
    torch.stack(list(losses.values())).sum().backward()
    optimiser.step()
    for parameter_name, parameter in trainee.named_parameters():
        # All of the stand-in is one block.
        is_trained = VARIANTS[name].unfrozen and not VARIANTS[name].frozen_blocks
        is_frozen = parameter_name.startswith("parts.backbone.") and not is_trained
        assert (parameter.grad is None) == is_frozen, parameter_name
        if is_frozen:
            assert torch.equal(parameter, before[parameter_name])
    assert VARIANTS["r50"].unfrozen
    assert not VARIANTS["gdino"].unfrozen
    learned = trainee.learned()
    assert any(n.startswith("parts.backbone.") for n in learned) == VARIANTS[name].unfrozen


def test_the_first_blocks_of_an_unfrozen_backbone_may_stay():
    blocks = list(lite().parts["backbone"].children())
    count = VARIANTS["lite"].frozen_blocks
    assert 0 < count < len(blocks)
    assert not any(p.requires_grad for block in blocks[:count] for p in block.parameters())
    assert all(p.requires_grad for block in blocks[count:] for p in block.parameters())


def test_a_few_steps_on_one_batch_make_its_losses_smaller(batch):
    trainee = lite()
    optimiser = build_optimiser(trainee, find_recipe("lite").optimiser)
    totals = []
    for _ in range(12):
        losses = trainee(batch)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert np.mean(totals[-3:]) < 0.8 * totals[0]


def test_losses_of_a_batch_are_the_mean_of_its_pairs(scenes, batch):
    trainee = lite().eval()
    views = AugmentationSettings(size=64, min_resize=0.8, max_resize=1.2, mix_chance=0)
    alone = [trainee(Batch.of([PairMaker(scenes, views, 0).make(number)])) for number in range(2)]
    together = trainee(batch)
    for name, loss in together.items():
        mean = (alone[0][name] + alone[1][name]) / 2
        assert loss.item() == pytest.approx(mean.item(), rel=1e-3, abs=1e-5), name


def test_the_backbone_evaluates_even_in_training(batch):
    trainee = lite()
    assert not trainee.parts["backbone"].training
    assert trainee.parts["head"].training
    before = {n: b.clone() for n, b in trainee.parts["backbone"].named_buffers()}
    trainee(batch)
    for name, buffer in trainee.parts["backbone"].named_buffers():
        assert torch.equal(buffer, before[name])


def test_first_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    one = lite(seed=4).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = lite(seed=4).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = lite(seed=5).state_dict()
    assert not torch.equal(one["parts.head.hidden.weight"], other["parts.head.hidden.weight"])


def test_a_published_variant_begins_with_its_published_backbone(published_file, tmp_path):
    file = published_file("r50", "")
    rows = [row for row, _ in objectives_of("r50")]
    arguments = {"start": None, "weights_dir": tmp_path, "seed": 0}
    with pytest.raises(WeightsError):
        initial_weights("r50", rows, ("object",), **arguments)
    (tmp_path / "masa_r50.pth").symlink_to(file)
    fresh = initial_weights("r50", rows, ("object",), **arguments)
    tuned = initial_weights("r50", rows, ("object",), **{**arguments, "start": file})
    published = fresh["backbone"].state_dict()
    for name, tensor in tuned["backbone"].state_dict().items():
        assert torch.equal(tensor, published[name])
    assert not torch.equal(fresh["head"].hidden.weight, tuned["head"].hidden.weight)
    assert tuned["objects"].boxes.score.weight.abs().max() > 0


def test_what_has_nothing_to_learn_is_refused():
    with pytest.raises(SettingsError, match="no weights to learn"):
        find_recipe("raw")
    with pytest.raises(SettingsError, match='no recipe "lite-detector"'):
        find_recipe("r50", "lite-detector")
    assert {recipe.variant for recipe in RECIPES.values()} == {
        name for name, row in VARIANTS.items() if row.trained
    }


def test_a_recipe_says_which_row_it_trains():
    assert find_recipe("lite").variant == "lite-learned"
    assert find_recipe("lite", "lite-detector").variant == "lite"
    assert find_recipe("lite-learned") == find_recipe("lite")
    assert find_recipe("detic").variant == "detic"


def test_a_recipe_is_changed_by_name():
    recipe = find_recipe("lite").changed(
        ["matching.contrast.weight=0.5", "run.steps=7", "views.clips=false"]
    )
    assert recipe.objectives["matching"].contrast.weight == 0.5
    assert recipe.run.steps == 7
    assert recipe.record()["views"]["clips"] is False
    for wrong in ("steps=3", "nothing.x=1", "run.stepz=3", "run.steps=0", "matching.contrast=1"):
        with pytest.raises(SettingsError):
            recipe.changed([wrong])


def test_layers_that_let_through_begin_as_the_identity():
    rows = [row for row, _ in objectives_of("lite")]
    arguments = {"start": None, "weights_dir": None, "seed": 0}
    parts = initial_weights("lite-learned", rows, ("object",), identity_init=True, **arguments)
    x = torch.rand(1, 96, 6, 8)
    torch.testing.assert_close(parts["fusion"].coarse.blocks[0].mid.conv(x), x)
    torch.testing.assert_close(parts["neck"].fpn[0].conv(x), x)
    cells = torch.rand(3, 96, 7, 7)
    mirrored = parts["head"](cells.flip(3))
    torch.testing.assert_close(mirrored, parts["head"](cells), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(parts["head"](cells.flip(2)), mirrored, rtol=1e-2)
    plain = initial_weights("lite-learned", rows, ("object",), **arguments)
    assert not torch.allclose(plain["neck"].fpn[0].conv(x), x, rtol=1e-2)
