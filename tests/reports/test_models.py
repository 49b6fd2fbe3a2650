from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import pytest

from tests.models.outside import install
from tests.models.plans import BASELINES
from tests.models.plans import HIPPOCAMPUS as ANY_BATCH
from umseg.architectures.memory.layers import CUDA_ALLOWANCE, Training, TrainingMemory
from umseg.architectures.spec import ModelSpec
from umseg.architectures.stage import Stage
from umseg.dataset.description import DatasetDescription
from umseg.models import MODELS, build_network
from umseg.models.measured_memory import MemoryMeter
from umseg.planning.training_memory import training_memory
from umseg.reports.models import describe_models, format_models

HIPPOCAMPUS = ANY_BATCH.model_copy(update={"batch_size": 7})
DESCRIPTION = DatasetDescription(
    channel_names={"0": "MRI"},
    labels={"background": 0, "anterior": 1, "posterior": 2},
    numTraining=208,
    file_ending=".nii.gz",
)


def instantly(spec: ModelSpec, stages: Sequence[Stage], training: Training) -> TrainingMemory:
    return TrainingMemory(0, 12_600_000_000, 0, 0)


def test_every_model_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    install(monkeypatch, gone="umseg_no_such_module:NETWORK", halving="tests.models.outside:HALVING")
    facts = {fact.name: fact for fact in describe_models(HIPPOCAMPUS, DESCRIPTION, MemoryMeter())}
    assert set(facts) == set(MODELS)
    assert list(facts)[:9] == list(MODELS)[:9]
    plain = facts["nnunet"]
    assert plain.parameters == sum(p.numel() for p in build_network("nnunet", HIPPOCAMPUS, 1, 3).parameters())
    assert plain.memory == training_memory("nnunet", HIPPOCAMPUS, 1, 3).total
    assert facts["umamba_enc"].macs > facts["umamba_bot"].macs > plain.macs
    text = "\n".join(format_models(facts.values(), HIPPOCAMPUS.batch_size))
    assert "training memory (batch 7)" in text
    assert 'pip install "umseg[baselines]"' in text
    assert "Update or uninstall umseg_no_such_module:NETWORK." in text
    assert re.search(r"^nnunet +nnU-Net v2: the plain U-Net$", text, flags=re.MULTILINE)
    assert facts["halving"].parameters == 8 * 8 + 8 + 8 * 3 * 8 + 3
    assert facts["halving"].memory > CUDA_ALLOWANCE
    row, _ = (line for line in text.splitlines() if line.startswith("nnunet "))
    assert row.split() == ["nnunet", "40x56x40", "5.6", "M", "19", "G", "1.8", "GB"]


def test_multiply_accumulates_are_those_of_the_convolutions() -> None:
    configuration = HIPPOCAMPUS.model_copy(
        update={
            "patch_size": (8, 8, 8),
            "features_per_stage": (4,),
            "strides": ((1, 1, 1),),
            "kernel_sizes": ((3, 3, 3),),
            "num_pool_per_axis": (0, 0, 0),
            "n_conv_per_stage": (2,),
            "n_conv_per_stage_decoder": (),
        }
    )
    (plain,) = (fact for fact in describe_models(configuration, DESCRIPTION, instantly) if fact.name == "nnunet")
    assert plain.macs == 8**3 * (27 * 1 * 4 + 27 * 4 * 4 + 4 * 3)


def test_networks_of_monai_have_patches_of_their_own() -> None:
    pytest.importorskip("monai", reason="the extra 'baselines' is not installed")
    facts = {fact.name: fact for fact in describe_models(HIPPOCAMPUS, DESCRIPTION, instantly)}
    assert facts["swin_unetr"].patch == (64, 64, 64)
    assert facts["unetr"].parameters > 90e6
    for model in BASELINES:
        assert facts[model].memory == 12.6e9
    assert "12.6 GB" in "\n".join(format_models([facts["swin_unetr"]], 7))
