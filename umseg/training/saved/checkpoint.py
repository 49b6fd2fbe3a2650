"""Checkpoints: one safetensors file with the tensors and, in its header, all other state as JSON."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from umseg.common.errors import UserError
from umseg.common.files import atomic_path
from umseg.training.optim.average import WeightAverage

_WINDOWS_DISK_FULL = 112


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any] | None = None) -> None:
    """Write tensors and a state that JSON can hold as one file, atomically.

    Raises:
        UserError: The disk is full or the folder cannot be written.
    """
    ready = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    metadata = {"state": json.dumps(state or {})}
    with atomic_path(path) as temporary:
        try:
            save_file(ready, temporary, metadata)
        except SafetensorError as error:
            # The library hides the system's error in its text; it is restored so that a full disk is explained.
            found = re.search(r"os error (\d+)", str(error))
            if found is None:
                raise
            number = int(found[1])
            raise OSError(errno.ENOSPC if number == _WINDOWS_DISK_FULL else number, str(error)) from error


def load_tensors(path: Path, remedy: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that ``save_tensors`` wrote.

    Returns:
        The tensors by name, on the CPU, and the state.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            state = json.loads((file.metadata() or {}).get("state", "{}"))
    except FileNotFoundError as error:
        raise UserError(f"{path.name} does not exist.", file=path, remedy=remedy) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path.name} is damaged.", file=path, found=str(error), remedy=remedy) from error
    return tensors, state


def load_weights(network: nn.Module, path: Path, remedy: str) -> None:
    """Load a file of weights into a network.

    Raises:
        UserError: The file is missing or damaged, or does not belong to this network.
    """
    tensors, _ = load_tensors(path, remedy)
    load_into(network, tensors, path, remedy)


def save_training(
    path: Path,
    network: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    average: WeightAverage | None,
    state: Mapping[str, Any],
) -> None:
    """Write everything that training needs to resume as if it had not stopped."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.weights.items()}
        state = {**state, "average_updates": average.updates}
    for number, optimizer in enumerate(optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            for slot, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{number}.{index}.{slot}"] = value
    save_tensors(path, tensors, state)


def load_training(
    path: Path,
    network: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    average: WeightAverage | None,
    remedy: str,
) -> dict[str, Any]:
    """Restore a network, its optimisers and its average as ``save_training`` found them; returns the state.

    Raises:
        UserError: The checkpoint is damaged or belongs to another network.
    """
    tensors, state = load_tensors(path, remedy)
    load_into(network, _named(tensors, "network."), path, remedy)
    if average is not None:
        average.load(_named(tensors, "average."), state["average_updates"])
    for number, optimizer in enumerate(optimizers):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            prefix, _, key = name.partition(f"optimizer.{number}.")
            if prefix == "" and key:
                index, _, slot = key.partition(".")
                slots.setdefault(int(index), {})[slot] = _like(parameters[int(index)], tensor)
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Restore the memory layout of an optimiser's slot, which is that of its parameter.

    With another layout the update would take another code path, and its last bit could differ.
    """
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, device="cpu").copy_(tensor)


def load_into(network: nn.Module, weights: Mapping[str, Tensor], path: Path, remedy: str) -> None:
    """Load weights into a network; ``path`` and ``remedy`` are for the error message.

    Raises:
        UserError: Names or shapes do not fit.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"The weights in {path.name} do not belong to this network.",
            file=path,
            found=" ".join(str(error).split())[:300],
            remedy=remedy,
        ) from error
