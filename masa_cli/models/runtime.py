"""What computes networks: torch, or on a CPU OpenVINO, which takes half the time.

A network is converted part by part, once: graphs lie in masa's folder of the user's cache, named by
their weights, by all that made them, and by the precision. A part that OpenVINO cannot convert, or
for which it computes something else, stays in torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from masa_cli import __version__
from masa_cli.errors import SettingsError
from masa_cli.weights.manifest import folders

RUNTIMES = ("auto", "torch", "openvino")

# Gives inputs of two images, of a size at which no side of any map is 1: what is 1 in the example
# is taken for a constant.
Example = Callable[[], Sequence[Tensor | Sequence[Tensor]]]

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_MOST_SIZES = 4  # of inputs, each compiled by itself; further ones share a slower, flexible graph
_TOLERANCE = 1e-3  # share of the largest number; float noise is a hundred times less
_GRAPH, _DIGESTS = "graph.xml", "digests.json"
_MAX_BYTES = 4 << 30  # that all graphs may take: those of the five published adapters, twice
# What a foreign converter stumbles over.
_REFUSALS = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    ImportError,
)

logger = logging.getLogger(__name__)


def choose_runtime(name: str, device: torch.device) -> str:
    """What shall compute networks on a device: "torch" or "openvino".

    Raises:
        SettingsError: an unknown name, or it cannot work here.
    """
    if name not in RUNTIMES:
        raise SettingsError(f'unknown runtime "{name}"', fix=f"use one of: {', '.join(RUNTIMES)}")
    is_installed = find_spec("openvino") is not None
    if name == "auto":
        return "openvino" if device.type == "cpu" and is_installed else "torch"
    if name == "openvino" and device.type != "cpu":
        raise SettingsError(
            f"runtime openvino computes on the cpu, not on {device.type}",
            fix="use device cpu, or runtime torch",
        )
    if name == "openvino" and not is_installed:
        raise SettingsError("OpenVINO is not installed", fix="pip install openvino")
    return name


@cache
def computes_bfloat16() -> bool:
    """Whether this machine's CPU has instructions for it; without, it is slower than float32."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class Converted(nn.Module):
    """A network that OpenVINO computes, or torch where that is not possible.

    Args:
        network: evaluates only. It takes tensors or lists of tensors, and gives tensors.
        part: what it is, for messages and for the cache.
        example: of its inputs, all in one sequence.
        precision: float32 or bfloat16; what goes in and comes out is float32.
        varies: whether the sizes of inputs differ from call to call, as numbers of boxes do.
        is_one: whether the network gives one tensor, and no list of them.
        of_one_size: whether each size of inputs is converted by itself: for networks that have
            sizes worked into them, as transformers do. Then the example is not needed.
        of_convolutions: whether no size is worked into it, so that a graph of the example's sizes
            holds for all. With sizes as symbols, tracing takes ten times as long.
        preparing: gives what is entered while the network is converted or compiled.
        threads: that compute it, whoever asks; None: as many as torch has now.
    """

    def __init__(
        self,
        network: nn.Module,
        part: str,
        example: Example,
        precision: str,
        *,
        varies: bool = False,
        is_one: bool = False,
        of_one_size: bool = False,
        of_convolutions: bool = False,
        preparing: Callable[[], AbstractContextManager[None]] = nullcontext,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._part, self._example, self._precision = part, example, precision
        self._varies, self._is_one, self._of_one_size = varies, is_one, of_one_size
        self._of_convolutions, self._preparing = of_convolutions, preparing
        self._threads = threads or torch.get_num_threads()
        self._graph: Any = None  # an openvino.Model; None: not asked for yet
        self._in_torch = False
        self._requests: dict[tuple[tuple[int, ...], ...] | None, Any] = {}  # by sizes
        self._lock = Lock()  # a request computes one thing at a time

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as in every module
        """What else is asked of the network, as parts of it that are not converted."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def forward(self, *inputs: Tensor | Sequence[Tensor]) -> Any:  # noqa: ANN401 - as the network
        """What the network gives: a tensor, or a list or tuple of them."""
        if not self._in_torch:
            flat = [x.float().contiguous() for x in _flat(inputs)]
            try:
                with self._lock:
                    return self._computed(flat, inputs)
            except _REFUSALS as refusal:
                self._stay_in_torch(str(refusal))
        like = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), None)
        with _torch_threads(self._threads):
            return self.network(*_cast(inputs, like))

    def _computed(self, flat: list[Tensor], inputs: Sequence[Any]) -> Any:  # noqa: ANN401
        """What OpenVINO gives."""
        sizes = tuple(tuple(x.shape) for x in flat)
        if self._of_one_size and sizes not in self._requests:
            if len(self._requests) >= _MOST_SIZES:
                raise ValueError("inputs of too many sizes")
            self._graph = None
        if self._graph is None:
            as_built = _torch_threads(self._threads)
            with self._preparing(), as_built, torch.inference_mode(False), torch.no_grad():
                self._graph = self._load_or_convert(flat, inputs)
        key = None if self._varies or len(self._requests) >= _MOST_SIZES else sizes
        key = sizes if sizes in self._requests else key
        if key not in self._requests:
            with self._preparing():
                self._requests[key] = _request(self._graph, key, self._precision, self._threads)
        found = _infer(self._requests[key], flat, is_fixed=key is not None)
        return found[0] if self._is_one else found

    def _load_or_convert(self, flat: list[Tensor], inputs: Sequence[Any]) -> Any:  # noqa: ANN401
        is_float = self._precision == "float32"
        network = self.network if is_float else deepcopy(self.network).float()
        known = [tuple(x.shape) for x in flat] if self._of_one_size else ["any size"]
        folder = cache_folder() / _name_of(network, self._part, self._precision, known)
        if (graph := _read(folder)) is not None:
            return graph
        logger.info("converting %s for OpenVINO, once", self._part)
        example = inputs if self._of_one_size else self._example()
        is_of_these = self._of_one_size or self._of_convolutions
        graph = _convert(network, example, None if is_of_these else _any_size(example))
        if self._of_convolutions:
            graph.reshape({index: _loose(x) for index, x in enumerate(_flat(example))})
        sizes = None if self._varies or self._of_one_size else [tuple(x.shape) for x in flat]
        request = _request(graph, sizes, "float32", self._threads)
        found = _infer(request, flat, is_fixed=False)
        _check_same(_flat([network(*_cast(inputs, torch.float32))]), found)
        _keep(graph, folder)
        return graph

    def _stay_in_torch(self, reason: str) -> None:
        self._in_torch, self._graph = True, None
        self._requests.clear()
        logger.info("%s cannot be computed by OpenVINO here: it stays in torch", self._part)
        logger.debug("%s: %s", self._part, reason)


def one_thread_beside(network: nn.Module) -> AbstractContextManager[None]:
    """Inside, torch works on one thread if OpenVINO computes that network.

    Torch's threads go on spinning after each small piece of work, and OpenVINO's, which come next,
    would wait for cores. What of a network stays in torch has all threads nevertheless.
    """
    return _torch_threads(1) if isinstance(network, Converted) else nullcontext()


@contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cache_folder() -> Path:
    """Where converted graphs are kept."""
    return folders()[-1].with_name("openvino")


def _flat(inputs: Sequence[Any]) -> list[Tensor]:
    """All tensors in order, whatever lists they are in."""
    return [
        x for each in inputs for x in ([each] if isinstance(each, Tensor) else _flat(list(each)))
    ]


def _cast(inputs: Sequence[Any], dtype: torch.dtype | None) -> list[Any]:
    """The same tensors and lists of tensors in other numbers."""
    if dtype is None:
        return list(inputs)
    return [x.to(dtype) if isinstance(x, Tensor) else _cast(x, dtype) for x in inputs]


def _request(
    graph: Any,  # noqa: ANN401
    sizes: Sequence[Sequence[int]] | None,
    precision: str,
    threads: int,
) -> Any:  # noqa: ANN401
    """A compiled graph, for inputs of some sizes or of any."""
    if sizes is not None:
        graph = graph.clone()
        graph.reshape({index: list(size) for index, size in enumerate(sizes)})
    return compiled(graph, precision, threads)


def compiled(graph: Any, precision: str, threads: int) -> Any:  # noqa: ANN401 - of OpenVINO
    """What computes an openvino.Model on the CPU.

    Args:
        graph: the model.
        precision: bfloat16, or else float32.
        threads: that compute it.
    """
    hint = openvino().properties.hint
    program = _core().compile_model(
        graph,
        "CPU",
        {
            hint.inference_precision(): _HINTS.get(precision, "f32"),
            hint.performance_mode(): hint.PerformanceMode.LATENCY,
            openvino().properties.num_streams(): 1,
            openvino().properties.inference_num_threads(): threads,
            # Pinned to their cores, threads would wait for whoever else works there.
            hint.enable_cpu_pinning(): False,
        },
    )
    return program.create_infer_request()


def _infer(request: Any, inputs: Sequence[Tensor], *, is_fixed: bool) -> list[Tensor]:  # noqa: ANN401
    """Outputs in memory of their own; where sizes are fixed, it is written to at once."""
    ov = openvino()
    for index, x in enumerate(inputs):
        request.set_input_tensor(index, ov.Tensor(x.numpy(), shared_memory=True))
    outputs = request.model_outputs
    if not is_fixed:
        request.infer()
        found = [request.get_output_tensor(index).data for index in range(len(outputs))]
        return [torch.from_numpy(x.copy()) for x in found]
    own = [torch.empty(tuple(each.shape)) for each in outputs]
    for index, x in enumerate(own):
        request.set_output_tensor(index, ov.Tensor(x.numpy(), shared_memory=True))
    request.infer()
    return own


def _convert(network: nn.Module, example: Sequence[Any], sizes: Any) -> Any:  # noqa: ANN401
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


def _any_size(example: Sequence[Any]) -> tuple[Any, ...]:
    """All sides of inputs may change, but not the channels: second of maps, last of sequences."""
    auto = torch.export.Dim.AUTO
    return tuple(
        {axis: auto for axis, side in enumerate(_loose(x)) if side == -1}
        if isinstance(x, Tensor)
        else list(_any_size(x))
        for x in example
    )


def _loose(x: Tensor) -> list[int]:
    """Sides of an input, -1 for those that may change."""
    channels = 1 if x.ndim == 4 else max(1, x.ndim - 1)
    return [side if axis == channels else -1 for axis, side in enumerate(x.shape)]


def _check_same(expected: Sequence[Tensor], found: Sequence[Tensor]) -> None:
    """Raise ValueError unless OpenVINO computes what torch does."""
    for given, other in zip(expected, found, strict=True):
        one = given.float()
        limit = _TOLERANCE * max(1e-3, float(one.abs().max()) if one.numel() else 0.0)
        if one.shape != other.shape or not torch.allclose(one, other, rtol=0, atol=limit):
            raise ValueError("other numbers than torch's")


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
def _core() -> Any:  # noqa: ANN401
    return openvino().Core()


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


def _name_of(network: nn.Module, part: str, precision: str, sizes: Sequence[object]) -> str:
    """Of a graph: tells all that it depends on."""
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


def _read(folder: Path) -> Any | None:  # noqa: ANN401
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


def _keep(graph: Any, folder: Path) -> None:  # noqa: ANN401
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
