"""Weights that `masa train` made: one safetensors file, whole, that says what it is.

Unlike published checkpoints such a file holds our own names, and nothing that could run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from masa_cli import __version__
from masa_cli.errors import WeightsError
from masa_cli.formats.files import PartFile
from masa_cli.models.variants import VARIANTS, Variant, find_variant
from masa_cli.tracking import SettingsChanges

SUFFIX = ".safetensors"
# What the header of a file says.
VARIANT_KEY, VERSION_KEY, ABOUT_KEY = "masa.variant", "masa.version", "masa.about"
# In what it says of how it was trained: the classes, if that was to detect; what of its variant it
# has in another way; changes to the settings of associations that its boxes need, by their names.
CLASSES_KEY, ADAPTER_KEY, ASSOCIATION_KEY = "classes", "adapter", "association"
_OF_FILES = frozenset({"head", "reads", "temperature"})  # what that may be
_FIX = "give a file that masa train wrote, such as best.safetensors"


@dataclass(frozen=True, slots=True)
class TrainedFile:
    """What such a file says of itself.

    Attributes:
        variant: a name in `variants.VARIANTS`.
        about: how it was trained.
    """

    variant: str
    about: Mapping[str, Any]


def is_trained_file(file: Path) -> bool:
    """Whether a file's name says that it is one."""
    return file.suffix == SUFFIX


def describe_trained(file: Path) -> TrainedFile:
    """What a file says of itself.

    Raises:
        WeightsError: it cannot be read, or is none of ours.
    """
    with _opened(file) as content:
        facts = content.metadata() or {}
    variant = facts.get(VARIANT_KEY)
    if variant is None or variant not in VARIANTS:
        said = f'unknown variant "{variant}"' if variant else "it does not say which variant it is"
        raise WeightsError(f"{file} holds no weights that masa trained: {said}", fix=_FIX)
    return TrainedFile(variant, json.loads(facts.get(ABOUT_KEY, "{}")))


def classes_of(file: Path) -> tuple[str, ...]:
    """The classes that the detector in a file tells apart.

    Raises:
        WeightsError: as `describe_trained`, or it was not trained to detect.
    """
    classes = describe_trained(file).about.get(CLASSES_KEY)
    if not classes:
        raise WeightsError(
            f"{file} was not trained to find objects, only to embed them",
            fix="train it with --recipe lite-detector",
        )
    return tuple(classes)


def variant_in(name: str, file: Path | None) -> Variant:
    """The row of a variant, changed to what a file of its weights says.

    Raises:
        SettingsError: there is no such variant.
        WeightsError: as `describe_trained`, or the file is made for another version of masa.
    """
    row = find_variant(name)
    if file is None or not is_trained_file(file):
        return row
    own = describe_trained(file).about.get(ADAPTER_KEY, {})
    if strange := own.keys() - _OF_FILES:
        raise WeightsError(
            f"{file} wants {min(strange)} changed, which this version of masa cannot",
            fix="install the newest version of masa",
        )
    return replace(row, **own)


def default_changes(file: Path) -> SettingsChanges:
    """Changes to the settings of associations that its boxes and embeddings need.

    Raises:
        WeightsError: as `describe_trained`.
    """
    changes: SettingsChanges = describe_trained(file).about.get(ASSOCIATION_KEY, {})
    return changes


def has_part(file: Path, part: str) -> bool:
    """Whether there are weights of that part of the network in a file.

    Raises:
        WeightsError: it cannot be read.
    """
    with _opened(file) as content:
        return any(name.startswith(f"{part}.") for name in content.keys())  # noqa: SIM118


def load_trained(file: Path, variant: str, parts: Mapping[str, nn.Module]) -> None:
    """Fill parts of a network, each whole; parts that are not asked for stay out.

    Args:
        file: that `training.export` wrote.
        variant: which it must be of.
        parts: by the first component of the tensors' names.

    Raises:
        WeightsError: it cannot be read, is of another variant, or does not fit.
    """
    found = describe_trained(file).variant
    if found != variant:
        raise WeightsError(
            f"{file} holds weights of {found}, not of {variant}", fix=f"use --adapter {file}"
        )
    wanted = tensors_by_name(parts)
    with _opened(file) as content:
        here = {name for name in content.keys() if name.split(".")[0] in parts}  # noqa: SIM118
        if strange := sorted(here ^ set(wanted)):
            raise WeightsError(
                f'{file} does not fit this version of {variant}: "{strange[0]}" and '
                f"{len(strange) - 1} more differ",
                fix="train it again with this version of masa",
            )
        tensors = {name: _floats(content.get_tensor(name)) for name in wanted}
    for part, module in parts.items():
        own = {
            name.removeprefix(f"{part}."): tensor
            for name, tensor in tensors.items()
            if name.startswith(f"{part}.")
        }
        _fill(file, variant, module, own)


def _fill(file: Path, variant: str, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.shape != shapes[name]:
            raise WeightsError(
                f'{file} does not fit this version of {variant}: "{name}" has shape '
                f"{tuple(tensor.shape)} instead of {tuple(shapes[name])}",
                fix="train it again with this version of masa",
            )
    module.load_state_dict(tensors, strict=True, assign=True)


def _floats(tensor: Tensor) -> Tensor:
    """Half numbers, which save space in files, as float32; others as they are."""
    return tensor.float() if tensor.is_floating_point() else tensor


def tensors_by_name(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """All tensors of the parts, under the names they have in a file."""
    return {
        f"{part}.{name}": tensor
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def _opened(file: Path) -> Any:  # noqa: ANN401 - safetensors has no type for it
    try:
        return safe_open(file, framework="pt")
    except OSError as error:
        raise WeightsError(
            f"{file} cannot be read: {error.strerror or error}", fix="give a readable file"
        ) from None
    except SafetensorError as error:
        raise WeightsError(f"{file} is damaged or cut short: {error}", fix=_FIX) from None


def save_trained(
    file: Path,
    variant: str,
    parts: Mapping[str, nn.Module],
    about: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the parts of a network; the file has its name only once it is complete.

    Args:
        file: to write; replaced if it exists.
        variant: a name in `variants.VARIANTS`.
        parts: by the first component of the tensors' names ("backbone", "neck", ...).
        about: how it was trained, as JSON has it.
        dtype: of the numbers in the file.

    Raises:
        OutputError: it cannot be written.
    """
    save_tensors(file, variant, tensors_by_name(parts), about, dtype)


def save_tensors(
    file: Path,
    variant: str,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """The same for tensors by the names they have in the file."""
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in tensors.items()
    }
    facts = {VARIANT_KEY: variant, VERSION_KEY: __version__, ABOUT_KEY: json.dumps(about)}
    with PartFile(file) as part:
        part.write(save(dict(tensors), facts))
