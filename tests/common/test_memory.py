from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from umseg.common import memory
from umseg.common.cgroup import cgroup_memory
from umseg.common.errors import UserError
from umseg.common.memory import (
    available_memory,
    explained_memory,
    is_out_of_memory,
    memory_text,
    require_memory,
)

GB = 10**9


def test_available_memory_is_that_of_this_machine() -> None:
    assert 2**26 < available_memory() <= psutil.virtual_memory().total + psutil.swap_memory().total


@pytest.mark.parametrize("limit", ["cgroup_memory", "_free_addresses"])
def test_limits_of_the_process_count(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, limit, lambda: 12345)
    assert available_memory() == 12345


def group(folder: Path, limit: str, used: int, cache: int = 0, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    prefix = "" if version == 2 else "total_"
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used}\n{prefix}inactive_file {cache}\n{prefix}active_file 0\n")


def test_cgroup_2_takes_the_tightest_limit_of_all_parents(tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text("0::/user/job\n")
    group(tmp_path, "max", 9 * GB)
    group(tmp_path / "user", str(8 * GB), 6 * GB, cache=1 * GB)
    group(tmp_path / "user" / "job", str(20 * GB), 1 * GB)
    assert cgroup_memory(membership, tmp_path) == 3 * GB


def test_cgroup_1_and_groups_that_are_not_mounted(tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text("12:cpu,cpuacct:/a\n4:memory:/docker/1234\n0::/\n")
    assert cgroup_memory(membership, tmp_path) is None
    group(tmp_path / "memory", str(4 * GB), 5 * GB, cache=2 * GB, version=1)
    assert cgroup_memory(membership, tmp_path) == 1 * GB


def test_no_cgroups_on_other_systems(tmp_path: Path) -> None:
    assert cgroup_memory(tmp_path / "missing", tmp_path) is None


def test_what_fits_is_not_refused() -> None:
    require_memory(21 * GB, "Resampling case a", available=21 * GB)


def test_what_cannot_fit_is_refused_with_both_figures() -> None:
    with pytest.raises(UserError) as caught:
        require_memory(
            14_200 * GB,
            "Resampling case a",
            file="a.nii",
            found="3840 x 3840",
            remedy="Look.",
            available=213 * GB // 10,
        )
    error = caught.value
    assert error.problem == "Resampling case a needs more memory than there is."
    assert error.found == "3840 x 3840: needs 14.2 TB; this machine has 21.3 GB available"
    assert (error.file, error.remedy) == ("a.nii", "Look.")
    with pytest.raises(UserError) as caught:
        require_memory(2 * GB, "Case a", available=GB)
    assert caught.value.found == "needs 2.0 GB; this machine has 1.0 GB available"


def test_memory_in_words() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_960: "1.0 MB", 21_300_000_000: "21.3 GB", 10**21: "1000.0 EB"}
    assert {size: memory_text(size) for size in sizes} == sizes


def too_large_for_numpy() -> object:
    return np.empty((2**20, 2**20, 2**19), dtype=np.uint8)


def uncountable_for_numpy() -> object:
    return np.empty((2**40, 2**40), dtype=np.uint8)


def too_large_for_torch() -> object:
    return torch.empty(2**60, dtype=torch.uint8)


def uncountable_for_torch() -> object:
    return torch.empty((2**40, 2**40), dtype=torch.uint8)


def too_large_for_python() -> object:
    return bytearray(2**62)


def too_large_for_cuda() -> object:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB.")


@pytest.mark.parametrize(
    "allocate",
    [
        too_large_for_numpy,
        uncountable_for_numpy,
        too_large_for_torch,
        uncountable_for_torch,
        too_large_for_python,
        too_large_for_cuda,
    ],
)
def test_every_kind_of_missing_memory_is_an_error_for_the_user(allocate: object) -> None:
    assert callable(allocate)
    with pytest.raises(UserError, match="Case a ran out of memory") as caught, explained_memory("Case a"):
        allocate()
    assert caught.value.found
    with pytest.raises(UserError, match=r"It needs 2\.0 GB"), explained_memory("Case a", needed=2 * GB):
        allocate()


def test_the_amount_that_was_asked_for_is_told() -> None:
    with pytest.raises(UserError) as caught, explained_memory("Case a"):
        too_large_for_cuda()
    assert caught.value.found == "Tried to allocate 2.00 GiB"


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("no axis"), OSError(12, "no"), KeyError()])
def test_other_errors_pass(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), explained_memory("Case a"):
        raise error
