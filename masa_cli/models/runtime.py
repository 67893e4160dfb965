"""What computes networks: torch, or on a CPU OpenVINO, which takes half the time.

A network is converted part by part, once: graphs lie in masa's folder of the user's cache, named by
their weights, by all that made them, and by the precision. A part that OpenVINO cannot convert, or
for which it computes something else, stays in torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masa_cli.errors import SettingsError
from masa_cli.models.graphs import (
    Requests,
    cache_folder,
    compiled,
    convert,
    core,
    keep,
    name_of,
    openvino,
    read,
    with_channels_last,
)

RUNTIMES = ("auto", "torch", "openvino")

# Gives inputs of two images, of a size at which no side of any map is 1: what is 1 in the example
# is taken for a constant.
Example = Callable[[], Sequence[Tensor | Sequence[Tensor]]]

# What sizes of inputs are in a graph. "symbols": it holds for all. "free": so it does, as none is
# worked into the network, which is all convolutions; it is traced at those of the example, in a
# tenth of the time. "constants": it holds for these alone, and no example is needed; so with
# transformers.
Sizes: TypeAlias = Literal["symbols", "free", "constants"]


class _Form(NamedTuple):
    """Of an input: what a program is compiled for."""

    shape: tuple[int, ...]
    is_channels_last: bool = False


_Forms: TypeAlias = tuple[_Form, ...]

_MOST_SIZES = 4  # of inputs, each compiled by itself; further ones share a slower, flexible graph
_TOLERANCE = 1e-3  # share of the largest number; float noise is a hundred times less
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
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class Converted(nn.Module):
    """A network that OpenVINO computes, or torch where that is not possible.

    Args:
        network: evaluates only. It takes tensors or lists of tensors, and gives tensors.
        part: what it is, for messages and for the cache.
        example: of its inputs, all in one sequence.
        precision: float32 or bfloat16; what goes in and comes out is float32.
        varies: whether the sizes of inputs differ from call to call, as numbers of boxes do.
        is_one: whether the network gives one tensor, and no list of them.
        sizes: of inputs, what they are in the graph, one of `Sizes`.
        preparing: gives what is entered while the network is converted or compiled.
        callers: threads that may ask for it at a time; each is given a request of its own.
        threads: that compute what one of them asks for; None: as many as torch has now.
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
        sizes: Sizes = "symbols",
        preparing: Callable[[], AbstractContextManager[None]] = nullcontext,
        callers: int = 1,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._part, self._example, self._precision = part, example, precision
        self._varies, self._is_one = varies, is_one
        self._sizes, self._preparing = sizes, preparing
        self._callers, self._threads = callers, threads or torch.get_num_threads()
        self._graph: Any = None  # an openvino.Model; None: not asked for yet
        self._in_torch = False
        self._requests: dict[_Forms | None, Requests] = {}
        self._lock = Lock()  # of all that is made for all callers

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as in every module
        """What else is asked of the network, as parts of it that are not converted."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def forward(self, *inputs: Tensor | Sequence[Tensor]) -> Any:  # noqa: ANN401 - as the network
        """What the network gives: a tensor, or a list or tuple of them."""
        if not self._in_torch:
            flat = [x.float() for x in _flat(inputs)]
            try:
                return self._computed(flat, inputs)
            except _REFUSALS as refusal:
                self._stay_in_torch(str(refusal))
        like = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), None)
        with _torch_threads(self._threads):
            return self.network(*_cast(inputs, like))

    def _computed(self, flat: list[Tensor], inputs: Sequence[Any]) -> Any:  # noqa: ANN401
        """What OpenVINO gives."""
        with self._lock:
            requests, is_fixed = self._ready(flat, inputs)
        arrays = [_array(x, as_it_lies=is_fixed) for x in flat]
        with requests.lent() as request:
            found = _infer(request, arrays, is_fixed=is_fixed)
        return found[0] if self._is_one else found

    def _ready(self, flat: list[Tensor], inputs: Sequence[Any]) -> tuple[Requests, bool]:
        """What computes inputs like these, and whether it computes no others."""
        forms = tuple(_Form(tuple(x.shape), _is_channels_last(x)) for x in flat)
        if self._sizes == "constants" and forms not in self._requests:
            if len(self._requests) >= _MOST_SIZES:
                raise ValueError("inputs of too many sizes")
            self._graph = None
        if self._graph is None:
            as_built = _torch_threads(self._threads)
            with self._preparing(), as_built, torch.inference_mode(False), torch.no_grad():
                self._graph = self._load_or_convert(flat, inputs)
        key = None if self._varies or len(self._requests) >= _MOST_SIZES else forms
        key = forms if forms in self._requests else key
        if key not in self._requests:
            with self._preparing():
                self._requests[key] = self._compiled(self._graph, key, self._precision)
        return self._requests[key], key is not None

    def _compiled(self, graph: Any, forms: _Forms | None, precision: str) -> Requests:  # noqa: ANN401
        """Requests of a graph, for inputs of some forms or of any."""
        if forms is not None:
            graph = graph.clone()
            graph.reshape({index: list(form.shape) for index, form in enumerate(forms)})
            graph = with_channels_last(graph, [x.is_channels_last for x in forms])
        return compiled(graph, precision, self._threads, self._callers)

    def _load_or_convert(self, flat: list[Tensor], inputs: Sequence[Any]) -> Any:  # noqa: ANN401
        is_float = self._precision == "float32"
        network = self.network if is_float else deepcopy(self.network).float()
        shapes = tuple(tuple(x.shape) for x in flat)
        is_constant = self._sizes == "constants"
        known = shapes if is_constant else ("any size",)
        folder = cache_folder() / name_of(network, self._part, self._precision, known)
        if (graph := read(folder)) is not None:
            return graph
        logger.info("converting %s for OpenVINO, once", self._part)
        example = inputs if is_constant else self._example()
        graph = convert(network, example, _any_size(example) if self._sizes == "symbols" else None)
        if self._sizes == "free":
            graph.reshape({index: _loose(x) for index, x in enumerate(_flat(example))})
        own = None if self._varies or is_constant else tuple(_Form(shape) for shape in shapes)
        with self._compiled(graph, own, "float32").lent() as request:
            found = _infer(request, [_array(x) for x in flat], is_fixed=False)
        _check_same(_flat([network(*_cast(inputs, torch.float32))]), found)
        keep(graph, folder)
        return graph

    def _stay_in_torch(self, reason: str) -> None:
        with self._lock:
            if self._in_torch:
                return
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


def _is_channels_last(x: Tensor) -> bool:
    """Whether it is maps or images, (B, C, H, W), that lie in memory as (B, H, W, C)."""
    last = torch.channels_last
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=last)


def _array(x: Tensor, *, as_it_lies: bool = False) -> NDArray[Any]:
    """The same numbers in one run of memory; not copied, if channels may be the last axis."""
    own = x.permute(0, 2, 3, 1) if as_it_lies and _is_channels_last(x) else x.contiguous()
    array: NDArray[Any] = own.numpy()
    return array


def _infer(request: Any, inputs: Sequence[NDArray[Any]], *, is_fixed: bool) -> list[Tensor]:  # noqa: ANN401
    """Outputs in memory of their own; where sizes are fixed, it is written to at once."""
    ov = openvino()
    for index, x in enumerate(inputs):
        request.set_input_tensor(index, ov.Tensor(x, shared_memory=True))
    outputs = request.model_outputs
    if not is_fixed:
        request.infer()
        found = [request.get_output_tensor(index).data for index in range(len(outputs))]
        return [torch.from_numpy(x.copy()) for x in found]
    own = [torch.empty(tuple(each.shape)) for each in outputs]
    for index, output in enumerate(own):
        request.set_output_tensor(index, ov.Tensor(output.numpy(), shared_memory=True))
    request.infer()
    return own


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
