"""Where networks run and in which numbers, and how they are made ready for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from masa_cli.errors import SettingsError
from masa_cli.models.runtime import choose_runtime, computes_bfloat16
from masa_cli.models.variants import VARIANTS

PRECISIONS: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
)
# In the order in which "auto" asks for them.
_IS_AVAILABLE: Mapping[str, Callable[[], bool]] = MappingProxyType(
    {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
)


def choose_placement(device: str, precision: str) -> tuple[torch.device, torch.dtype]:
    """The device and the type of number that these names stand for on this machine.

    Args:
        device: auto (the fastest there is), cpu, cuda or mps.
        precision: float32, bfloat16 or float16.

    Raises:
        SettingsError: for an unknown name, a device this machine lacks, or a precision that the
            device cannot work in.
    """
    chosen = choose_device(device)
    if precision not in PRECISIONS:
        raise SettingsError(
            f'unknown precision "{precision}"', fix=f"use one of: {', '.join(PRECISIONS)}"
        )
    if precision == "float16" and chosen.type == "cpu":
        # It computes, through a fallback: 5 to 8 times slower than float32 where it was measured.
        raise SettingsError(
            "precision float16 is for GPUs: on the cpu it is many times slower than float32",
            fix="use precision float32 or bfloat16, or device cuda or mps",
        )
    if precision == "bfloat16" and not _knows_bfloat16(chosen):
        raise SettingsError(
            f"this machine's {chosen.type} device cannot compute in bfloat16",
            fix="use precision float16 or float32",
        )
    return chosen, PRECISIONS[precision]


def choose_device(name: str) -> torch.device:
    """The device of that name; for "auto" the fastest there is.

    Raises:
        SettingsError: for an unknown name or a device this machine lacks.
    """
    if name == "auto":
        name = next(device for device, is_there in _IS_AVAILABLE.items() if is_there())
    if name not in _IS_AVAILABLE:
        known = ", ".join(("auto", *sorted(_IS_AVAILABLE)))
        raise SettingsError(f'unknown device "{name}"', fix=f"use one of: {known}")
    if not _IS_AVAILABLE[name]():
        raise SettingsError(
            f"device {name} is not available: torch {torch.__version__} finds none on this machine",
            fix="use device auto or cpu, or install a torch made for your device (pytorch.org)",
        )
    return torch.device(name)


def quickest_precision(networks: Iterable[str], runtime: str, device: str) -> str:
    """What "auto" means for networks that work together: the quickest in which all are as good.

    Args:
        networks: names of variants, or of others, of which nothing is known but float32.
        runtime: auto, torch or openvino.
        device: auto, cpu, cuda or mps.

    Raises:
        SettingsError: the device or the runtime is unknown, or cannot work here.
    """
    is_openvino = choose_runtime(runtime, choose_device(device)) == "openvino"
    rows = [VARIANTS.get(name) for name in networks]
    quickest = {row.quick_precision if row else "float32" for row in rows}
    is_quicker = is_openvino and quickest == {"bfloat16"} and computes_bfloat16()
    return "bfloat16" if is_quicker else "float32"


def batches_ahead(at_once: int, runtime: str, device: str) -> int:
    """Batches that are best looked at while those before them go through what follows.

    A GPU has the next one ready meanwhile. Two cores of a CPU are quicker with a frame each than
    with one after the other, in which they wait for each other, if a frame is small work.

    Args:
        at_once: as many as that on a CPU, where what looks can do so.
        runtime: auto, torch or openvino; torch has one pool of threads for all.
        device: auto, cpu, cuda or mps.

    Raises:
        SettingsError: the device or the runtime is unknown, or cannot work here.
    """
    kind = choose_device(device)
    if kind.type != "cpu":
        return 1
    is_able = choose_runtime(runtime, kind) == "openvino" and at_once <= torch.get_num_threads()
    return at_once if at_once > 1 and is_able else 0


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """One device a network can run on."""

    name: str  # as --device has it; with its number if there are several
    what: str  # the maker's name, or what it computes with
    memory: int | None = None  # bytes of its own


def describe_devices() -> list[DeviceFacts]:
    """The devices of this machine, the fastest first."""
    found = []
    if _IS_AVAILABLE["cuda"]():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            found.append(DeviceFacts(f"cuda:{number}", about.name, about.total_memory))
    if _IS_AVAILABLE["mps"]():
        found.append(DeviceFacts("mps", "Apple GPU"))
    capability = torch.backends.cpu.get_cpu_capability()
    found.append(DeviceFacts("cpu", f"{torch.get_num_threads()} threads, {capability}"))
    return found


def ready(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The network itself: evaluating, frozen, folded, and where it shall run.

    Channels lie last in memory: convolutions are a third faster on the cpu.
    """
    network = _folded(network.eval()).eval().requires_grad_(False).to(device, dtype)
    return network.to(memory_format=torch.channels_last)


def _knows_bfloat16(device: torch.device) -> bool:
    if device.type == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    return device.type != "cuda" or torch.cuda.is_bf16_supported()


def _folded(network: nn.Module) -> nn.Module:
    """An evaluating network with every normalisation worked into the convolution before it.

    It computes the same in fewer steps: a third faster on the cpu. Subclasses of normalisations
    are left alone, as they may do more.
    """
    before: tuple[str, nn.Module] | None = None
    for name, module in list(network.named_children()):
        if type(module) is nn.BatchNorm2d and before and isinstance(before[1], nn.Conv2d):
            setattr(network, before[0], fuse_conv_bn_eval(before[1], module))
            setattr(network, name, nn.Identity())
        before = name, _folded(module)
    return network
