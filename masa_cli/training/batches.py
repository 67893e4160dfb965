"""Batches of pairs, made by worker processes, and the processes that train on them together.

Batches come in the order of their numbers, whoever made them, so runs can be repeated and split.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta

import cv2
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from masa_cli.errors import SettingsError, SourceError
from masa_cli.models.device import choose_placement
from masa_cli.threads import keep_single_blas
from masa_cli.training.pairs import Pair, PairMaker, View

# A worker that says nothing for so long is taken for dead; the slowest images take seconds.
_BATCH_PATIENCE = 300.0  # seconds
# The first process validates while the others wait.
_GROUP_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """What is in a view.

    Attributes:
        boxes: (N, 4) float32 xyxy, pixels of the view.
        ids: (N,) int64, the same in both views of a pair.
        labels: (N,) int64, classes.
        ignored_boxes: (K, 4) float32 xyxy, where there may be more.
        ignored_labels: (K,) int64, of that class.
        lesson_scores: (C, K) float16, a teacher's at the first C cells; C is 0 without one.
        lesson_boxes: (C, 4) float16 xyxy, pixels of the view.
    """

    boxes: Tensor
    ids: Tensor
    labels: Tensor
    ignored_boxes: Tensor
    ignored_labels: Tensor
    lesson_scores: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    lesson_boxes: Tensor = field(default_factory=lambda: torch.empty(0, 4))

    @staticmethod
    def of(view: View) -> Instances:
        """Those of a view, as tensors."""
        columns = (
            *(view.boxes, view.ids, view.labels, view.ignored_boxes, view.ignored_labels),
            *(view.lesson.scores, view.lesson.boxes),
        )
        return Instances(*map(torch.from_numpy, columns))

    def to(self, device: torch.device) -> Instances:
        """The same, there."""
        return Instances(*(getattr(self, each.name).to(device) for each in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B pairs.

    Attributes:
        images: (2B, size, size, 3) uint8 RGB: B key views, then B reference views.
        keys: what is in each key view.
        references: what is in each reference view.
        seeds: of each pair.
        broken: what was said of images that could not be read.
    """

    images: Tensor
    keys: tuple[Instances, ...]
    references: tuple[Instances, ...]
    seeds: tuple[int, ...]
    broken: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.seeds)

    @staticmethod
    def of(pairs: Sequence[Pair]) -> Batch:
        """The pairs, as tensors."""
        keys, references = [pair.key for pair in pairs], [pair.reference for pair in pairs]
        return Batch(
            torch.stack([torch.from_numpy(view.image) for view in (*keys, *references)]),
            tuple(map(Instances.of, keys)),
            tuple(map(Instances.of, references)),
            tuple(pair.seed for pair in pairs),
            tuple(text for pair in pairs for text in pair.broken),
        )

    def to(self, device: torch.device) -> Batch:
        """The same, there."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            keys=tuple(each.to(device) for each in self.keys),
            references=tuple(each.to(device) for each in self.references),
        )

    def pin_memory(self) -> Batch:
        """The same, with images from where a GPU fetches them fastest."""
        return replace(self, images=self.images.pin_memory())


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all of a run.

    Attributes:
        rank: of this one, from 0.
        count: of all.
        device: where this one computes.
        dtype: of the numbers it computes with, where these may be short.
    """

    rank: int
    count: int
    device: torch.device
    dtype: torch.dtype

    @property
    def is_first(self) -> bool:
        """Whether this one writes and validates."""
        return self.rank == 0

    def share(self, numbers: range) -> range:
        """This process's part of the numbers, all parts as long."""
        length = len(numbers) // self.count
        return numbers[self.rank * length : (self.rank + 1) * length]

    def joined(self, network: nn.Module) -> nn.Module:
        """The network, whose gradients are the mean over all processes."""
        if self.count == 1:
            return network
        if self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(network, broadcast_buffers=self.device.type == "cuda")

    def any(self, value: bool) -> bool:
        """Whether it is so in any process; all must ask."""
        if self.count == 1:
            return value
        said = torch.tensor(int(value), device=self.device)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said.item())

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes; all must ask."""
        if self.count > 1:
            dist.all_reduce(values)
            values = values / self.count
        return values

    def together(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """The texts of all processes; all must ask."""
        if self.count == 1 or not self.any(bool(texts)):  # nearly always
            return texts
        parts: list[tuple[str, ...]] = [()] * self.count
        dist.all_gather_object(parts, texts)
        return tuple(text for part in parts for text in part)

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def processes(device: str, precision: str) -> Iterator[Processes]:
    """This process; where torchrun started it, with the others found.

    Args:
        device: auto, cpu, cuda or mps.
        precision: float32, bfloat16 or float16.

    Raises:
        SettingsError: as `choose_placement`, or there are more processes than GPUs.
    """
    chosen, dtype = choose_placement(device, precision)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, chosen, dtype)
        return
    if chosen.type == "cuda":
        local_rank = int(os.environ["LOCAL_RANK"])
        if local_rank >= torch.cuda.device_count():
            raise SettingsError(
                f"process {local_rank} has no GPU: this machine has {torch.cuda.device_count()}",
                fix="give torchrun as many --nproc-per-node as there are GPUs",
            )
        chosen = torch.device("cuda", local_rank)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_GROUP_PATIENCE)
    try:
        yield Processes(dist.get_rank(), count, chosen, dtype)
    finally:
        dist.destroy_process_group()


def not_yet(network: nn.Module) -> AbstractContextManager[None]:
    """Inside, gradients are summed up, but not yet exchanged."""
    if isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return nullcontext()


def read_batches(
    maker: PairMaker, numbers: Iterable[Sequence[int]], *, workers: int, pinned: bool
) -> Generator[Batch, None, None]:
    """Batches of the pairs of these numbers, in order.

    Args:
        maker: of the pairs.
        numbers: of the pairs in each batch.
        workers: processes that make them; 0: this one.
        pinned: whether the images are to travel to a GPU.

    Raises:
        SourceError: no pair can be made, or a worker died.
    """
    loader = DataLoader(
        _Numbered(maker),
        batch_sampler=[list(part) for part in numbers],
        num_workers=workers,
        collate_fn=Batch.of,
        pin_memory=pinned,
        timeout=_BATCH_PATIENCE if workers else 0,
        worker_init_fn=_set_up_worker,
        # A fork would copy the locks of torch's and OpenCV's threads, and could wait forever.
        multiprocessing_context="spawn" if workers else None,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        raise SourceError(
            f"a process that makes views died: {error}",
            fix="use fewer --workers, or more memory; --resume goes on",
        ) from error


class _Numbered(Dataset[Pair]):
    """Pairs by their number."""

    def __init__(self, maker: PairMaker) -> None:
        self._maker = maker

    def __getitem__(self, number: int) -> Pair:
        return self._maker.make(number)


def _set_up_worker(number: int) -> None:
    cv2.setNumThreads(0)
    keep_single_blas()
    # Ctrl-C reaches all processes of a terminal; this one ends when the run does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
