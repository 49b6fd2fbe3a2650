from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from tests.training.factories import make_configuration, make_network
from umseg.common.errors import UserError
from umseg.kernels.runtime.memory_format import channels_last
from umseg.models.device import place
from umseg.training.config.training_config import TrainingConfig
from umseg.training.loss.segmentation import SegmentationLoss
from umseg.training.loss.targets import Targets
from umseg.training.optim.optimizer import build_optimizers
from umseg.training.saved import checkpoint, tensor_file
from umseg.workspace import LATEST

REMEDY = "Begin anew."
OPTIONS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"optimizer": "adamw"},
    "muon": {"optimizer": "muon"},
    "two": {"ssm_optimizer": "adamw"},
}


class Run:
    """A network in training on one thread, on batches that depend on the step only."""

    def __init__(self, options: dict[str, Any], seed: int = 0) -> None:
        model = "umamba_bot" if "ssm_optimizer" in options else "nnunet"
        self.network = place(make_network(model=model, seed=seed), torch.device("cpu"))
        self.optimizers = build_optimizers(self.network, TrainingConfig(**options))

    def step(self, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        data = torch.randn((2, 1, 8, 8, 8), generator=generator)
        target = torch.randint(0, 3, (2, 8, 8, 8), generator=generator)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        SegmentationLoss(Targets(("a", "b")), True).of_head(self.network(channels_last(data)), target).backward()
        for optimizer in self.optimizers:
            optimizer.step()


def assert_same_weights(network: nn.Module, other: nn.Module) -> None:
    expected = other.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    checkpoint.save_tensors(path, make_network().state_dict())
    return path


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_interruption_changes_no_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / LATEST
    whole = Run(options)
    for number in range(2):
        whole.step(number)
    checkpoint.save_training(path, whole.network, whole.optimizers, None, {"epoch": 2, "scaler": {}})
    resumed = Run(options, seed=1)
    state = checkpoint.load_training(path, resumed.network, resumed.optimizers, None, REMEDY)
    assert state == {"epoch": 2, "scaler": {}}
    assert_same_weights(resumed.network, whole.network)
    for number in range(2, 4):
        whole.step(number)
        resumed.step(number)
    assert_same_weights(resumed.network, whole.network)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_slots_of_the_optimiser_come_back_in_their_layout(tmp_path: Path, options: dict[str, Any]) -> None:
    whole, resumed = Run(options), Run(options, seed=1)
    whole.step(0)
    checkpoint.save_training(tmp_path / "c.safetensors", whole.network, whole.optimizers, None, {})
    checkpoint.load_training(tmp_path / "c.safetensors", resumed.network, resumed.optimizers, None, REMEDY)
    strided = 0
    for optimizer, other in zip(resumed.optimizers, whole.optimizers, strict=True):
        slots, expected = optimizer.state_dict()["state"], other.state_dict()["state"]
        assert slots.keys() == expected.keys()
        for index, tensors in expected.items():
            assert slots[index].keys() == tensors.keys()
            for name, tensor in tensors.items():
                if isinstance(tensor, torch.Tensor):
                    assert torch.equal(slots[index][name], tensor)
                    assert slots[index][name].stride() == tensor.stride()
                    strided += not tensor.is_contiguous()
    assert strided, "no parameter is channels-last: the test shows nothing"


def test_before_the_first_step_there_are_no_slots(tmp_path: Path) -> None:
    whole, resumed = Run({}), Run({}, seed=1)
    checkpoint.save_training(tmp_path / "c.safetensors", whole.network, whole.optimizers, None, {})
    checkpoint.load_training(tmp_path / "c.safetensors", resumed.network, resumed.optimizers, None, REMEDY)
    whole.step(0)
    resumed.step(0)
    assert_same_weights(resumed.network, whole.network)


def test_weights_round_trip(saved: Path) -> None:
    network = make_network(seed=1)
    checkpoint.load_weights(network, saved, REMEDY)
    assert_same_weights(network, make_network())


def test_tensors_and_state_round_trip(tmp_path: Path) -> None:
    tensors = {"half": torch.ones(3, dtype=torch.bfloat16), "steps": torch.tensor(7), "none": torch.empty((0, 2))}
    state = {"log": [{"dice": None, "name": "Müller"}], "number": 0.1}
    checkpoint.save_tensors(tmp_path / "t.safetensors", tensors, state)
    found, text = checkpoint.load_tensors(tmp_path / "t.safetensors", REMEDY)
    assert text == state
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_file_is_a_json_header_and_numbers(tmp_path: Path) -> None:
    """No pickle: eight bytes of length, JSON of that length, then as many bytes as the header announces."""
    run = Run({})
    run.step(0)
    checkpoint.save_training(tmp_path / "c.safetensors", run.network, run.optimizers, None, {"epoch": 1})
    file = (tmp_path / "c.safetensors").read_bytes()
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    content = json.loads(header.pop("__metadata__")["umseg"])
    assert len(content.pop("sha256")) == 64
    assert content["state"].pop("optimizer_tensors") > 0
    assert content == {"state": {"epoch": 1}}
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(file) - 8 - length


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_damaged(saved: Path, share: float) -> None:
    saved.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    with pytest.raises(UserError, match="is damaged") as caught:
        checkpoint.load_weights(make_network(), saved, REMEDY)
    assert (caught.value.file, caught.value.remedy) == (str(saved), REMEDY)
    assert caught.value.found


def test_another_format_is_damaged(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "foreign.pth")
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.load_tensors(tmp_path / "foreign.pth", REMEDY)


def test_a_folder_is_no_weights_file(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        checkpoint.load_tensors(tmp_path, REMEDY)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist") as caught:
        checkpoint.load_tensors(tmp_path / "none.safetensors", REMEDY)
    assert caught.value.remedy == REMEDY


def test_weights_of_another_network(saved: Path) -> None:
    wider = make_network(make_configuration(features_per_stage=(4, 16)))
    with pytest.raises(UserError, match="do not belong to this network") as caught:
        checkpoint.load_weights(wider, saved, REMEDY)
    assert "8 x 4 x 3 x 3 x 3" in str(caught.value.found)
    assert "16 x 4 x 3 x 3 x 3" in str(caught.value.expected)
    with pytest.raises(UserError, match="do not belong to this network"):
        checkpoint.load_training(saved, make_network(), [], None, REMEDY)


@pytest.mark.parametrize("number", [28, 112])
def test_a_full_disk_leaves_the_old_file_whole(saved: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before = saved.read_bytes()

    def full(_: object, path: Path, *__: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError(f"Error while serializing: I/O error: No space left on device (os error {number})")

    monkeypatch.setattr(tensor_file, "save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        checkpoint.save_tensors(saved, {"a": torch.ones(3)})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_file_that_may_not_grow_leaves_the_old_one_whole(saved: Path) -> None:
    """The library's own words for an error of the system, as a quota would cause it."""
    resource = pytest.importorskip("resource", reason="this system has no limits on files")
    before = saved.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match="cannot be written"):
            checkpoint.save_tensors(saved, {"a": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_an_error_that_is_not_the_systems_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SafetensorError("a tensor is sparse")

    monkeypatch.setattr(tensor_file, "save_file", fail)
    with pytest.raises(SafetensorError, match="sparse"):
        checkpoint.save_tensors(tmp_path / "a.safetensors", {})
    assert not list(tmp_path.iterdir())
