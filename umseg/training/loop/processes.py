"""The processes that train together, as ``torchrun`` starts them, and what they tell each other."""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from umseg.common.errors import UserError
from umseg.models.device import resolve_device

LONGEST_WAIT = timedelta(days=1)
"""Of one process for the others: one of them scores a fold while the others wait for the next fold."""


@dataclass(frozen=True)
class Processes:
    """This process and the others; alone, nothing is exchanged.

    Attributes:
        rank: Number of this process.
        count: How many there are.
        local_rank: Number of this process on its machine, and of its GPU.
        local_count: How many there are on its machine.
        host: Group for what the host must know at once, over the network and not over the GPUs.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    host: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Like ``resolve_device``; of several processes on a machine each has a GPU of its own."""
        if self.count > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            name = f"cuda:{self.local_rank}"
        return resolve_device(name)

    def share(self, samples: int) -> range:
        """The samples of a batch that are this process's; shares differ by one at most.

        Raises:
            UserError: There are fewer samples than processes.
        """
        if samples < self.count:
            raise UserError(
                "A batch cannot be split over so many processes.",
                found=f"batch {samples}, {self.count} processes",
                expected="at least one sample for each",
                remedy=f"Train with --batch-size {self.count} or more, or with fewer processes.",
            )
        return even_parts(samples, self.count)[self.rank]

    def total(self, value: Tensor) -> Tensor:
        """Sum over all processes, for a loss.

        The gradient is that of this process's part, times the number of processes: the mean over the processes, which
        DistributedDataParallel takes of all gradients, is then the gradient of the sum.
        """
        if self.count == 1:
            return value
        mine = value.detach()
        summed = mine.clone()
        dist.all_reduce(summed)
        return self.count * value + (summed - self.count * mine)

    def sum_(self, value: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; asked by all of them. Does not wait for a GPU."""
        if self.count == 1:
            return flag
        answer = torch.tensor([int(flag)])
        dist.all_reduce(answer, dist.ReduceOp.MAX, group=self.host)
        return bool(answer.item())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier(group=self.host)


def even_parts(samples: int, parts: int) -> list[range]:
    """0 to ``samples`` - 1 in consecutive parts; the first ones hold one more where it does not divide."""
    least, larger = divmod(samples, parts)
    ends = [part * least + min(part, larger) for part in range(parts + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


def environment() -> Processes:
    """What ``torchrun`` says in the environment; without it, this process is alone."""
    number = {name: int(os.environ.get(name, default)) for name, default in _ENVIRONMENT.items()}
    return Processes(number["RANK"], number["WORLD_SIZE"], number["LOCAL_RANK"], number["LOCAL_WORLD_SIZE"])


_ENVIRONMENT = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}


@contextmanager
def joined(processes: Processes, device: torch.device) -> Iterator[Processes]:
    """Connect the processes, which stay connected to the end of the program.

    Raises:
        UserError: In the block, another process ended before its time.
    """
    if processes.count == 1:
        yield processes
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        yield replace(processes, host=_connect("nccl" if device.type == "cuda" else "gloo"))
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        raise UserError(
            "Another of the processes that train together has ended.",
            found=str(error).splitlines()[0],
            remedy="Its own message says why. The same command continues from the last checkpoint.",
        ) from error


@lru_cache(maxsize=1)
def _connect(backend: str) -> Any:
    """The group of ``Processes.host``. Once per program: torch finds the addresses of an earlier group again."""
    # Kernels of one voxel have two equal memory layouts, and torch names both.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    atexit.register(dist.destroy_process_group)
    return dist.new_group(backend="gloo", timeout=LONGEST_WAIT)


def _is_lost(error: Exception) -> bool:
    words = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
    return any(word in str(error) for word in words)
