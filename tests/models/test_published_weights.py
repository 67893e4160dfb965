"""Checkpoints as they are published, and files that are not what they should be."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from masa_cli.errors import WeightsError
from masa_cli.models.published_weights import load_parts, read_weights, recognise_file
from tests.recipe import published_keys


class Head(nn.Module):
    """The embedding head's names and shapes, as far as the tests below go."""

    def __init__(self, dim=256):
        super().__init__()
        self.embedding = nn.Linear(1024, dim)


WEIGHTS = {
    "track_head.embed_head.fc_embed.weight": torch.rand(256, 1024),
    "track_head.embed_head.fc_embed.bias": torch.rand(256),
}


@pytest.fixture
def mmengine(monkeypatch):
    """Classes that are pickled under mmengine's names, and are gone when the file is read."""
    names = ("mmengine", "mmengine.config", "mmengine.config.config", "mmengine.logging")
    modules = {name: types.ModuleType(name) for name in (*names, "mmengine.logging.history_buffer")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    def pickled_as(module, name, base, **members):
        kind = type(name, (base,), {"__module__": module, **members})
        setattr(modules[module], name, kind)
        return kind

    yield pickled_as
    for name in modules:
        monkeypatch.delitem(sys.modules, name, raising=False)


def published_like(mmengine, weights):
    """What mmengine saves: weights beside records of training that are objects of its classes."""
    config = mmengine("mmengine.config.config", "ConfigDict", dict)(type="MASA")
    config.filename = "masa.py"

    def least(self):
        return None

    least.__module__, least.__qualname__ = "mmengine.logging.history_buffer", "HistoryBuffer.min"
    history = mmengine("mmengine.logging.history_buffer", "HistoryBuffer", object, min=least)
    buffer = history()
    buffer._log_history = np.arange(4.0)
    buffer.statistics_methods = {"min": history.min}  # pickled as getattr(HistoryBuffer, "min")
    return {
        "meta": {"epoch": 12, "cfg": config, "time": "20240515", "rate": np.float64(0.08)},
        "message_hub": {"log_scalars": {"train/loss": buffer}},
        "state_dict": weights,
    }


def test_a_file_of_mmengine_loads_without_mmengine(tmp_path, mmengine, monkeypatch):
    file = tmp_path / "masa.pth"
    torch.save(published_like(mmengine, WEIGHTS), file)
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    assert {"builtins.getattr", "__builtin__.getattr"} & set(unsafe)  # as in a real one
    for name in [name for name in sys.modules if name.startswith("mmengine")]:
        monkeypatch.delitem(sys.modules, name)
    head = Head()
    load_parts(file, "r50", {"head": head})
    assert torch.equal(head.embedding.weight, WEIGHTS["track_head.embed_head.fc_embed.weight"])


@pytest.mark.parametrize(
    "content",
    [WEIGHTS, {"module." + name: value for name, value in WEIGHTS.items()}, {"model": WEIGHTS}],
    ids=["bare", "data-parallel", "under-model"],
)
def test_other_wrappings_of_weights_are_understood(tmp_path, content):
    torch.save(content, tmp_path / "file.pth")
    assert read_weights(tmp_path / "file.pth").keys() == WEIGHTS.keys()


class Bomb:
    """Pickles as a call that would leave a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, zipped):
    file, mark = tmp_path / "evil.pth", tmp_path / "ran"
    content = {"state_dict": WEIGHTS, "meta": Bomb(mark)}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"evil\.pth is refused") as caught:
        read_weights(file)
    assert not zipped or "asks for builtins.exec" in caught.value.problem
    assert not mark.exists()
    # The bomb is real: what is refused would have run.
    torch.load(file, weights_only=False)
    assert mark.exists()


def test_a_plain_pickle_with_code_is_refused(tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol=2))
    with pytest.raises(WeightsError):
        read_weights(tmp_path / "evil.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_file_that_is_cut_short_says_so(tmp_path, zipped, share):
    file = tmp_path / "masa.pth"
    torch.save(WEIGHTS, file, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightsError, match=r"masa.pth is damaged or cut short") as caught:
        read_weights(file)
    assert caught.value.fix == "download it again"


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x89PNG\r\n"],
)
def test_a_file_that_is_something_else_says_so(tmp_path, content):
    (tmp_path / "masa.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"masa\.pth is no file of weights"):
        read_weights(tmp_path / "masa.pth")


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], {"lr": 0.1}, torch.zeros(2)])
def test_a_checkpoint_without_weights_says_so(tmp_path, content):
    torch.save(content, tmp_path / "masa.pth")
    with pytest.raises(WeightsError, match="no tensors by name"):
        read_weights(tmp_path / "masa.pth")


def test_a_missing_file_and_a_folder_say_so(tmp_path):
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(WeightsError, match=r"cannot be read: (Is a directory|No such file)"):
            read_weights(path)


def test_other_names_are_named_with_the_variant_they_fit(tmp_path):
    table = "detector.backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table"
    torch.save({table: torch.zeros(23 * 23, 4)}, tmp_path / "some.pth")
    with pytest.raises(WeightsError) as caught:
        load_parts(tmp_path / "some.pth", "r50", {"head": Head()})
    assert caught.value.problem == (
        f"{tmp_path / 'some.pth'} does not hold the weights of variant r50: it lacks "
        f'"head.embedding.weight" and 1 more and has "{table}"'
    )
    assert caught.value.fix == "these are weights of gdino: use --adapter gdino"


def test_what_is_missing_and_what_is_too_much_are_errors(tmp_path):
    name = "track_head.embed_head.fcs.0.weight"
    torch.save({**WEIGHTS, name: torch.zeros(2)}, tmp_path / "more.pth")
    with pytest.raises(WeightsError, match=rf'has "{name}"'):
        load_parts(tmp_path / "more.pth", "r50", {"head": Head()})
    torch.save(dict(list(WEIGHTS.items())[:1]), tmp_path / "less.pth")
    with pytest.raises(WeightsError, match=r'lacks "head.embedding.bias"'):
        load_parts(tmp_path / "less.pth", "r50", {"head": Head()})


def test_other_shapes_are_named(tmp_path):
    torch.save(WEIGHTS, tmp_path / "masa.pth")
    with pytest.raises(WeightsError) as caught:
        load_parts(tmp_path / "masa.pth", "r50", {"head": Head(dim=128)})
    assert caught.value.problem.endswith(
        'does not fit variant r50: other shapes of "track_head.embed_head.fc_embed.weight" and 1 '
        "more, first (256, 1024) instead of (128, 1024)"
    )


def test_parts_that_are_not_asked_for_stay_out(tmp_path):
    rest = {"rpn_head.rpn_conv.bias": torch.zeros(256), "backbone.bn1.bias": torch.zeros(64)}
    torch.save(WEIGHTS | rest, tmp_path / "masa.pth")
    load_parts(tmp_path / "masa.pth", "r50", {"head": Head()})


def test_counters_of_training_may_be_there_or_not(tmp_path):
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            with torch.device("meta"):
                self.bn1 = nn.BatchNorm2d(64)

    names = [name for name in published_keys("r50") if name.startswith("backbone.bn1.")]
    weights = {name: torch.rand(64) for name in names if not name.endswith("tracked")}
    for extra in ({}, {"backbone.bn1.num_batches_tracked": torch.tensor(7)}):
        torch.save(weights | extra, tmp_path / "masa.pth")
        norm = Norm()
        load_parts(tmp_path / "masa.pth", "r50", {"backbone": norm})
        assert norm.bn1.num_batches_tracked == 0
        assert norm.bn1.running_var.device.type == "cpu"


def test_the_variant_of_a_file_is_recognised(tmp_path):
    torch.save({"backbone.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "a.pth")
    assert recognise_file(tmp_path / "a.pth") == "r50"
    torch.save(WEIGHTS, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="no variant of MASA"):
        recognise_file(tmp_path / "b.pth")
