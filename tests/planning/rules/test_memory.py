from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from umseg.planning.rules.memory import NetworkShape, stage_sizes
from umseg.planning.rules.presets import PRESETS
from umseg.planning.rules.topology import Topology, plan_topology


def topology_of(strides: Sequence[Sequence[int]], patch: Sequence[int]) -> Topology:
    divisor = tuple(math.prod(column) for column in zip(*strides, strict=True))
    return Topology(
        num_pool_per_axis=tuple(int(math.log2(d)) for d in divisor),
        strides=tuple(map(tuple, strides)),
        kernel_sizes=((3,) * len(patch),) * len(strides),
        patch_size=tuple(patch),
        divisor=divisor,
    )


def test_estimate_equals_every_recorded_one(golden: Path) -> None:
    entries = json.loads((golden / "memory_estimates.json").read_text())
    assert len(entries) > 60
    for entry in entries:
        topology = topology_of(entry["strides"], entry["patch_size"])
        network = NetworkShape()
        assert network.estimate(topology, entry["num_classes"]) == entry["estimate"], entry["name"]
        assert list(network.features(topology.num_stages, len(entry["patch_size"]))) == entry["features_per_stage"]


@pytest.mark.parametrize(
    ("spacing", "patch", "classes", "estimate"),
    [
        ((2.5, 0.8, 0.8), (40, 224, 192), 14, 481_447_680),
        ((1, 1, 1), (128, 128, 128), 4, 454_893_568),
        ((1, 1, 1), (40, 56, 40), 3, 19_174_400),
        ((5, 1.5625, 1.5625), (20, 256, 224), 4, 310_481_920),
        ((1.5625, 1.5625), (256, 224), 4, 18_063_360),
        ((1, 1), (896, 1536), 8, 442_208_256),
        ((1, 1), (384, 640), 8, 78_827_520),
        ((0.8, 0.8), (512, 512), 14, 85_770_240),
    ],
)
def test_golden_estimates(spacing: tuple[float, ...], patch: tuple[int, ...], classes: int, estimate: int) -> None:
    assert NetworkShape().estimate(plan_topology(spacing, patch), classes) == estimate


@pytest.mark.parametrize(
    ("preset", "patch", "estimate"),
    [("resenc-m", (40, 224, 192), 653_466_240), ("resenc-l", (56, 320, 256), 1_743_517_440)],
)
def test_golden_estimates_of_residual_encoders(preset: str, patch: tuple[int, ...], estimate: int) -> None:
    assert PRESETS[preset].network.estimate(plan_topology((2.5, 0.8, 0.8), patch), 14) == estimate


def test_blocks_of_residual_encoders() -> None:
    assert PRESETS["resenc-m"].network.units(3) == (1, 3, 4)
    assert PRESETS["resenc-m"].network.units(7) == (1, 3, 4, 6, 6, 6, 6)


def test_sizes_of_stages() -> None:
    assert stage_sizes(plan_topology((1, 1), (40, 56))) == [(40, 56), (20, 28), (10, 14), (5, 7)]
