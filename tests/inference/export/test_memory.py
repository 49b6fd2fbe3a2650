"""The memory of export is known beforehand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from tests.inference.export.brute_force import Grids, Shape
from umseg.inference.export import device
from umseg.inference.export.device import DeviceLabels, DevicePlanes
from umseg.inference.export.grid import OutputGrid
from umseg.inference.export.label_map import LabelExport
from umseg.inference.export.memory import export_memory
from umseg.inference.export.target import LabelTarget, label_numbers
from umseg.inference.windows.slab import Slab, Strip
from umseg.models.measured_memory import LiveBytes


def made_once(outputs: int, shape: Shape) -> list[Slab]:
    """Slabs in the same memory, as the sliding window gives them."""
    sums = torch.from_numpy(np.random.default_rng(0).normal(size=(4, *shape[1:], outputs)).astype(np.float32))
    weights, strip = torch.ones(4, *shape[1:]), Strip(0, shape[1])
    return [Slab(sums.permute(3, 0, 1, 2), weights, start, strip) for start in range(0, shape[0], 4)]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
@pytest.mark.parametrize(("outputs", "highest"), [(30, 29), (300, 299)])
def test_memory_on_the_cpu(outputs: int, highest: int, order: Shape) -> None:
    grids = Grids.of((12, 30, 40), (18, 160, 210), order=order)
    slabs = made_once(outputs, (12, 30, 40))
    expected = export_memory(
        grids.properties, grids.plan, outputs, highest=highest, strips=[slabs[0].strip], planes=4, on_device=False
    )

    def run() -> None:
        export = LabelExport(grids.properties, grids.plan, grids.configuration)
        for slab in slabs:
            export.add(slab)
        export.label_map()

    run()  # numba is loaded and compiles
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert expected.device == 0
    assert 0.9 * expected.host < peak < 1.1 * expected.host


@pytest.mark.parametrize("outputs", [3, 118])
def test_memory_on_a_device(outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_NUMBERS", 2**16)
    grids = Grids.of((8, 40, 50), (12, 80, 100))
    slabs = made_once(outputs, (8, 40, 50))
    expected = export_memory(
        grids.properties, grids.plan, outputs, highest=outputs, strips=[slabs[0].strip], planes=4, on_device=True
    )
    numbers = label_numbers(outputs, None)
    target = LabelTarget(grids.properties, grids.plan, numbers.dtype)
    labels = DeviceLabels(OutputGrid.of(grids.properties, grids.configuration), target, numbers, regions=False)
    last: DevicePlanes | None = None
    with LiveBytes() as memory:
        for slab in slabs:
            last = labels.add(slab, last)
    # The mode counts the slabs, too, as soon as an operator sees them.
    given = slabs[0].sums.nbytes + slabs[0].weights.nbytes
    assert 0.7 * expected.device < memory.peak - given < expected.device
