"""What networks make of windows: one forward pass per network and flip."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from umseg.kernels.runtime.memory_format import channels_last
from umseg.models.device import autocast, place, resolve_precision

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pass:
    """One of the forward passes over which logits are averaged.

    Attributes:
        network: Number of the network.
        flips: Axes of the window that are mirrored, of three.
        member: Number of the sums to which the logits belong.
    """

    network: int
    flips: tuple[int, ...]
    member: int


def passes(networks: int, mirror_axes: Sequence[int], axes: int, separate: bool) -> tuple[Pass, ...]:
    """All combinations of flips and networks.

    Args:
        networks: Number of networks.
        mirror_axes: Axes of the patch that are mirrored.
        axes: Number of axes of the patch; two are rows and columns.
        separate: Whether each network, or each flip if there is one network, has sums of its own.
    """
    flips = [
        tuple(axis + 3 - axes for axis in combination)
        for count in range(len(mirror_axes) + 1)
        for combination in itertools.combinations(mirror_axes, count)
    ]
    return tuple(
        Pass(network, flip, 0 if not separate else network if networks > 1 else number)
        for number, flip in enumerate(flips)
        for network in range(networks)
    )


def members(every: Sequence[Pass]) -> int:
    """Number of sums that are kept apart."""
    return max(one.member for one in every) + 1


class Forward:
    """Networks in evaluation mode on a device.

    Args:
        networks: One per fold.
        flat: Whether the networks take slices.
        device: Device of the networks.
        precision: Number format of the convolutions.
    """

    def __init__(self, networks: Sequence[nn.Module], flat: bool, device: torch.device, precision: torch.dtype) -> None:
        self._networks, self._flat = networks, flat
        self.device, self.precision = device, precision

    def __call__(self, one: Pass, windows: Tensor) -> Tensor:
        """Logits (batch, classes, *patch) in the number format of the network's output.

        They are mirrored as the windows were; turning them back would take a copy.

        Args:
            one: The network and the flips.
            windows: (batch, channels, *patch) with three axes, on any device.
        """
        batch = windows.to(self.device, non_blocking=True)
        turned = batch.flip([axis + 2 for axis in one.flips]) if one.flips else batch
        with autocast(self.device, self.precision):
            logits: Tensor = self._networks[one.network](channels_last(turned.squeeze(2) if self._flat else turned))
        return logits.unsqueeze(2) if self._flat else logits

    def move_to_cpu(self) -> None:
        """Go on with copies of the networks on the CPU; the networks themselves stay where they are."""
        if self.precision == torch.float16:
            self.precision = resolve_precision("auto", CPU)
        self._networks = [place(copied(network, lambda tensor: tensor.to(CPU)), CPU) for network in self._networks]
        self.device = CPU


def copied(network: nn.Module, convert: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy of a network whose parameters and buffers are converted on the way, so that none exists twice."""
    known: dict[int, object] = {id(buffer): convert(buffer) for buffer in network.buffers()}
    for parameter in network.parameters():
        known[id(parameter)] = nn.Parameter(convert(parameter.detach()), requires_grad=False)
    return copy.deepcopy(network, known)
