"""The private or undocumented names of torch that umseg needs; no other module uses such names.

The names were checked with torch 2.13; tests/kernels/runtime/test_torch_private.py checks them with the torch that is
installed. Names that are slow to import are imported inside functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = [
    "DispatchMode",
    "StorageWeakRef",
    "cpu_has_bfloat16",
    "fake_tensors",
    "foreach_lerp_",
    "real_tensors",
    "storage_address",
    "tensor_version",
    "tensors_in",
]


class DispatchMode(TorchDispatchMode):
    """A mode that sees every operator, and for which torch does not import its compiler (1.4 s and 140 MB)."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def storage_address(storage: torch.UntypedStorage) -> int:
    """The number that identifies a storage: ``StorageWeakRef(storage).cdata`` without making the reference."""
    address: int = storage._cdata
    return address


def tensor_version(tensor: Tensor) -> int:
    """A number that grows whenever the values of the tensor are changed in place."""
    version: int = tensor._version
    return version


def tensors_in(tree: Any) -> Iterable[Tensor]:
    """The tensors in nested lists, tuples and dictionaries."""
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def fake_tensors(*, allow_real: bool = False) -> AbstractContextManager[Any]:
    """A block in which tensors have shapes but no data: operators take neither memory nor time.

    Args:
        allow_real: Whether operators may also take real tensors, e.g. the parameters of a network built earlier.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=allow_real)


def real_tensors() -> AbstractContextManager[Any]:
    """A block inside a block of ``fake_tensors`` in which new tensors are real again."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    return unset_fake_temporarily()


def foreach_lerp_(tensors: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """Move every tensor towards its end by the fraction ``weight`` of the distance, in place and in one call."""
    torch._foreach_lerp_(list(tensors), list(ends), weight)


def cpu_has_bfloat16() -> bool:
    """Whether the CPU computes with bfloat16; false where torch cannot say.

    torch has no public query in all supported versions, and float32 is always a safe choice.
    """
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())
