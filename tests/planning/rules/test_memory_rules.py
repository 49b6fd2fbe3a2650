from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.outside import install
from tests.planning.test_planner import describe, fingerprint_of
from umseg.architectures.memory.layers import Training, TrainingMemory
from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage
from umseg.common.errors import UserError
from umseg.planning import Plan, make_plan
from umseg.planning.rules.memory_rules import largest_batch

LINES = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 500)), min_size=1, max_size=4)


@given(LINES, st.integers(0, 3000))
def test_largest_batch_of_a_convex_function(lines: list[tuple[int, int]], budget: int) -> None:
    def memory(batch: int) -> int:
        return max(slope * batch + offset for slope, offset in lines)

    largest = largest_batch(memory, budget)
    assert largest == 0 or memory(largest) <= budget
    assert memory(largest + 1) > budget


def test_few_batches_are_measured() -> None:
    asked: list[int] = []

    def memory(batch: int) -> int:
        asked.append(batch)
        return max(300 + 7 * batch, 100 + 9 * batch)

    assert largest_batch(memory, 10_000) == 1100
    assert len(asked) <= 6


class Meter:
    """Stands in for the measuring: bytes in proportion to the batch and its voxels."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], int]] = []

    def __call__(self, spec: ModelSpec, stages: Sequence[Stage], training: Training) -> TrainingMemory:
        self.asked.append((stages[0].size, training.batch_size))
        voxels = training.batch_size * math.prod(stages[0].size)
        return TrainingMemory(0, 10**8 + 2000 * voxels * training.in_channels, 0, 2**30)


def plan_with(meter: Meter | None, shape: tuple[int, int, int] = (300, 300, 300)) -> Plan:
    fingerprint, description = fingerprint_of([(1, 1, 1)], [shape]), describe(4, 200, ("T1", "T2"))
    return make_plan(fingerprint, description, for_model="halving", memory_gb=12, measure=meter)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, halving="tests.models.outside:HALVING")


def test_plan_for_a_measured_network_fills_the_memory() -> None:
    meter = Meter()
    plan = plan_with(meter)
    for configuration in plan.configurations.values():

        def total(batch: int, patch: Sequence[int] = configuration.patch_size) -> int:
            return 2**30 + 10**8 + 2000 * 2 * batch * math.prod(patch)

        assert total(configuration.batch_size) <= 12e9
        more = configuration.batch_size + 1
        capped = math.prod(configuration.patch_size) * more > 0.049 * 300**3 * 200
        assert capped or total(more) > 12e9
    # Hundreds of patches would be tried one by one.
    assert len(set(meter.asked)) <= 40
    assert all(size % 2 == 0 for patch, _ in meter.asked for size in patch)


def test_bisection_finds_what_trying_one_by_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = plan_with(Meter(), (90, 300, 310))
    monkeypatch.setattr("umseg.planning.rules.memory_rules.MeasuredRule.monotone", False)
    meter = Meter()
    assert plan_with(meter, (90, 300, 310)) == quick


def test_without_a_meter_the_plan_is_refused() -> None:
    with pytest.raises(UserError, match="'halving' are not described") as caught:
        plan_with(None)
    assert "MemoryMeter" in str(caught.value.remedy)
    assert "halving" not in str(caught.value.expected)
