"""Published weights files: read without running what they hold, translated, loaded whole."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from masa_cli.errors import WeightsError
from masa_cli.models.published_keys import OPTIONS, Origin, recognise, translate
from masa_cli.models.trained_weights import describe_trained, is_trained_file, load_trained

# Files of mmengine hold more than weights: the configuration and records of training, pickled as
# objects of these packages (methods among them, by way of getattr). We need none of it, so each is
# replaced by a stand-in that does nothing. Any other name makes the file refused.
_INERT_PACKAGES = {"mmengine", "mmcv", "mmdet", "numpy"}
_INERT_NAMES = {"builtins.getattr", "__builtin__.getattr"}
_DICTS = {"mmengine.config.config.ConfigDict"}
_PICKLE_MAGIC, _ZIP_MAGIC = b"\x80", b"PK\x03\x04"


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a published file by name, without a leading "module.".

    Nothing in the file is run. Tensors stay in the file until they are used, where it allows.

    Args:
        file: a bare dict of tensors, or one under "state_dict" (mmengine) or "model".

    Raises:
        WeightsError: it cannot be read, is cut short, no file of weights, or holds code.
    """
    content = _read(file)
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not (
        isinstance(content, Mapping)
        and content
        and all(isinstance(value, Tensor) for value in content.values())
    ):
        raise _no_weights(file, "it holds no tensors by name")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def recognise_file(file: Path) -> str:
    """The variant whose weights are in a file, published or trained by us.

    Raises:
        WeightsError: as `read_weights`, or there is no such variant.
    """
    if is_trained_file(file):
        return describe_trained(file).variant
    variant = _recognised(read_weights(file))
    if variant is None:
        raise _no_weights(file, "its tensors are those of no variant of MASA")
    return variant


def load_parts(file: Path, variant: str, parts: Mapping[str, nn.Module]) -> None:
    """Fill parts of a network with the published weights of a variant, or with trained ones.

    Args:
        file: the published file, or one of `trained_weights`.
        variant: a name in `published_keys.RULES`, or that of the trained file.
        parts: by the first component of our names ("backbone", "neck", ...); each is filled
            whole, and takes all that the file has of it. Parts that are not asked for stay out.

    Raises:
        WeightsError: as `read_weights`, or names or shapes are not those of the variant.
    """
    if is_trained_file(file):
        load_trained(file, variant, parts)
        return
    weights = read_weights(file)
    origins, unknown = translate(variant, weights)
    ours = {name: origin for name, origin in origins.items() if name.split(".")[0] in parts}
    wanted = dict(_tensors(parts))
    missing = [name for name in wanted if name not in ours]
    strange = [*unknown, *(ours[name].name for name in ours if name not in wanted)]
    if missing or strange:
        raise _other_names(file, variant, missing, strange, _recognised(weights))
    misshapen = [name for name in ours if weights[ours[name].name].shape != wanted[name].shape]
    if misshapen:
        raise _other_shapes(file, variant, weights, wanted, ours, misshapen)
    for part, module in parts.items():
        tensors = {
            name.removeprefix(f"{part}."): _ordered(weights[origin.name], origin)
            for name, origin in ours.items()
            if name.startswith(f"{part}.")
        }
        module.load_state_dict(tensors | _counters(module), strict=True, assign=True)


class _Inert:
    """Stands in for an object of a class we do not have: takes everything, does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _read(file: Path) -> Any:  # noqa: ANN401 - whatever was pickled
    """What torch finds in the file; any failure becomes a WeightsError."""
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(_ZIP_MAGIC))
        is_zip = zipfile.is_zipfile(file)
        if magic == _ZIP_MAGIC and not is_zip:
            raise EOFError
        if not is_zip and not magic.startswith(_PICKLE_MAGIC):
            raise _no_weights(file, f"it begins with {magic!r}")
        # Only archives tell what they ask for; the older format of torch gets no stand-ins.
        stand_ins = _stand_ins(file) if is_zip else []
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except OSError as error:
        raise WeightsError(
            f"{file} cannot be read: {error.strerror or error}", fix="give a readable file"
        ) from None
    except pickle.UnpicklingError as error:
        if "truncated" not in str(error):
            raise _refused(file, "more than weights") from None
        raise _cut_short(file) from None
    except (EOFError, RuntimeError):
        raise _cut_short(file) from None


def _stand_ins(file: Path) -> list[Any]:
    """What to put in place of the names that an archive asks for, nothing of which is run.

    Raises:
        WeightsError: it asks for what no weights file needs.
    """
    names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    for name in names:
        if name.split(".")[0] not in _INERT_PACKAGES and name not in _INERT_NAMES:
            raise _refused(file, name)
    return [(OrderedDict if name in _DICTS else _Inert, name) for name in names]


def _refused(file: Path, wanted: str) -> WeightsError:
    return WeightsError(
        f"{file} is refused: when it is read, it asks for {wanted}, which could run code",
        fix="give a published file of MASA",
    )


def _cut_short(file: Path) -> WeightsError:
    size = file.stat().st_size
    return WeightsError(f"{file} is damaged or cut short, at {size} bytes", fix="download it again")


def _no_weights(file: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{file} is no file of weights that masa knows: {reason}",
        fix="give a published file of MASA",
    )


def _other_names(
    file: Path, variant: str, missing: list[str], strange: list[str], other: str | None
) -> WeightsError:
    found = [
        f"{verb} {_first(names)}" for verb, names in (("lacks", missing), ("has", strange)) if names
    ]
    return WeightsError(
        f"{file} does not hold the weights of variant {variant}: it {' and '.join(found)}",
        fix=f"these are weights of {other}: use {OPTIONS[other]} {other}"
        if other and other != variant
        else f"give the published file of {variant}",
    )


def _other_shapes(
    file: Path,
    variant: str,
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    ours: Mapping[str, Origin],
    misshapen: list[str],
) -> WeightsError:
    found, expected = (
        tuple(tensor.shape) for tensor in (weights[ours[misshapen[0]].name], wanted[misshapen[0]])
    )
    names = _first([ours[name].name for name in misshapen])
    other = _recognised(weights)
    return WeightsError(
        f"{file} does not fit variant {variant}: other shapes of {names}, first {found} instead "
        f"of {expected}",
        fix=f"these are weights of {other}: use {OPTIONS[other]} {other}"
        if other and other != variant
        else f"give the published file of {variant}",
    )


def _first(names: list[str]) -> str:
    """The first name, and how many more there are."""
    return f'"{names[0]}"' + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _recognised(weights: Mapping[str, Tensor]) -> str | None:
    return recognise({name: tuple(tensor.shape) for name, tensor in weights.items()})


def _tensors(parts: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """All tensors of the parts by our full names, but for counters of training steps."""
    for part, module in parts.items():
        for name, tensor in module.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                yield f"{part}.{name}", tensor


def _counters(module: nn.Module) -> dict[str, Tensor]:
    """Counters of training steps, from zero: only training goes on from them."""
    names = module.state_dict()
    return {name: torch.tensor(0) for name in names if name.endswith("num_batches_tracked")}


def _ordered(tensor: Tensor, origin: Origin) -> Tensor:
    """The tensor with the order of its last axis that our module expects."""
    return tensor[..., origin.order(tensor.shape[-1])] if origin.order else tensor
