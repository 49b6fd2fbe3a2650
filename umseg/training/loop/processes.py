"""The processes that train together, as ``torchrun`` starts them, and how they communicate."""

from __future__ import annotations

import atexit
import logging
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
from umseg.common.processes.patience import said_when_slow
from umseg.models.device import resolve_device

log = logging.getLogger(__name__)

LONGEST_WAIT = timedelta(days=1)
"""Time that a process waits for the others: one of them scores a fold while the others wait for the next fold."""
LONGEST_STEP = timedelta(minutes=30)
"""Time that a process waits for the others within a step, which all make at once."""


@dataclass(frozen=True)
class Processes:
    """This process and the others; a single process exchanges nothing.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
        local_rank: Number of this process on its machine, and of its GPU.
        local_count: Number of processes on this machine.
        host: Process group for values that the host needs at once; it works over the network, not over the GPUs.
        patient: Process group that waits for processes which work on something of their own.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    host: Any = None
    patient: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Like ``resolve_device``, but each of several processes on a machine gets its own GPU."""
        if self.count > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            name = f"cuda:{self.local_rank}"
        return resolve_device(name)

    def share(self, samples: int) -> range:
        """The samples of a batch that belong to this process; the shares differ by one at most.

        Raises:
            UserError: There are fewer samples than processes.
        """
        if samples < self.count:
            raise UserError(
                "The batch has fewer samples than there are processes.",
                found=f"batch size {samples}, {self.count} processes",
                expected="at least one sample per process",
                remedy=f"Train with --batch-size {self.count} or more, or with fewer processes.",
            )
        return even_parts(samples, self.count)[self.rank]

    def total(self, value: Tensor) -> Tensor:
        """Sum over all processes, for a loss.

        The gradient is that of this process's part, times the number of processes. The mean over the processes, which
        DistributedDataParallel takes of all gradients, is then the gradient of the sum.
        """
        if self.count == 1:
            return value
        local = value.detach()
        summed = local.clone()
        dist.all_reduce(summed)
        return self.count * value + (summed - self.count * local)

    def sum_(self, value: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process. All processes have to ask; none waits for a GPU."""
        if self.count == 1:
            return flag
        answer = torch.tensor([int(flag)])
        dist.all_reduce(answer, dist.ReduceOp.MAX, group=self.host)
        return bool(answer.item())

    def wait(self) -> None:
        """Wait until all processes have arrived here."""
        if self.count > 1:
            with said_when_slow(log, "waiting for the other processes of this training"):
                dist.barrier(group=self.patient)


def even_parts(samples: int, parts: int) -> list[range]:
    """The numbers 0 to ``samples`` - 1 in consecutive parts; the first parts hold one more if they cannot be equal."""
    size, remainder = divmod(samples, parts)
    ends = [part * size + min(part, remainder) for part in range(parts + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


def environment() -> Processes:
    """The processes that ``torchrun`` describes in the environment; without it this process alone."""
    number = {name: int(os.environ.get(name, default)) for name, default in _ENVIRONMENT.items()}
    return Processes(number["RANK"], number["WORLD_SIZE"], number["LOCAL_RANK"], number["LOCAL_WORLD_SIZE"])


_ENVIRONMENT = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}


@contextmanager
def joined(processes: Processes, device: torch.device) -> Iterator[Processes]:
    """Connect the processes, which stay connected until the program ends.

    Raises:
        UserError: Another process ended during the block.
    """
    if processes.count == 1:
        yield processes
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        host, patient = _connect("nccl" if device.type == "cuda" else "gloo")
        yield replace(processes, host=host, patient=patient)
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        raise UserError(
            "Another process of this training has ended or does not answer.",
            found=str(error).splitlines()[0],
            remedy="See that process's own message. The same command resumes from the last checkpoint.",
        ) from error


@lru_cache(maxsize=1)
def _connect(backend: str) -> tuple[Any, Any]:
    """The groups ``Processes.host`` and ``Processes.patient``.

    They are created once per program: torch would reuse the addresses of earlier ones.
    """
    # Kernels of one voxel have two equivalent memory layouts, about which torch warns.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    dist.init_process_group(backend, timeout=LONGEST_STEP)
    atexit.register(dist.destroy_process_group)
    return dist.new_group(backend="gloo", timeout=LONGEST_STEP), dist.new_group(backend="gloo", timeout=LONGEST_WAIT)


_LOST = ("Timed out", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


def _is_lost(error: Exception) -> bool:
    return any(phrase in str(error) for phrase in _LOST)
