"""What a device and a precision stand for, told before anything is loaded."""

import pytest
import torch

from masa_cli.errors import SettingsError
from masa_cli.models.device import choose_device, choose_placement


@pytest.fixture
def only_cpu(monkeypatch):
    _set_available(monkeypatch)


def _set_available(monkeypatch, **available):
    table = {name: lambda: False for name in ("cuda", "mps")} | {"cpu": lambda: True}
    table |= {name: lambda: True for name in available}
    monkeypatch.setattr("masa_cli.models.device._IS_AVAILABLE", table)


@pytest.mark.parametrize(
    ("available", "chosen"),
    [({}, "cpu"), ({"mps": 1}, "mps"), ({"cuda": 1}, "cuda"), ({"cuda": 1, "mps": 1}, "cuda")],
)
def test_auto_takes_the_fastest_there_is(monkeypatch, available, chosen):
    _set_available(monkeypatch, **available)
    assert choose_device("auto") == torch.device(chosen)


def test_a_named_device_is_taken_even_if_a_faster_one_is_there(monkeypatch):
    _set_available(monkeypatch, cuda=1)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.usefixtures("only_cpu")
@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_an_error_that_names_it(name):
    with pytest.raises(SettingsError, match=f"device {name} is not available") as caught:
        choose_device(name)
    assert "auto or cpu" in caught.value.fix


@pytest.mark.usefixtures("only_cpu")
@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("gpu", "float32", "use one of: auto, cpu, cuda, mps"),
        ("cpu", "half", "use one of: float32, bfloat16, float16"),
        ("cpu", "float16", "float16 is for GPUs"),
        ("auto", "float16", "float16 is for GPUs"),
    ],
)
def test_what_cannot_work_says_what_can(device, precision, message):
    with pytest.raises(SettingsError) as caught:
        choose_placement(device, precision)
    assert message in str(caught.value)


@pytest.mark.parametrize(("known", "allowed"), [(True, True), (False, False)])
def test_bfloat16_is_refused_only_where_the_gpu_does_not_know_it(monkeypatch, known, allowed):
    _set_available(monkeypatch, cuda=1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: known)
    if allowed:
        assert choose_placement("cuda", "bfloat16") == (torch.device("cuda"), torch.bfloat16)
    else:
        with pytest.raises(SettingsError, match="bfloat16"):
            choose_placement("cuda", "bfloat16")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_the_cpu_works_in(precision, dtype):
    assert choose_placement("cpu", precision) == (torch.device("cpu"), dtype)
