"""Files of tensors: one safetensors file with, in its header, all other state as JSON and a hash of everything.

The hash (SHA-256) covers the tensors' names, types, shapes and bytes and the state, so that one flipped bit is found.
Files of earlier versions have none and are read without it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from umseg.common.errors import UserError
from umseg.common.files import atomic_path, open_regular
from umseg.common.memory import explained_memory, require_memory
from umseg.common.tensor_header import TensorHeader, read_header

_WINDOWS_DISK_FULL = 112
_STATE = "state"
_HASH = "sha256"
_KNOWN = {_STATE, _HASH, "format"}
_MOST_THREADS = 4


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any] | None = None) -> None:
    """Write tensors and a state that JSON can hold as one file, atomically, with a hash of both.

    Raises:
        UserError: The disk is full or the folder cannot be written.
    """
    ready = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    text = json.dumps(state or {})
    metadata = {_STATE: text, _HASH: _hash(ready, text)}
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


@dataclass(frozen=True)
class TensorFile:
    """A file of tensors whose header has been read and checked, but none of its tensors.

    Attributes:
        path: The file.
        header: Names, types and shapes of the tensors.
        remedy: What the user can do if the file is damaged.
    """

    path: Path
    header: TensorHeader
    remedy: str

    @classmethod
    def open(cls, path: Path, remedy: str) -> TensorFile:
        """Read the header.

        Raises:
            UserError: The file is missing, is no regular file, or its header is damaged.
        """
        path = Path(path)
        with _explained(path, remedy), open_regular(path, remedy=remedy) as file:
            header = read_header(file)
            if unknown := header.metadata.keys() - _KNOWN:
                raise ValueError(f"metadata '{min(unknown)[:40]}'; known are {', '.join(sorted(_KNOWN))}")
            if not re.fullmatch("[0-9a-f]{64}", header.metadata.get(_HASH, "0" * 64)):
                raise ValueError("a hash that is no SHA-256")
        return cls(path, header, remedy)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read the tensors, onto the CPU, and the state, and compare their hash.

        Raises:
            UserError: The file is damaged, or does not fit into memory.
        """
        size = self.header.data_bytes
        text, what = self.header.metadata.get(_STATE, "{}"), f"Reading {self.path.name}"
        require_memory(size, what, file=self.path)
        with explained_memory(what, needed=size, file=self.path), _explained(self.path, self.remedy):
            state = _parse_state(text)
            with safe_open(self.path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in self.header.tensors}
        expected = self.header.metadata.get(_HASH)
        if expected is not None and (found := _hash(tensors, text)) != expected:
            raise _damaged(self.path, f"SHA-256 {found}", self.remedy, f"SHA-256 {expected}")
        return tensors, state


def load_tensors(path: Path, remedy: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that ``save_tensors`` wrote.

    Returns:
        The tensors by name, on the CPU, and the state.

    Raises:
        UserError: The file is missing or damaged, or does not fit into memory.
    """
    return TensorFile.open(path, remedy).load()


def weights_hash(path: Path, remedy: str) -> str:
    """The hash by which a file of weights is known: equal weights have equal hashes.

    It is read from the header, in no time; only for a file of an earlier version, whose header has none, it is computed
    from the weights. It is compared with the weights when they are loaded, not here.

    Raises:
        UserError: The file is missing or damaged.
    """
    file = TensorFile.open(path, remedy)
    stored = file.header.metadata.get(_HASH)
    if stored is not None:
        return stored
    tensors, _ = file.load()
    return _hash(tensors, file.header.metadata.get(_STATE, "{}"))


def _hash(tensors: Mapping[str, Tensor], state: str) -> str:
    """SHA-256 over the state and, in the order of their names, every tensor's name, type, shape and SHA-256."""
    names = sorted(tensors)
    # hashlib lets other threads run meanwhile, so that a checkpoint of 250 MB takes tenths of a second.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        digests = list(threads.map(_digest, (tensors[name] for name in names)))
    total = hashlib.sha256(state.encode())
    for name, digest in zip(names, digests, strict=True):
        total.update(json.dumps([name, str(tensors[name].dtype), list(tensors[name].shape), digest]).encode())
    return total.hexdigest()


def _digest(tensor: Tensor) -> str:
    # A tensor without axes has no bytes of its own for torch, and numpy does not know bfloat16.
    flat = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(flat.data).hexdigest()


def _parse_state(text: str) -> dict[str, Any]:
    try:
        # Losses may be NaN, which strict JSON does not have.
        state = json.loads(text)
    except RecursionError:
        raise ValueError("a state that is nested too deeply") from None
    if not isinstance(state, dict):
        raise ValueError("a state that is not an object of JSON")
    return state


@contextmanager
def _explained(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path.name} does not exist.", file=path, remedy=remedy) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, str(error), remedy) from error


def _damaged(path: Path, found: str, remedy: str, expected: str | None = None) -> UserError:
    return UserError(f"{path.name} is damaged.", file=path, found=found[:300], expected=expected, remedy=remedy)
