"""Files of tensors: one safetensors file with, in its header, all other state as JSON and a hash of everything.

The hash (SHA-256) covers the tensors' names, types, shapes and bytes and the state, so that one flipped bit is found.
Files of earlier versions have none and are read without it. Hash and state are one text, because safetensors writes
several texts of a header in random order, and equal runs must give equal files.
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
_SEALED = "umseg"  # {"state": ..., "sha256": ...}
_STATE, _HASH = "state", "sha256"
_KNOWN = {_SEALED, _STATE, "format"}
_MOST_THREADS = 4


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any] | None = None) -> None:
    """Write tensors and a state that JSON can hold as one file, atomically, with a hash of both.

    Raises:
        UserError: The disk is full or the folder cannot be written.
    """
    ready = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    content = dict(state or {})
    metadata = {_SEALED: json.dumps({_STATE: content, _HASH: _hash(ready, content)})}
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
        state: The state that was saved with them.
        hash: SHA-256 of tensors and state; None in a file of an earlier version.
        remedy: What the user can do if the file is damaged.
    """

    path: Path
    header: TensorHeader
    state: Mapping[str, Any]
    hash: str | None
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
            state, found = _parse_metadata(header.metadata)
        return cls(path, header, state, found, remedy)

    def load(self) -> dict[str, Tensor]:
        """Read the tensors, onto the CPU, and compare the hash.

        Raises:
            UserError: The file is damaged, or does not fit into memory.
        """
        size, what = self.header.data_bytes, f"Reading {self.path.name}"
        require_memory(size, what, file=self.path)
        with (
            explained_memory(what, needed=size, file=self.path),
            _explained(self.path, self.remedy),
            safe_open(self.path, framework="pt") as file,
        ):
            tensors = {name: file.get_tensor(name) for name in self.header.tensors}
        if self.hash is not None and (found := _hash(tensors, self.state)) != self.hash:
            raise _damaged(self.path, f"SHA-256 {found}", self.remedy, f"SHA-256 {self.hash}")
        return tensors


def load_tensors(path: Path, remedy: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that ``save_tensors`` wrote.

    Returns:
        The tensors by name, on the CPU, and the state.

    Raises:
        UserError: The file is missing or damaged, or does not fit into memory.
    """
    file = TensorFile.open(path, remedy)
    return file.load(), dict(file.state)


def weights_hash(path: Path, remedy: str) -> str:
    """The hash by which a file of weights is known: equal weights have equal hashes.

    It is read from the header, in no time; only for a file of an earlier version, whose header has none, it is computed
    from the weights. It is compared with the weights when they are loaded, not here.

    Raises:
        UserError: The file is missing or damaged.
    """
    file = TensorFile.open(path, remedy)
    return _hash(file.load(), file.state) if file.hash is None else file.hash


def _hash(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    """SHA-256 over the state and, in the order of their names, every tensor's name, type, shape and SHA-256."""
    names = sorted(tensors)
    # hashlib lets other threads run meanwhile, so that a checkpoint of 250 MB takes tenths of a second.
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        digests = list(threads.map(_digest, (tensors[name] for name in names)))
    total = hashlib.sha256(json.dumps(state).encode())
    for name, digest in zip(names, digests, strict=True):
        total.update(json.dumps([name, str(tensors[name].dtype), list(tensors[name].shape), digest]).encode())
    return total.hexdigest()


def _digest(tensor: Tensor) -> str:
    # A tensor without axes has no bytes of its own for torch, and numpy does not know bfloat16.
    flat = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(flat.data).hexdigest()


def _parse_metadata(metadata: Mapping[str, str]) -> tuple[dict[str, Any], str | None]:
    """The state, and the hash if the file has one."""
    if _SEALED not in metadata:
        return _parse_object(metadata.get(_STATE, "{}")), None
    content = _parse_object(metadata[_SEALED])
    state, found = content.get(_STATE), content.get(_HASH)
    if not isinstance(state, dict) or not isinstance(found, str) or not re.fullmatch("[0-9a-f]{64}", found):
        raise ValueError("a state without its hash")
    return state, found


def _parse_object(text: str) -> dict[str, Any]:
    try:
        # Losses may be NaN, which strict JSON does not have.
        content = json.loads(text)
    except RecursionError:
        raise ValueError("a state that is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("a state that is not an object of JSON")
    return content


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
