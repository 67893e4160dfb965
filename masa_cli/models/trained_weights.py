"""Weights files of our own: one safetensors file, whole, whose header says which variant it is.

Unlike published files such a file has our own names, and nothing that could run. Its header fills
in measured constants where the variant's row allows it; it never changes what is built.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from masa_cli import __version__
from masa_cli.errors import WeightsError
from masa_cli.formats.files import PartFile
from masa_cli.models.variants import VARIANTS, Variant, find_variant
from masa_cli.tracking import SettingsChanges, in_current_names

SUFFIX = ".safetensors"
# What the header of a file says.
VARIANT_KEY, VERSION_KEY, ABOUT_KEY = "masa.variant", "masa.version", "masa.about"
# In what it says of how it was made: the classes it detects; constants of its row that were
# measured; changes to the settings of associations that its boxes need, by their names; of any
# object scale and offset of the logits, and these changes where they are others.
CLASSES_KEY, ADAPTER_KEY, ASSOCIATION_KEY = "classes", "adapter", "association"
OBJECTNESS_KEY, OBJECTS_ASSOCIATION_KEY = "objectness", "association of objects"
# What a row may leave to its file (`Variant.measured`), and where the header says it.
MEASURED = frozenset({CLASSES_KEY, "temperature", ASSOCIATION_KEY})
# Version 0.1.0 named two architectures "lite"; the second has these tensors. It wrote names of the
# architecture into the header, too, where they must be those of the row.
_LEARNED_HEAD = ("lite", "head.embedding.weight", "lite-learned")
_HEADS_OF_0_1 = MappingProxyType(
    {"stripes": "part-pooling", "white-stripes": "whitened-part-pooling"}
)
_FIX = "give a file that masa train wrote, such as best.safetensors"
_FIX_VERSION = "install the version of masa that made it, or train it again with this one"


@dataclass(frozen=True, slots=True)
class TrainedFile:
    """What such a file says of itself.

    Attributes:
        variant: a name in `variants.VARIANTS`.
        about: how it was made.
    """

    variant: str
    about: Mapping[str, Any]


def is_trained_file(file: Path) -> bool:
    """Whether a file's name says that it is one."""
    return file.suffix == SUFFIX


def describe_trained(file: Path) -> TrainedFile:
    """What a file says of itself.

    Raises:
        WeightsError: it cannot be read, is none of ours, or is made for another architecture than
            its variant's row.
    """
    with _opened(file) as content:
        facts, names = content.metadata() or {}, set(content.keys())
    variant = facts.get(VARIANT_KEY)
    if variant is None or variant not in VARIANTS:
        said = f'unknown variant "{variant}"' if variant else "it does not say which variant it is"
        raise WeightsError(f"{file} holds no weights that masa trained: {said}", fix=_FIX)
    before, mark, now = _LEARNED_HEAD
    if variant == before and mark in names:
        variant = now
    about = _read_about(file, facts.get(ABOUT_KEY, "{}"))
    _check_measured(file, variant, about)
    return TrainedFile(variant, about)


def _is_list_of(kind: type | tuple[type, ...], value: Any) -> bool:  # noqa: ANN401 - of JSON
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _are_changes(value: Any) -> bool:  # noqa: ANN401 - of JSON
    return isinstance(value, dict) and all(_is_list_of(str, each) for each in value.values())


# What has to stand under each key.
_FORMS: Mapping[str, tuple[str, Callable[[Any], bool]]] = MappingProxyType(
    {
        CLASSES_KEY: ("a list of names", lambda x: _is_list_of(str, x)),
        ADAPTER_KEY: ("an object", lambda x: isinstance(x, dict)),
        ASSOCIATION_KEY: ("lists of changes by name", _are_changes),
        OBJECTNESS_KEY: ("two numbers", lambda x: _is_list_of((int, float), x) and len(x) == 2),
        OBJECTS_ASSOCIATION_KEY: ("lists of changes by name", _are_changes),
    }
)


def _read_about(file: Path, text: str) -> dict[str, Any]:
    """What a header says of how the file was made; WeightsError where it cannot be that."""
    try:
        about = json.loads(text)
    except ValueError as error:
        raise WeightsError(f"the header of {file} is no JSON: {error}", fix=_FIX) from None
    if not isinstance(about, dict):
        raise WeightsError(f"the header of {file} must be an object of JSON", fix=_FIX)
    for key, (form, is_right) in _FORMS.items():
        if key in about and not is_right(about[key]):
            raise WeightsError(f'"{key}" in the header of {file} must be {form}', fix=_FIX)
    return about


def _check_measured(file: Path, variant: str, about: Mapping[str, Any]) -> None:
    """Raise WeightsError unless the header fills in only what the row leaves to the file."""
    row, constants = VARIANTS[variant], dict(about.get(ADAPTER_KEY, {}))
    filled = constants.keys() | (about.keys() & {CLASSES_KEY, ASSOCIATION_KEY})
    if "head" in constants:
        constants["head"] = _HEADS_OF_0_1.get(constants["head"], constants["head"])
    for name in sorted(filled - row.measured):
        wanted, own = constants.get(name), getattr(row, name, None)
        if wanted is None or wanted != own:
            instead = "" if own is None else f' "{wanted}" instead of "{own}"'
            raise WeightsError(
                f"{file} asks for another {name} than the row of {variant} has{instead}",
                fix=_FIX_VERSION,
            )


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


def objectness_of(file: Path) -> tuple[float, float]:
    """Scale and offset that make the logits of any object say what thresholds of boxes ask for.

    Measured when a detector is finished; its second stage reads these logits as they were learned.

    Raises:
        WeightsError: as `describe_trained`.
    """
    scale, offset = describe_trained(file).about.get(OBJECTNESS_KEY, (1.0, 0.0))
    return float(scale), float(offset)


def variant_in(name: str, file: Path | None) -> Variant:
    """The row of a variant, with the constants that were measured for a file of its weights.

    Raises:
        SettingsError: there is no such variant.
        WeightsError: as `describe_trained`.
    """
    row = find_variant(name)
    if file is None or not is_trained_file(file):
        return row
    constants = describe_trained(file).about.get(ADAPTER_KEY, {})
    return replace(row, **{key: constants[key] for key in constants.keys() & row.measured})


def default_changes(file: Path, *, of_objects: bool = False) -> SettingsChanges:
    """Changes to the settings of associations that its boxes and embeddings need.

    Args:
        file: of weights.
        of_objects: whether boxes are those of any object, not of classes.

    Raises:
        WeightsError: as `describe_trained`.
    """
    about = describe_trained(file).about
    changes: SettingsChanges = about.get(ASSOCIATION_KEY, {})
    if of_objects:
        changes = about.get(OBJECTS_ASSOCIATION_KEY, changes)
    return in_current_names(changes)


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
