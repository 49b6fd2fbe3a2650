"""The check of free memory on a device."""

from __future__ import annotations

import pytest
import torch

from umseg.preprocess.resampling.tensors import TorchArrays, has_room

CUDA = torch.device("cuda")
MIB = 2**20


@pytest.mark.parametrize(
    ("free", "reserved", "active", "split", "room"),
    [
        (1000, 0, 0, 0, True),
        (300, 0, 0, 0, False),
        (300, 900, 200, 0, True),
        (300, 900, 200, 650, False),
    ],
)
def test_free_memory_and_what_torch_keeps_count_together(
    free: int, reserved: int, active: int, split: int, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slab of 4 million voxels takes about 400 MiB."""
    memory = {"reserved": reserved, "active": active, "inactive_split": split}
    statistics = {f"{name}_bytes.all.current": size * MIB for name, size in memory.items()}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * MIB, 10**12))
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: statistics)
    assert has_room(CUDA, 2**22) is room


@pytest.mark.parametrize("name", ["cpu", "mps"])
def test_devices_that_share_the_memory_of_the_cpu_always_have_room(name: str) -> None:
    assert has_room(torch.device(name), 2**60)


def test_double_precision_where_the_device_has_it() -> None:
    assert TorchArrays(CUDA).double().dtype == torch.float64
    assert TorchArrays(torch.device("mps")).double().dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_room_on_a_gpu() -> None:
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(CUDA)[0]
    half = free // 2 // 80
    assert has_room(CUDA, half)
    held = torch.empty(free // 4 * 3, dtype=torch.uint8, device=CUDA)
    assert not has_room(CUDA, half)
    del held
    assert has_room(CUDA, half), "torch keeps the memory: it is not free for other programs, but for this one"
    torch.cuda.empty_cache()
