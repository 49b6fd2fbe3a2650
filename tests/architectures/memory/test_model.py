from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from benchmarks.memory import PLANS, QUICK_HELD_OUT, Case, measure, predict
from tests.models.plans import SMALL, U_NETS
from umseg.architectures.memory.layers import CUDA_ALLOWANCE, Training, TrainingMemory
from umseg.architectures.memory.model import described_models, parameter_count, stages_memory
from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage
from umseg.common.errors import UserError
from umseg.models.registry import ModelOptions, build_network
from umseg.planning.rules.topology import plan_topology
from umseg.planning.stages import configuration_stages, topology_stages
from umseg.planning.training_memory import training_memory

# A plan must not exceed the memory, so the model may err by more above than below.
LOWEST, HIGHEST = 0.98, 1.05

# Measured with benchmarks/memory.py (fake tensors, GPU operators, mixed precision), in GB.
MEASURED = {
    ("cube 128", "nnunet"): 5.063,
    ("cube 128", "umamba_bot"): 6.804,
    ("cube 128", "umamba_enc"): 22.136,
    ("cube 128", "umamba_enc_released"): 24.292,
    ("cube 128", "nnunet_resenc"): 6.568,
    ("AbdomenCT 3-D", "nnunet"): 5.088,
    ("AbdomenCT 3-D", "umamba_bot"): 6.739,
    ("AbdomenCT 3-D", "umamba_enc"): 22.376,
    ("AbdomenMR 2-D", "umamba_enc"): 23.335,
    ("Endoscopy 2-D", "umamba_enc"): 24.206,
    ("Microscopy 2-D", "nnunet"): 5.279,
    ("Microscopy 2-D", "umamba_enc"): 24.013,
    ("Microscopy 2-D", "umamba_enc_released"): 13.866,
    ("Microscopy 2-D", "umamba_bot_released"): 8.446,
}


@pytest.mark.parametrize("case", QUICK_HELD_OUT, ids=lambda case: f"{case.name}, {case.device}, {case.precision}")
def test_prediction_is_near_what_a_step_takes(case: Case) -> None:
    assert LOWEST < predict(case) / measure(case) < HIGHEST


@pytest.mark.parametrize(("plan", "model"), MEASURED)
def test_prediction_is_near_what_large_steps_took(plan: str, model: str) -> None:
    assert LOWEST < predict(Case(plan, model)) / (1e9 * MEASURED[plan, model]) < HIGHEST


def test_fake_tensors_take_what_real_ones_take() -> None:
    case = Case("tiny", "umamba_enc", device="cpu")
    assert measure(case) == measure(case, fake=False)


@pytest.mark.parametrize("ssm", [True, False])
@pytest.mark.parametrize("model", U_NETS)
def test_parameters_equal_those_of_the_network(model: str, ssm: bool) -> None:
    options = ModelOptions(ssm=ssm) if model.startswith("umamba") else ModelOptions()
    for configuration in [*SMALL.values(), PLANS["small 2-D"].configuration]:
        network = build_network(model, configuration, 2, 3, options=options)
        expected = sum(parameter.numel() for parameter in network.parameters())
        assert parameter_count(model, configuration_stages(configuration), 2, 3, ssm=ssm) == expected


def test_parameters_follow_a_plan_for_residual_encoders() -> None:
    counts = {"n_conv_per_stage": None, "n_blocks_per_stage": (2, 1, 3), "n_conv_per_stage_decoder": (1, 2)}
    configuration = SMALL["3d"].model_copy(update=counts)
    network = build_network("nnunet_resenc", configuration, 2, 3)
    expected = sum(parameter.numel() for parameter in network.parameters())
    assert parameter_count("nnunet_resenc", configuration_stages(configuration), 2, 3) == expected


def test_weights_and_momentum_are_eight_bytes_per_parameter_and_gradients_up_to_four() -> None:
    # 30 713 158 is the plain network's count for this plan (shared/reference/networks.json).
    memory = training_memory("nnunet", PLANS["AbdomenCT 3-D"].configuration, 1, 14)
    assert 8 * 30_713_158 <= memory.weights_and_optimizer <= 12 * 30_713_158


