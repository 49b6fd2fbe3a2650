"""Weights and checkpoints: what is saved of a network in training, and what is checked before it is loaded again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from umseg.common.errors import UserError
from umseg.common.text import by, few
from umseg.models.weights import check_shapes, check_weights
from umseg.training.optim.average import WeightAverage
from umseg.training.optim.muon import Muon
from umseg.training.saved.tensor_file import TensorFile, load_tensors, save_tensors, weights_hash

__all__ = [
    "check_stepped",
    "load_into",
    "load_tensors",
    "load_training",
    "load_weights",
    "save_tensors",
    "save_training",
    "weights_hash",
]

_NETWORK, _AVERAGE, _OPTIMIZER = "network.", "average.", "optimizer."
_UPDATES, _COUNT = "average_updates", "optimizer_tensors"
_SLOT = re.compile(r"optimizer\.(\d{1,3})\.(\d{1,7})\.(.+)")
_ELEMENTWISE = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, Muon)
"""Optimisers whose state has, for each parameter, tensors of its shape and the number of steps."""

Slots = dict[int, dict[str, Tensor]]
"""The state of an optimiser: number of the parameter to the tensors that belong to it, by name."""


def load_weights(network: nn.Module, path: Path, remedy: str) -> None:
    """Load a file of weights into a network.

    Raises:
        UserError: The file is missing or damaged, does not belong to this network, or holds no finite numbers.
    """
    file = TensorFile.open(path, remedy)
    # From the header: weights of another network are not even read.
    check_shapes({name: entry.shape for name, entry in file.header.tensors.items()}, network.state_dict(), path, remedy)
    load_into(network, file.load(), path, remedy)


def load_into(network: nn.Module, weights: Mapping[str, Tensor], path: Path, remedy: str) -> None:
    """Load weights into a network; ``path`` and ``remedy`` are for the error message.

    Raises:
        UserError: Names or shapes do not fit, or the weights are no finite numbers.
    """
    check_weights(weights, network.state_dict(), path, remedy)
    network.load_state_dict(weights)


def save_training(
    path: Path,
    network: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    average: WeightAverage | None,
    state: Mapping[str, Any],
) -> None:
    """Write everything that training needs to resume as if it had not stopped."""
    tensors = {f"{_NETWORK}{name}": tensor for name, tensor in network.state_dict().items()}
    if average is not None:
        tensors |= {f"{_AVERAGE}{name}": tensor for name, tensor in average.weights.items()}
        state = {**state, _UPDATES: average.updates}
    for number, optimizer in enumerate(optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            for slot, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"{_OPTIMIZER}{number}.{index}.{slot}"] = value
    count = sum(name.startswith(_OPTIMIZER) for name in tensors)
    save_tensors(path, tensors, {**state, _COUNT: count})


def load_training(
    path: Path,
    network: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    average: WeightAverage | None,
    remedy: str,
) -> dict[str, Any]:
    """Restore a network, its optimisers and its average as ``save_training`` found them; returns the state.

    Everything is checked before anything is changed.

    Raises:
        UserError: The checkpoint is damaged, incomplete, or belongs to another network.
    """
    file = TensorFile.open(path, remedy)
    shapes = {name: entry.shape for name, entry in file.header.tensors.items()}
    check_shapes(_named(shapes, _NETWORK), network.state_dict(), path, remedy)
    if average is not None:
        check_shapes(_named(shapes, _AVERAGE), average.weights, path, remedy)
    tensors, state = file.load(), dict(file.state)
    weights, averaged = _named(tensors, _NETWORK), _named(tensors, _AVERAGE)
    check_weights(weights, network.state_dict(), path, remedy)
    slots = _slots(tensors, optimizers, path, remedy)
    count = sum(name.startswith(_OPTIMIZER) for name in tensors)
    # Earlier versions did not count. Which parameters have a state depends on which of them the network uses.
    if (expected := state.pop(_COUNT, count)) != count:
        raise _incomplete(path, f"{count} tensors of the optimisers", f"{expected!r:.40}, as were saved", remedy)
    updates = state.pop(_UPDATES, None)
    if average is not None:
        check_weights(averaged, average.weights, path, remedy)
        if type(updates) is not int or updates < 0:
            raise _incomplete(path, f"{_UPDATES} {updates!r:.40}", "the number of updates of the average", remedy)
        average.load(averaged, updates)
    network.load_state_dict(weights)
    for optimizer, of_parameters in zip(optimizers, slots, strict=True):
        optimizer.load_state_dict({"state": of_parameters, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


def check_stepped(optimizers: list[torch.optim.Optimizer], path: Path, remedy: str) -> None:
    """Refuse a checkpoint whose training has made steps, but which holds no state of an optimiser.

    Raises:
        UserError: The state of an optimiser with momentum is missing.
    """
    for number, optimizer in enumerate(optimizers):
        keeps_state = not isinstance(optimizer, torch.optim.SGD) or optimizer.defaults["momentum"] > 0
        if keeps_state and not optimizer.state_dict()["state"]:
            raise _incomplete(path, f"nothing of optimiser {number}", "the state of every optimiser", remedy)


def _slots(
    tensors: Mapping[str, Tensor], optimizers: list[torch.optim.Optimizer], path: Path, remedy: str
) -> list[Slots]:
    """The state of each optimiser in a checkpoint, checked."""
    found: list[Slots] = [{} for _ in optimizers]
    parameters = [[p for group in optimizer.param_groups for p in group["params"]] for optimizer in optimizers]
    for name, tensor in tensors.items():
        if name.startswith((_NETWORK, _AVERAGE)):
            continue
        match = _SLOT.fullmatch(name)
        number, index = (int(match[1]), int(match[2])) if match else (0, 0)
        if match is None or number >= len(optimizers) or index >= len(parameters[number]):
            raise _incomplete(path, name[:100], "only tensors of the network and its optimisers", remedy)
        parameter = parameters[number][index]
        if isinstance(optimizers[number], _ELEMENTWISE) and (obstacle := _unfit(match[3], tensor, parameter)):
            raise _incomplete(path, f"{name}: {obstacle}", "a state that fits the parameters", remedy)
        found[number].setdefault(index, {})[match[3]] = _like(parameter, tensor)
    for number, (optimizer, slots) in enumerate(zip(optimizers, found, strict=True)):
        if missing := _missing(optimizer, slots):
            raise _incomplete(path, f"no optimizer.{number}.{few(missing, 3)}", "the whole state", remedy)
    return found


def _unfit(slot: str, tensor: Tensor, parameter: Tensor) -> str | None:
    """Why a tensor cannot be part of the state of a parameter, in words; None if it can."""
    if tensor.shape != (() if slot == "step" else parameter.shape):
        return f"{by(tensor.shape) or 'a single number'} for a parameter of {by(parameter.shape)}"
    if not tensor.is_floating_point():
        return f"numbers of the type {tensor.dtype}"
    return "values that are NaN" if tensor.isnan().any() else None


def _missing(optimizer: torch.optim.Optimizer, found: Slots) -> list[str]:
    """Names of tensors that the state of an optimiser should have.

    Those are the ones that it has before its first step, and of the others all that it has for any other parameter.
    """
    first = optimizer.state_dict()["state"]
    missing = [
        f"{index}.{slot}" for index, slots in first.items() for slot in slots if slot not in found.get(index, {})
    ]
    if isinstance(optimizer, _ELEMENTWISE):
        names = {slot for slots in found.values() for slot in slots}
        missing += [f"{index}.{slot}" for index, slots in found.items() for slot in sorted(names - slots.keys())]
    return missing


def _incomplete(path: Path, found: str, expected: str, remedy: str) -> UserError:
    return UserError(
        f"{path.name} is not a checkpoint from which this training can go on.",
        file=path,
        found=found,
        expected=expected,
        remedy=remedy,
    )


def _named(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Restore the memory layout of an optimiser's slot, which is that of its parameter.

    With another layout the update would take another code path, and its last bit could differ.
    """
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, device="cpu").copy_(tensor)
