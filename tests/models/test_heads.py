"""Embedding heads, and which of them runs with a weights file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from masa_cli.errors import WeightsError
from masa_cli.models.adapter import build_adapter, build_parts, resolve
from masa_cli.models.backbones import build_backbone
from masa_cli.models.heads import MAX_FRAMES, PartPooling, RunningMean, WhitenedPartPooling
from masa_cli.models.lite_heads import MaskHead, OneStage, SecondStage
from masa_cli.models.published_weights import load_parts
from masa_cli.models.trained_weights import classes_of, tensors_by_name, variant_in
from masa_cli.models.variants import VARIANTS
from masa_cli.weights.manifest import look_for_packaged
from tests.lite_file import HEAD, write_lite


def test_it_is_the_mean_of_all_frames_with_the_newest():
    mean = RunningMean(2)
    np.testing.assert_array_equal(mean.after(np.array([4, -8], np.float32)), [4, -8])
    np.testing.assert_array_equal(mean.after(np.array([0, 0], np.float32)), [2, -4])
    np.testing.assert_array_equal(mean.after(np.array([5, 2], np.float32)), [3, -2])


def test_a_long_video_does_not_stop_it_from_moving():
    mean = RunningMean(1)
    for _ in range(3 * MAX_FRAMES):
        mean.after(np.zeros(1, np.float32))
    assert mean.after(np.ones(1, np.float32))[0] == 1 / MAX_FRAMES


def test_a_mean_given_out_stays_as_it_was():
    mean = RunningMean(1)
    first, state = mean.after(np.ones(1, np.float32)), mean.state()
    mean.after(np.zeros(1, np.float32))
    assert first == 1
    assert state["mean"] == 1


def test_a_restored_mean_goes_on_bit_for_bit():
    generator = np.random.default_rng(0)
    frames = generator.normal(size=(9, 5)).astype(np.float32)
    one, another = RunningMean(5), RunningMean(5)
    for frame in frames[:6]:
        one.after(frame)
    another.restore(one.state())
    for frame in frames[6:]:
        np.testing.assert_array_equal(one.after(frame), another.after(frame))


CELLS = torch.rand(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))
MAPS = {0: torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(1))}


def test_nothing_changes_before_anything_is_known():
    (plain,), (white,) = (
        kind(3).embed(CELLS, MAPS, [4]) for kind in (PartPooling, WhitenedPartPooling)
    )
    np.testing.assert_allclose(plain, white, atol=1e-6)


def test_a_channel_without_weight_says_nothing():
    head = WhitenedPartPooling(3)
    head.white.data = torch.diag(torch.tensor([1.0, 2.0, 0.0]))
    (rows,) = head.embed(CELLS, MAPS, [4])
    channels = rows.reshape(4, 3, 7)
    assert (channels[:, 2] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    (plain,) = PartPooling(3).embed(CELLS, MAPS, [4])
    shares = channels[:, 1] / plain.reshape(4, 3, 7)[:, 1]
    assert shares == pytest.approx(
        2 / 1 * (channels[:, 0] / plain.reshape(4, 3, 7)[:, 0]), rel=1e-4
    )


def test_a_file_says_which_head_it_has(tmp_path):
    file = write_lite(tmp_path / "lite.safetensors")
    row = variant_in("lite", file)
    assert row == VARIANTS["lite"]
    name, weights = resolve(str(file))
    adapter = build_adapter(name, weights=weights, device="cpu")
    assert (adapter.dim, adapter.temperature) == (32 * 7, 0.05)


def test_a_file_fills_in_a_measured_constant_and_nothing_else_of_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.lite_file.HEAD", {"temperature": 0.25})
    row = variant_in("lite", write_lite(tmp_path / "lite.safetensors"))
    assert row == replace(VARIANTS["lite"], temperature=0.25)
    with pytest.raises(WeightsError, match="of lite, not of raw"):
        load_parts(tmp_path / "lite.safetensors", "raw", {})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"backbone": "swin-t"}, 'another backbone than .* "swin-t" instead of "mobilenet'),
        ({"head": "stripes"}, 'another head than .* "part-pooling" instead of "whitened-part'),
        ({"reads": "fused"}, 'another reads than .* "fused" instead of "backbone"'),
        ({"colour": 3}, "another colour than the row of lite has"),
    ],
)
def test_a_file_that_asks_for_another_architecture_is_refused(tmp_path, monkeypatch, change, told):
    monkeypatch.setattr("tests.lite_file.HEAD", HEAD | change)
    file = write_lite(tmp_path / "other.safetensors")
    for reads in (variant_in, lambda name, file: resolve(str(file))):
        with pytest.raises(WeightsError, match=told):
            reads("lite", file)


def test_what_runs_with_the_packaged_file_is_what_the_row_says():
    row, file = VARIANTS["lite"], look_for_packaged("lite.safetensors")
    assert resolve("lite") == ("lite", file)
    assert variant_in("lite", file) == row
    parts = {"backbone": build_backbone(row.backbone), **build_parts(row)}
    classes = classes_of(file)
    parts |= {"detector": OneStage(row, classes), "masks": MaskHead(row)}
    parts |= {"second": SecondStage(row, len(classes))}
    held = {name: tuple(tensor.shape) for name, tensor in load_file(file).items()}
    built = {name: tuple(tensor.shape) for name, tensor in tensors_by_name(parts).items()}
    assert built == held
    adapter = build_adapter("lite", weights=file, device="cpu")
    assert type(adapter._head) is type(parts["head"])
    assert adapter.temperature == row.temperature
    assert torch.equal(adapter._head.white, load_file(file)["head.white"].float())
