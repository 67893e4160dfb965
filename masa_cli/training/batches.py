"""Pairs become tensors, in processes of their own, and come in the order of their numbers."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from masa_cli.errors import SourceError
from masa_cli.training.pairs import Pair, PairMaker, View

# A worker that says nothing for so long is taken for dead; the slowest images take seconds.
_PATIENCE = 300.0  # seconds


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """What is in a view.

    Attributes:
        boxes: (N, 4) float32 xyxy, pixels of the view.
        ids: (N,) int64, the same in both views of a pair.
        labels: (N,) int64, classes.
        ignored_boxes: (K, 4) float32 xyxy, where there may be more.
        ignored_labels: (K,) int64, of that class.
    """

    boxes: Tensor
    ids: Tensor
    labels: Tensor
    ignored_boxes: Tensor
    ignored_labels: Tensor

    @staticmethod
    def of(view: View) -> Instances:
        """Those of a view, as tensors."""
        columns = (view.boxes, view.ids, view.labels, view.ignored_boxes, view.ignored_labels)
        return Instances(*map(torch.from_numpy, columns))

    def to(self, device: torch.device) -> Instances:
        """The same, there."""
        return Instances(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B pairs.

    Attributes:
        pictures: (2B, size, size, 3) uint8 RGB: B key views, then B reference views.
        keys: what is in each key view.
        references: what is in each reference view.
        seeds: of each pair.
        broken: what was said of images that could not be read.
    """

    pictures: Tensor
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
            pictures=self.pictures.to(device, non_blocking=True),
            keys=tuple(each.to(device) for each in self.keys),
            references=tuple(each.to(device) for each in self.references),
        )

    def pin_memory(self) -> Batch:
        """The same, with pictures from where a GPU fetches them fastest."""
        return replace(self, pictures=self.pictures.pin_memory())


class _Numbered(Dataset[Pair]):
    """Pairs by their number."""

    def __init__(self, maker: PairMaker) -> None:
        self._maker = maker

    def __getitem__(self, number: int) -> Pair:
        return self._maker.make(number)


def read_batches(
    maker: PairMaker, numbers: Iterable[Sequence[int]], *, workers: int, pinned: bool
) -> Generator[Batch, None, None]:
    """Batches of the pairs of these numbers, in order.

    Args:
        maker: of the pairs.
        numbers: of the pairs in each batch.
        workers: processes that make them; 0: this one.
        pinned: whether the pictures are to travel to a GPU.

    Raises:
        SourceError: no pair can be made, or a worker died.
    """
    loader = DataLoader(
        _Numbered(maker),
        batch_sampler=[list(part) for part in numbers],
        num_workers=workers,
        collate_fn=Batch.of,
        pin_memory=pinned,
        timeout=_PATIENCE if workers else 0,
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


def _set_up_worker(number: int) -> None:
    cv2.setNumThreads(0)
    # Ctrl-C reaches all processes of a terminal; this one ends when the run does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
