from __future__ import annotations

import subprocess
import sys

import pytest

import umseg.dataset
import umseg.planning


@pytest.mark.parametrize("room", ["umseg.dataset", "umseg.planning"])
def test_room_loads_nothing_heavy_until_used(room: str) -> None:
    code = f"import sys, {room}; print(sorted({{'torch', 'SimpleITK', 'numpy', 'pydantic'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["umseg.dataset.check.case", "umseg.planning.planner", "umseg.planning.fingerprint"])
def test_no_room_here_loads_torch(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("room", [umseg.dataset, umseg.planning])
def test_public_names_exist(room: object) -> None:
    for name in room.__all__:  # type: ignore[attr-defined]
        assert getattr(room, name).__name__ == name
    with pytest.raises(AttributeError, match="missing"):
        _ = room.missing  # type: ignore[attr-defined]
