"""OpenVINO's graphs: made of networks, compiled, and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from queue import LifoQueue
from typing import Any

import torch
from torch import nn

from masa_cli import __version__
from masa_cli.weights.manifest import folders

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_GRAPH, _DIGESTS = "graph.xml", "digests.json"
_MAX_BYTES = 4 << 30  # that all graphs may take: those of the five published adapters, twice

logger = logging.getLogger(__name__)


@cache
def openvino() -> Any:  # noqa: ANN401 - a module
    """OpenVINO, without the tools beside it: these open a socket as soon as they are imported."""
    tools = "openvino.tools.ovc"
    is_known = tools in sys.modules
    if not is_known:
        sys.modules[tools] = None  # type: ignore[assignment] # as if it were not there
    try:
        import openvino
    finally:
        if not is_known:
            del sys.modules[tools]
    return openvino


@cache
def core() -> Any:  # noqa: ANN401
    """OpenVINO's only one in this process."""
    return openvino().Core()


class Requests:
    """What computes a compiled graph: as many requests as callers may ask at a time.

    Args:
        program: an openvino.CompiledModel.
        callers: how many.
    """

    def __init__(self, program: Any, callers: int) -> None:  # noqa: ANN401
        # The last one used is the first one lent: a caller alone needs the memory of one alone.
        self._free: LifoQueue[Any] = LifoQueue()
        for _ in range(callers):
            self._free.put(program.create_infer_request())

    @contextmanager
    def lent(self) -> Iterator[Any]:
        """An openvino.InferRequest for nobody else, as it computes one thing at a time."""
        request = self._free.get()
        try:
            yield request
        finally:
            self._free.put(request)


def compiled(graph: Any, precision: str, threads: int, callers: int = 1) -> Requests:  # noqa: ANN401
    """What computes an openvino.Model on the CPU.

    Args:
        graph: the model.
        precision: bfloat16, or else float32.
        threads: that compute what one caller asks for.
        callers: that may ask at a time.
    """
    hint = openvino().properties.hint
    program = core().compile_model(
        graph,
        "CPU",
        {
            hint.inference_precision(): _HINTS.get(precision, "f32"),
            hint.performance_mode(): hint.PerformanceMode.LATENCY,
            openvino().properties.num_streams(): callers,
            openvino().properties.inference_num_threads(): threads * callers,
            # Pinned to their cores, threads would wait for whoever else works there.
            hint.enable_cpu_pinning(): False,
        },
    )
    return Requests(program, callers)


def convert(network: nn.Module, example: Sequence[Any], sizes: Any) -> Any:  # noqa: ANN401
    """The graph of a network for inputs of these sizes; None: of those of the example alone."""
    openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with _quiet():
        program = torch.export.export(
            network,
            tuple(example),
            dynamic_shapes=sizes,
            strict=False,
        )
        # `openvino.convert_model` does the same, and tells its makers of it.
        decoder = TorchFXPythonDecoder.from_exported_program(program)
        frontend = FrontEndManager().load_by_framework("pytorch")
        return frontend.convert(frontend.load(decoder))


def with_channels_last(graph: Any, which: Sequence[bool]) -> Any:  # noqa: ANN401
    """The graph, which is changed, for those inputs as (B, H, W, C) instead of (B, C, H, W)."""
    if not any(which):
        return graph
    from openvino.preprocess import PrePostProcessor

    layout = openvino().Layout
    changed = PrePostProcessor(graph)
    for index in (index for index, is_asked in enumerate(which) if is_asked):
        changed.input(index).tensor().set_layout(layout("NHWC"))
        changed.input(index).model().set_layout(layout("NCHW"))
    return changed.build()


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, the root logger, which libraries should leave alone, says nothing."""
    root, nothing = logging.getLogger(), logging.NullHandler()
    was, root.disabled = root.disabled, True
    root.addHandler(nothing)  # or `logging.warning` gives it one that prints all from then on
    try:
        yield
    finally:
        root.removeHandler(nothing)
        root.disabled = was


# The cache: a folder for each graph, renamed to its name when it is complete.


def cache_folder() -> Path:
    """Where converted graphs are kept."""
    return folders()[-1].with_name("openvino")


def name_of(network: nn.Module, part: str, precision: str, sizes: Sequence[object]) -> str:
    """Of the folder of a graph: tells all that it depends on.

    Args:
        network: that is converted.
        part: what it is.
        precision: that it is computed in.
        sizes: of its inputs, where it holds for no others.
    """
    digest = hashlib.blake2b(digest_size=16)
    versions = [metadata.version(each) for each in ("torch", "torchvision", "openvino")]
    digest.update(repr([part, precision, sizes, __version__, versions, _digest_of_code()]).encode())
    digest.update(repr(network).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return f"{part.replace(' ', '-')}-{digest.hexdigest()}"


@cache
def _digest_of_code() -> str:
    """Of all modules that networks are made of."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def read(folder: Path) -> Any | None:  # noqa: ANN401
    """The graph in a folder; None where there is none, or not the one that was written."""
    if not folder.exists():
        return None
    try:
        digests = json.loads((folder / _DIGESTS).read_text(encoding="utf-8"))
        if digests != _digests_of(folder):
            raise ValueError("changed since it was written")
        graph = openvino().Core().read_model(folder / _GRAPH)
        os.utime(folder)  # it was used: others are removed first
    except (OSError, ValueError, RuntimeError) as error:
        logger.debug("%s cannot be used: %s", folder, error)
    else:
        return graph
    shutil.rmtree(folder, ignore_errors=True)
    return None


def keep(graph: Any, folder: Path) -> None:  # noqa: ANN401
    """Write a graph; where that is not possible, it is made again next time."""
    part: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
        openvino().save_model(graph, part / _GRAPH, compress_to_fp16=False)
        (part / _DIGESTS).write_text(json.dumps(_digests_of(part)), encoding="utf-8")
        os.rename(part, folder)  # fails where another process was quicker
        _make_room(folder)
    except (OSError, RuntimeError) as error:
        logger.debug("%s is not kept: %s", folder, error)
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _make_room(kept: Path) -> None:
    """Remove the graphs that were not used for longest, until all take no more than they may."""
    others = [each for each in kept.parent.iterdir() if each.is_dir() and each != kept]
    left = _MAX_BYTES - _size(kept)
    for folder in sorted(others, key=lambda each: each.stat().st_mtime, reverse=True):
        left -= _size(folder)
        if left < 0:
            shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> int:
    """Of its files, bytes."""
    return sum(file.stat().st_size for file in folder.iterdir())


def _digests_of(folder: Path) -> dict[str, str]:
    """Of the files of a graph."""
    digests = {}
    for file in (folder / _GRAPH, (folder / _GRAPH).with_suffix(".bin")):
        digest = hashlib.blake2b(digest_size=16)
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                digest.update(part)
        digests[file.name] = digest.hexdigest()
    return digests
