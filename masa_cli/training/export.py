"""What training leaves behind: one file that an adapter is built from, and says how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from masa_cli import __version__
from masa_cli.formats.part_file import PartFile
from masa_cli.models.trained_file import ABOUT_KEY, VARIANT_KEY, VERSION_KEY, tensors_by_name


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
