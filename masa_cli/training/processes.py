"""One process, or those that torchrun started: who is who, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from masa_cli.errors import SettingsError
from masa_cli.models.device import choose_placement

# The first process validates while the others wait.
_PATIENCE = timedelta(hours=6)


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


def not_yet(network: nn.Module) -> AbstractContextManager[None]:
    """Inside, gradients are summed up, but not yet exchanged."""
    if isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return nullcontext()


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
        place = int(os.environ["LOCAL_RANK"])
        if place >= torch.cuda.device_count():
            raise SettingsError(
                f"process {place} has no GPU: this machine has {torch.cuda.device_count()}",
                fix="give torchrun as many --nproc-per-node as there are GPUs",
            )
        chosen = torch.device("cuda", place)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(dist.get_rank(), count, chosen, dtype)
    finally:
        dist.destroy_process_group()
