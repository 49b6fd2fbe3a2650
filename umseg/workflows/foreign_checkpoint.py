"""Checkpoints of other systems, which are pickles: what is looked at before torch reads one, and what it may hold.

torch writes a checkpoint as a zip archive: a pickle of the structure, and the numbers of each tensor as a file of their
own, not compressed. Of the pickle torch runs only what makes tensors and containers (``weights_only``), and the archive
is read only if it has this form, so that it cannot ask for more memory than the file has bytes.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from umseg.common.errors import UserError
from umseg.common.files import open_regular
from umseg.common.memory import is_out_of_memory, out_of_memory, require_memory
from umseg.common.private_names import numpy_scalar_constructor

MOST_STRUCTURE_BYTES = 32 * 2**20
"""Largest pickle of the structure. That of a trained nnU-Net has less than 1 MB."""
MOST_ENTRIES = 100_000
"""Most files of an archive. That of a trained nnU-Net has a few hundred."""

# The losses and scores in these checkpoints are numpy numbers, which torch does not read by itself. Creating one runs
# only numpy's constructors.
_NUMBERS = [
    np.dtype,
    *{type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "u1", "?")},
    numpy_scalar_constructor(),
    (numpy_scalar_constructor(), "numpy.core.multiarray.scalar"),
]
_ENTRY = re.compile(
    # The last is for marks that later versions of torch may add.
    r"[^/\\]+/(data\.pkl|data/\d{1,9}|version|byteorder|\.[a-z_]{1,40}(/[a-z_]{1,40})?)"
)
_STRUCTURE = "/data.pkl"
_OLD = (
    (b"\x80", "a pickle, the format of torch before 1.6"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89HDF", "an HDF5 file"),
)


def read_foreign_checkpoint(file: Path, remedy: str) -> dict[str, Any]:
    """Read a checkpoint of tensors, numbers, texts and containers of them; code in it is refused, not run.

    Args:
        file: The checkpoint.
        remedy: What the user can do if it is damaged or something else.

    Raises:
        UserError: The file is missing, damaged, of another format or too large, or holds other objects.
    """
    try:
        with open_regular(file, remedy=remedy) as opened:
            size = _check_archive(opened, file, remedy)
        require_memory(size, f"Reading {file.name}", file=file)
        with torch.serialization.safe_globals(_NUMBERS):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except UnpicklingError as error:
        raise UserError(
            "The checkpoint holds objects besides weights and numbers and was not read, because it could run code.",
            file=file,
            found=str(error).splitlines()[-1][:300] if str(error) else None,
            remedy="Save it again with only tensors, numbers, texts and containers of them.",
        ) from error
    except Exception as error:  # the instructions of a damaged pickle fail in any way
        if is_out_of_memory(error):
            raise out_of_memory(error, f"Reading {file.name}", file=file) from error
        raise _damaged(file, str(error)[:300] or type(error).__name__, remedy) from error
    if not isinstance(content, dict):
        raise UserError("The file is not a checkpoint of nnU-Net v2.", file=file, remedy=remedy)
    return content


def plain_tensors(content: object, file: Path, remedy: str) -> dict[str, Tensor]:
    """The weights of a checkpoint, if they are nothing but arrays of fractions that the file really holds.

    Args:
        content: What stands in the place of the weights.
        file: The checkpoint.
        remedy: What the user can do.

    Raises:
        UserError: They are something else, e.g. texts, sparse tensors, or a tensor that repeats one number 2**40 times.
    """
    if not isinstance(content, Mapping):
        raise _not_weights(file, f"'network_weights' of type {type(content).__name__}", remedy)
    for name, tensor in content.items():
        obstacle = "a name that is no text" if not isinstance(name, str) else _obstacle(tensor)
        if obstacle:
            raise _not_weights(file, f"{str(name)[:100]}: {obstacle}", remedy)
    return dict(content)


def _obstacle(tensor: object) -> str | None:
    """Why something cannot be weights, in words; None if it can. No number is read."""
    if not isinstance(tensor, Tensor):
        return f"an object of type {type(tensor).__name__}"
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        kind = "meta" if tensor.is_meta else "quantised" if tensor.is_quantized else "sparse"
        return f"a {kind} tensor"
    if not tensor.is_floating_point():
        return f"numbers of the type {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"{tensor.numel():,} values, of which the file holds {tensor.untyped_storage().nbytes():,} bytes"
    return None


def _check_archive(opened: BinaryIO, file: Path, remedy: str) -> int:
    """Refuse everything but an archive as torch writes it; returns the bytes of all its entries.

    Raises:
        UserError: The file has another format, is damaged, or promises more than it holds.
    """
    start = opened.read(512)
    if not start.startswith(b"PK\x03\x04"):
        old = next((name for mark, name in _OLD if start.startswith(mark)), None)
        old = "a tar archive, the first format of torch" if start[257:262] == b"ustar" else old
        raise UserError(
            "The checkpoint is not a zip archive, the format in which torch has saved since 2020.",
            file=file,
            found=old or ("an empty file" if not start else "another format"),
            remedy="Load it with the program that made it, and save it again with torch 1.6 or later."
            if old
            else remedy,
        )
    try:
        entries = zipfile.ZipFile(opened).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise _damaged(file, str(error)[:300], remedy) from error
    size, needed = opened.seek(0, 2), 0
    names = [entry.filename for entry in entries]
    for entry in entries[:MOST_ENTRIES]:
        needed += entry.file_size
        if not _ENTRY.fullmatch(entry.filename):
            raise _damaged(file, f"the entry {entry.filename[:100]!r}, which torch does not write", remedy)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise _damaged(file, f"the entry {entry.filename[:100]!r}, which is compressed", remedy)
        if entry.filename.endswith(_STRUCTURE) and entry.file_size > MOST_STRUCTURE_BYTES:
            raise _damaged(file, f"a structure of {entry.file_size:,} bytes", remedy)
    if len({name.partition("/")[0] for name in names}) > 1 or len(set(names)) < len(names):
        raise _damaged(file, "entries in several folders, or two of one name", remedy)
    if needed > size or len(entries) > MOST_ENTRIES:
        raise _damaged(file, f"{len(entries):,} entries of {needed:,} bytes in a file of {size:,} bytes", remedy)
    return needed


def _damaged(file: Path, found: str, remedy: str) -> UserError:
    return UserError("The checkpoint is damaged.", file=file, found=found, remedy=remedy)


def _not_weights(file: Path, found: str, remedy: str) -> UserError:
    return UserError(
        "The checkpoint's weights cannot be used.",
        file=file,
        found=found,
        expected="arrays of floating-point numbers by name",
        remedy=remedy,
    )
