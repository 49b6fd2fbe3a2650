"""Every private name of torch that umseg uses exists in the installed torch and behaves as umseg expects."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import Tensor

from umseg.kernels.runtime.torch_private import (
    DispatchMode,
    StorageWeakRef,
    cpu_has_bfloat16,
    fake_tensors,
    foreach_lerp_,
    real_tensors,
    storage_address,
    tensor_version,
    tensors_in,
)


def test_a_storage_has_one_address_that_its_weak_reference_knows() -> None:
    tensor = torch.zeros(3)
    reference = StorageWeakRef(tensor.untyped_storage())
    assert storage_address(tensor.untyped_storage()) == storage_address(tensor[1:].untyped_storage()) == reference.cdata
    assert storage_address(torch.zeros(3).untyped_storage()) != reference.cdata
    assert not reference.expired()
    del tensor
    assert reference.expired()


def test_the_version_grows_with_changes_in_place() -> None:
    tensor = torch.zeros(3)
    before = tensor_version(tensor)
    tensor.add_(1)
    assert tensor_version(tensor) > before
    assert tensor_version(tensor[1:]) == tensor_version(tensor)


def test_tensors_are_found_in_nested_structures() -> None:
    first, second = torch.zeros(1), torch.ones(1)
    assert [tensor.item() for tensor in tensors_in({"a": [first, 3], "b": (None, second)})] == [0, 1]


def test_fake_tensors_have_no_data() -> None:
    real = torch.ones(2, 2)
    with fake_tensors(allow_real=True):
        huge = torch.empty(2**40) + 1
        assert huge.shape == (2**40,)
        assert (torch.empty(3, 2) @ real).shape == (3, 2)
        with real_tensors():
            assert torch.ones(2).sum().item() == 2


def test_a_dispatch_mode_sees_operators() -> None:
    class Names(DispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.seen: list[str] = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with Names() as names:
        _ = torch.zeros(2) + 1
    assert names.seen == ["aten.zeros.default", "aten.add.Tensor"]


def test_a_dispatch_mode_does_not_import_the_compiler() -> None:
    program = """
import sys, torch
from umseg.kernels.runtime.torch_private import DispatchMode
class Through(DispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))
with Through():
    torch.zeros(2) + 1
print([name for name in ("sympy", "torch._dynamo") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_many_tensors_move_towards_their_ends() -> None:
    tensors: list[Tensor] = [torch.zeros(2), torch.ones(3)]
    foreach_lerp_(tensors, [torch.full((2,), 4.0), torch.ones(3)], 0.25)
    assert [tensor.tolist() for tensor in tensors] == [[1.0, 1.0], [1.0, 1.0, 1.0]]


def test_the_cpu_says_whether_it_has_bfloat16() -> None:
    assert cpu_has_bfloat16() in (True, False)
    assert hasattr(torch.cpu, "_is_avx512_bf16_supported")
