from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.memory import Case, measure, predict
from tests.models.outside import FOLLOWING, HALVING, LOOKING, build_halving
from tests.models.plans import make_configuration
from umseg.architectures.memory.layers import CUDA_ALLOWANCE, Training
from umseg.architectures.options import ModelOptions
from umseg.architectures.stage import Stage, with_patch
from umseg.common.errors import UserError
from umseg.models import measured_memory
from umseg.models.measured_memory import LiveBytes, MemoryMeter, measure_peak
from umseg.planning.stages import configuration_stages

STAGES = configuration_stages(make_configuration((8, 12, 16), (4, 8), [[1] * 3, [2] * 3]))
TRAINING = Training(2, 1, 3, "fp32", "cpu")


def test_live_bytes_are_counted_until_they_are_freed() -> None:
    with LiveBytes() as memory:
        first = torch.zeros(1000)
        second = first + 1
        view = second[:10]
        assert (memory.live, memory.peak) == (8000, 8000)
        del first
        assert memory.live == 4000
        del second
        assert memory.live == 4000, "the view keeps the memory"
        del view
    assert (memory.live, memory.peak) == (0, 8000)


def test_the_peak_of_a_small_network_is_what_can_be_counted_by_hand() -> None:
    voxels, parameters = 2 * 8 * 12 * 16, 8 * 8 + 8 + 8 * 3 * 8 + 3
    half, logits, target = 8 * voxels // 8, 3 * voxels, 2 * voxels
    # The peak is the start of the backward pass. Weights and momentum, images, the features at half resolution, the
    # target in int64, the logits, three tensors of the logits' size that the loss keeps, and two gradients are alive.
    expected = 4 * (2 * parameters + voxels + half + target + (1 + 3 + 2) * logits)
    assert 0 <= measure_peak(HALVING, STAGES, TRAINING) - expected < 100, "but for a few scalars"


def test_memory_grows_with_batch_patch_and_classes() -> None:
    base = measure_peak(HALVING, STAGES, TRAINING)
    assert base < measure_peak(HALVING, STAGES, Training(3, 1, 3, "fp32", "cpu"))
    assert base < measure_peak(HALVING, STAGES, Training(2, 1, 4, "fp32", "cpu"))
    assert base < measure_peak(HALVING, with_patch(STAGES, (8, 12, 18)), TRAINING)
    assert base > measure_peak(HALVING, STAGES, Training(2, 1, 3, "mixed", "cpu"))


def test_a_gpu_has_an_allowance() -> None:
    meter = MemoryMeter()
    on_cpu = meter(HALVING, STAGES, TRAINING)
    on_gpu = meter(HALVING, STAGES, Training(2, 1, 3, "fp32", "cuda"))
    assert (on_cpu.allowance, on_gpu.allowance) == (0, CUDA_ALLOWANCE)
    assert on_gpu.total == on_cpu.total + CUDA_ALLOWANCE


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the networks that are really measured."""
    names: list[str] = []

    def note(spec: object, stages: object, training: object) -> int:
        names.append(spec.name)  # type: ignore[attr-defined]
        return 1000 + len(names)

    monkeypatch.setattr(measured_memory, "measure_peak", note)
    return names


def test_measurements_are_remembered_in_the_file(tmp_path: Path, measured: list[str]) -> None:
    file = tmp_path / "memory.json"
    first = MemoryMeter(file)(HALVING, STAGES, TRAINING)
    assert MemoryMeter(file)(HALVING, STAGES, TRAINING) == first
    assert measured == ["halving"]
    MemoryMeter(file)(HALVING, STAGES, Training(3, 1, 3, "fp32", "cpu"))
    assert measured == ["halving"] * 2
    content = json.loads(file.read_text())
    assert content["schema_version"] == 1
    assert [key.split(":")[0] for key in content["peaks"]] == ["halving"] * 2
    assert all(f"torch {torch.__version__}" in key for key in content["peaks"])


def test_two_meters_keep_what_the_other_wrote(tmp_path: Path, measured: list[str]) -> None:
    file = tmp_path / "memory.json"
    first, second = MemoryMeter(file), MemoryMeter(file)
    first(HALVING, STAGES, TRAINING)
    second(FOLLOWING, STAGES, TRAINING)
    assert len(json.loads(file.read_text())["peaks"]) == 2


@pytest.mark.parametrize("content", ["", "{}[", '{"schema_version": 9}', '{"peaks": {"a": "b"}}'])
def test_a_damaged_file_is_replaced(tmp_path: Path, measured: list[str], content: str) -> None:
    file = tmp_path / "memory.json"
    file.write_text(content)
    assert MemoryMeter(file)(HALVING, STAGES, TRAINING).total == 1001
    assert list(json.loads(file.read_text())["peaks"].values()) == [1001]


def test_plans_matter_only_to_networks_that_follow_them(measured: list[str]) -> None:
    meter = MemoryMeter()
    wider = [Stage(99, stage.size, stage.stride, stage.kernel) for stage in STAGES]
    for spec in (HALVING, FOLLOWING):
        meter(spec, STAGES, TRAINING)
        meter(spec, wider, TRAINING)
    assert measured == ["halving", "following", "following"]


def test_a_network_that_looks_at_values_is_refused() -> None:
    with pytest.raises(UserError, match="'looking' cannot be measured") as caught:
        measure_peak(LOOKING, STAGES, Training(2, 1, 2, "fp32", "cpu"))
    assert "--patch-size" in str(caught.value.remedy)


def test_measuring_leaves_real_tensors_alone() -> None:
    torch.manual_seed(0)
    measure_peak(HALVING, STAGES, TRAINING)
    network = build_halving(STAGES, 1, 3, False, ModelOptions())
    assert torch.isfinite(network(torch.randn(1, 1, 8, 12, 16))).all()


@pytest.mark.parametrize("precision", ["mixed", "fp32"])
def test_a_single_step_takes_what_the_trainers_steps_take(precision: str) -> None:
    pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    case = Case("2-D, 100 classes", "segresnet", precision=precision)  # type: ignore[arg-type]
    assert predict(case) == pytest.approx(measure(case), rel=0.01)


# Trainer's steps, measured with `python benchmarks/memory.py` (MONAI 1.6.1, torch 2.13), on GPU operators, in GB.
@pytest.mark.parametrize(("model", "peak"), [("segresnet", 9.350), ("unetr", 5.159), ("swin_unetr", 27.625)])
def test_large_steps_take_what_they_took(model: str, peak: float) -> None:
    pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    assert predict(Case("AbdomenCT 3-D", model)) == pytest.approx(1e9 * peak, rel=0.01)
