from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.memory import PLANS, Case, measure, predict
from tests.models.plans import make_configuration
from umseg.architectures.memory.layers import Precision
from umseg.architectures.memory.model import parameter_count, stages_memory
from umseg.architectures.monai import BASELINES
from umseg.architectures.stage import Stage
from umseg.models.registry import build_network, fit_configuration
from umseg.planning.stages import configuration_stages
from umseg.planning.training_memory import training_memory

# The networks differ by less than this from what is counted; 15 % is what was asked for.
TOLERANCE = 0.03

# Measured with `python -m benchmarks.memory --model NAME` (MONAI 1.6.1, torch 2.13), on GPU operators, in GB.
MEASURED: dict[tuple[str, str, Precision], float] = {
    ("2-D, 100 classes", "segresnet", "fp32"): 0.496,
    ("AbdomenCT 3-D", "segresnet", "fp32"): 8.236,
    ("AbdomenMR 2-D", "segresnet", "fp32"): 10.409,
    ("Endoscopy 2-D", "segresnet", "fp32"): 10.696,
    ("cube 128", "segresnet", "fp32"): 9.789,
    ("small cube", "segresnet", "fp32"): 0.660,
    ("2-D, 100 classes", "segresnet", "mixed"): 0.533,
    ("AbdomenCT 3-D", "segresnet", "mixed"): 9.350,
    ("AbdomenMR 2-D", "segresnet", "mixed"): 11.878,
    ("Endoscopy 2-D", "segresnet", "mixed"): 12.044,
    ("cube 128", "segresnet", "mixed"): 10.930,
    ("small cube", "segresnet", "mixed"): 0.755,
    ("2-D, 100 classes", "swin_unetr", "fp32"): 1.184,
    ("AbdomenCT 3-D", "swin_unetr", "fp32"): 35.297,
    ("AbdomenMR 2-D", "swin_unetr", "fp32"): 24.638,
    ("Endoscopy 2-D", "swin_unetr", "fp32"): 25.679,
    ("cube 128", "swin_unetr", "fp32"): 28.434,
    ("small cube", "swin_unetr", "fp32"): 4.238,
    ("2-D, 100 classes", "swin_unetr", "mixed"): 0.942,
    ("AbdomenCT 3-D", "swin_unetr", "mixed"): 27.687,
    ("AbdomenMR 2-D", "swin_unetr", "mixed"): 15.228,
    ("Endoscopy 2-D", "swin_unetr", "mixed"): 15.793,
    ("cube 128", "swin_unetr", "mixed"): 23.127,
    ("small cube", "swin_unetr", "mixed"): 3.754,
    ("2-D, 100 classes", "unetr", "fp32"): 1.215,
    ("AbdomenCT 3-D", "unetr", "fp32"): 7.310,
    ("AbdomenMR 2-D", "unetr", "fp32"): 16.130,
    ("Endoscopy 2-D", "unetr", "fp32"): 20.766,
    ("cube 128", "unetr", "fp32"): 7.285,
    ("small cube", "unetr", "fp32"): 1.235,
    ("2-D, 100 classes", "unetr", "mixed"): 1.232,
    ("AbdomenCT 3-D", "unetr", "mixed"): 5.159,
    ("AbdomenMR 2-D", "unetr", "mixed"): 12.325,
    ("Endoscopy 2-D", "unetr", "mixed"): 18.467,
    ("cube 128", "unetr", "mixed"): 4.682,
    ("small cube", "unetr", "mixed"): 1.254,
}


def stages_of(patch: tuple[int, ...]) -> list[Stage]:
    axes = len(patch)
    return [Stage(32, patch, (1,) * axes, (3,) * axes)]


@pytest.mark.parametrize("patch", [(64, 64), (40, 32, 64)])
@pytest.mark.parametrize("model", BASELINES)
def test_parameters_equal_those_of_the_network(model: str, patch: tuple[int, ...]) -> None:
    pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    axes = len(patch)
    configuration = make_configuration(patch, (32, 64), [[1] * axes, [2] * axes])
    network = build_network(model, fit_configuration(model, configuration), 2, 5)
    expected = sum(parameter.numel() for parameter in network.parameters())
    assert parameter_count(model, configuration_stages(configuration), 2, 5) == expected


@pytest.mark.parametrize(("plan", "model", "precision"), MEASURED)
def test_prediction_is_near_what_a_step_took(plan: str, model: str, precision: Precision) -> None:
    measured = 1e9 * MEASURED[plan, model, precision]
    assert predict(Case(plan, model, precision=precision)) == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("model", ["segresnet", "swin_unetr"])
def test_prediction_is_near_what_a_step_takes(model: str) -> None:
    pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    case = Case("2-D, 100 classes", model)
    assert predict(case) == pytest.approx(measure(case), rel=TOLERANCE)


def test_fake_tensors_take_what_real_ones_take() -> None:
    pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    case = Case("tiny", "segresnet", device="cpu", precision="fp32")
    assert measure(case) == measure(case, fake=False)


@given(st.sampled_from(sorted(BASELINES)), st.lists(st.integers(2, 7), min_size=2, max_size=3), st.integers(1, 5))
def test_memory_grows_with_batch_and_patch(model: str, steps: list[int], batch: int) -> None:
    def total(batch_size: int, longer: int | None = None) -> int:
        patch = tuple(32 * (step + (axis == longer)) for axis, step in enumerate(steps))
        return stages_memory(model, stages_of(patch), batch_size, 1, 4).total

    assert total(batch) < total(batch + 1)
    assert all(total(batch) < total(batch, axis) for axis in range(len(steps)))


@pytest.mark.parametrize("model", BASELINES)
def test_memory_is_that_of_the_rounded_patch(model: str) -> None:
    plan = PLANS["hippocampus"].configuration
    rounded = fit_configuration(model, plan)
    assert training_memory(model, plan, 1, 3) == training_memory(model, rounded, 1, 3)


def test_attention_of_unetr_grows_with_the_square_of_its_tokens() -> None:
    batch, heads, blocks, tokens = 2, 12, 12, 16 * 16 * 8
    first, second, third = (
        stages_memory("unetr", stages_of((256, 256, depth)), batch, 1, 3).activations for depth in (128, 256, 384)
    )
    # All else grows with the patch. The matrices are kept in float32 from the softmax and rounded for the product.
    assert first - 2 * second + third == 2 * (4 + 2) * batch * heads * blocks * tokens**2


def test_windows_of_swin_unetr_are_padded() -> None:
    """An axis of 14 tokens has two windows, one of 16 has three: half as much again for an eighth more voxels."""
    short, long = (stages_memory("swin_unetr", stages_of((224, size)), 2, 1, 3).activations for size in (224, 256))
    assert long / short > 256 / 224