def test_total_is_the_sum_of_its_parts() -> None:
    configuration = PLANS["small cube"].configuration
    on_cpu = training_memory("umamba_enc", configuration, 1, 3, device="cpu")
    on_gpu = training_memory("umamba_enc", configuration, 1, 3)
    assert (on_cpu.allowance, on_gpu.allowance) == (0, CUDA_ALLOWANCE)
    for memory in (on_cpu, on_gpu):
        parts = memory.weights_and_optimizer, memory.activations, memory.workspace, memory.allowance
        assert memory.total == sum(parts)


def test_models_that_a_plan_has() -> None:
    topology, features = plan_topology((1, 1, 1), (32, 32, 32)), (32, 64, 128, 256)
    assert list(described_models(topology_stages(topology, features))) == U_NETS
    residual = topology_stages(topology, features, (1, 2, 3, 4), 3, residual=True)
    assert set(U_NETS) - set(described_models(residual)) == {"nnunet"}


@pytest.mark.parametrize("model", U_NETS)
def test_memory_grows_with_batch_and_patch(model: str) -> None:
    features = (32, 64, 128, 256, 320, 320)

    def total(depth: int, height: int, batch: int) -> int:
        stages = topology_stages(plan_topology((1, 1, 1), (depth, height, 96)), features[:5])
        return stages_memory(model, stages, batch, 1, 4).total

    # Up to where an axis would be halved once more, which changes the network.
    sizes = [[[total(d, h, b) for d in (64, 80, 96, 112)] for h in (96, 112)] for b in (2, 3, 9)]
    for by_height in sizes:
        assert all(row == sorted(set(row)) for row in by_height)
        assert all(low < high for low, high in zip(*by_height, strict=True))
    for column in range(4):
        assert sizes[0][0][column] < sizes[1][0][column] < sizes[2][0][column]


def test_float32_takes_more_than_mixed_precision() -> None:
    configuration = PLANS["hippocampus"].configuration
    for model in U_NETS:
        mixed = training_memory(model, configuration, 1, 3).total
        assert mixed < training_memory(model, configuration, 1, 3, precision="fp32").total


def test_mamba_layers_cost_memory() -> None:
    configuration = PLANS["cube 128"].configuration
    memory = {
        (model, ssm): training_memory(model, configuration, 1, 3, ssm=ssm).total
        for model in ("umamba_bot", "umamba_enc")
        for ssm in (True, False)
    }
    assert memory["umamba_bot", False] == memory["umamba_enc", False]
    assert memory["umamba_bot", False] < memory["umamba_bot", True] < memory["umamba_enc", True] / 2


def test_networks_without_a_description_are_not_counted() -> None:
    stages = configuration_stages(PLANS["small cube"].configuration)
    for count in (lambda: stages_memory("unetr", stages, 2, 1, 3), lambda: parameter_count("unetr", stages, 1, 3)):
        with pytest.raises(UserError, match="'unetr' are not described") as caught:
            count()
        assert str(caught.value.expected).endswith(", ".join(U_NETS))


def test_what_is_measured_is_the_rounded_patch() -> None:
    asked: list[tuple[int, ...]] = []

    def measure(spec: ModelSpec, stages: Sequence[Stage], training: Training) -> TrainingMemory:
        asked.extend(stage.size for stage in stages[:2])
        return TrainingMemory(1, 2, 3, 4)

    stages = configuration_stages(PLANS["hippocampus"].configuration)
    assert stages_memory("swin_unetr", stages, 2, 1, 3, measure=measure).total == 10
    assert asked == [(64, 64, 64), (32, 32, 32)]
    stages_memory("umamba_enc", stages, 2, 1, 3, measure=measure)
    assert len(asked) == 2, "a described network is counted"


def test_unknown_model_is_refused() -> None:
    with pytest.raises(UserError, match="umamba_enc"):
        training_memory("resnet", PLANS["small cube"].configuration, 1, 3)


def test_module_loads_no_torch() -> None:
    code = "import sys, umseg.architectures.memory.model; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
