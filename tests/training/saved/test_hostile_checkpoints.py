"""Checkpoints that can be read but lack something, or hold something else: an error that names it, nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.factories import make_network
from umseg.common.errors import UserError
from umseg.models.device import place
from umseg.training.config.training_config import TrainingConfig
from umseg.training.optim.average import WeightAverage
from umseg.training.optim.optimizer import build_optimizers
from umseg.training.saved import checkpoint
from umseg.training.saved.training_state import TrainingState

REMEDY = "Begin anew."
Change = Callable[[dict[str, Tensor], dict[str, Any]], object]


class Run:
    """A network in training, of which every weight had a gradient."""

    def __init__(self, optimizer: str, seed: int = 0) -> None:
        self.network = place(make_network(seed=seed), torch.device("cpu"))
        self.optimizers = build_optimizers(self.network, TrainingConfig(optimizer=optimizer))
        self.average = WeightAverage(self.network, 0.9)

    def step(self) -> None:
        for parameter in self.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update()

    def load(self, path: Path) -> dict[str, Any]:
        return checkpoint.load_training(path, self.network, self.optimizers, self.average, REMEDY)


def first(tensors: dict[str, Tensor], beginning: str, ending: str = "") -> str:
    return next(name for name in sorted(tensors) if name.startswith(beginning) and name.endswith(ending))


def drop(beginning: str, ending: str = "", *, every: bool = False) -> Change:
    def change(tensors: dict[str, Tensor], _: dict[str, Any]) -> None:
        chosen = first(tensors, beginning, ending)
        for name in [name for name in tensors if name.startswith(beginning)] if every else [chosen]:
            del tensors[name]

    return change


def replace(beginning: str, ending: str, make: Callable[[Tensor], Tensor]) -> Change:
    def change(tensors: dict[str, Tensor], _: dict[str, Any]) -> None:
        name = first(tensors, beginning, ending)
        tensors[name] = make(tensors[name])

    return change


def add(name: str, tensor: Tensor) -> Change:
    return lambda tensors, _: tensors.update({name: tensor})


def put(key: str, value: Any) -> Change:
    return lambda _, state: state.update({key: value})


def nan(tensor: Tensor) -> Tensor:
    changed = tensor.clone()
    changed.view(-1)[0] = float("nan")
    return changed


CHANGES: dict[str, Change] = {
    "a weight is missing": drop("network."),
    "all weights are missing": drop("network.", every=True),
    "the average is missing": drop("average.", every=True),
    "a weight of the average is missing": drop("average."),
    "a slot is missing": drop("optimizer.0.", "momentum_buffer"),
    "a second moment is missing": drop("optimizer.1.", "exp_avg_sq"),
    "steps are missing": drop("optimizer.1.", "step"),
    "another shape": replace("network.", ".weight", lambda tensor: tensor[:1]),
    "another shape of the average": replace("average.", ".weight", lambda tensor: tensor[:1]),
    "another shape of a slot": replace("optimizer.0.", "momentum_buffer", lambda tensor: tensor[:1]),
    "one number as a slot": replace("optimizer.0.", "momentum_buffer", lambda tensor: tensor.sum()),
    "several steps": replace("optimizer.1.", "step", lambda tensor: tensor.repeat(3)),
    "NaN in a weight": replace("network.", ".weight", nan),
    "infinity in a weight": replace("network.", ".weight", lambda tensor: tensor / 0),
    "NaN in the average": replace("average.", ".weight", nan),
    "NaN in a slot": replace("optimizer.0.", "momentum_buffer", nan),
    "whole numbers as weight": replace("network.", ".weight", lambda tensor: tensor.long()),
    "whole numbers as slot": replace("optimizer.1.", "exp_avg", lambda tensor: tensor.long()),
    "bool as weight": replace("network.", ".weight", lambda tensor: tensor.bool()),
    "an unknown tensor": add("other", torch.ones(2)),
    "an unknown optimiser": add("optimizer.7.0.momentum_buffer", torch.ones(2)),
    "an unknown parameter": add("optimizer.0.9999.momentum_buffer", torch.ones(2)),
    "a parameter that is no number": add("optimizer.0.x.momentum_buffer", torch.ones(2)),
    "a negative parameter": add("optimizer.0.-1.momentum_buffer", torch.ones(2)),
    "a slot without a name": add("optimizer.0.0.", torch.ones(2)),
    "the count is a text": put("optimizer_tensors", "3"),
    "updates are missing": lambda _, state: state.pop("average_updates"),
    "updates are a text": put("average_updates", "3"),
    "updates are negative": put("average_updates", -1),
    "updates are true": put("average_updates", True),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    run = Run("muon")
    run.step()
    path = tmp_path / "checkpoint_latest.safetensors"
    checkpoint.save_training(path, run.network, run.optimizers, run.average, {"log": []})
    assert Run("muon", seed=1).load(path) == {"log": []}
    return path


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_missing_or_wrong_is_named_and_nothing_is_changed(saved: Path, name: str) -> None:
    tensors, state = checkpoint.load_tensors(saved, REMEDY)
    CHANGES[name](tensors, state)
    checkpoint.save_tensors(saved, tensors, state)
    run = Run("muon", seed=1)
    before = {key: value.clone() for key, value in run.network.state_dict().items()}
    with pytest.raises(UserError) as caught:
        run.load(saved)
    assert (caught.value.file, caught.value.remedy) == (str(saved), REMEDY)
    assert caught.value.found
    assert caught.value.expected
    assert all(torch.equal(value, before[key]) for key, value in run.network.state_dict().items())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
def test_a_state_without_any_optimiser_is_refused(tmp_path: Path, optimizer: str) -> None:
    run = Run(optimizer)
    run.step()
    path = tmp_path / "c.safetensors"
    checkpoint.save_training(path, run.network, run.optimizers, run.average, {})
    tensors, state = checkpoint.load_tensors(path, REMEDY)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")}
    assert len(kept) < len(tensors)
    checkpoint.save_tensors(path, kept, state)
    with pytest.raises(UserError, match="not a checkpoint from which this training can go on"):
        Run(optimizer).load(path)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_so_is_one_of_an_earlier_version_that_has_made_steps(tmp_path: Path, optimizer: str) -> None:
    run = Run(optimizer)
    run.step()
    checkpoint.check_stepped(run.optimizers, tmp_path, REMEDY)
    with pytest.raises(UserError, match="not a checkpoint from which this training can go on"):
        checkpoint.check_stepped(Run(optimizer).optimizers, tmp_path, REMEDY)


ROW = {
    "epoch": 1,
    "lr": 0.01,
    "train_loss": 0.5,
    "validation_loss": 0.5,
    "dice": {"a": 0.5, "b": None},
    "mean_dice": 0.5,
    "ema_dice": 0.5,
    "seconds": 1.0,
    "seconds_per_iteration": 0.1,
}
SCALER = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0}
STATE: dict[str, Any] = {"log": [ROW, {**ROW, "epoch": 2}], "losses": [0.5, float("nan")], "scaler": SCALER}


def read(state: dict[str, Any]) -> TrainingState:
    path = Path("checkpoint_latest.safetensors")
    return TrainingState.read(state, path, REMEDY, epochs=2, iterations=3, classes=("a", "b"), scaler=SCALER)


def test_a_whole_state_is_read() -> None:
    state = read(STATE)
    assert [row.epoch for row in state.log] == [1, 2]
    assert dict(state.scaler) == SCALER
    assert type(state.scaler["growth_interval"]) is int
    assert state.stepped
    assert not read({"log": [], "losses": [float("nan")], "scaler": SCALER}).stepped


STATES: dict[str, dict[str, Any]] = {
    "no log": {key: value for key, value in STATE.items() if key != "log"},
    "no loss scale": {key: value for key, value in STATE.items() if key != "scaler"},
    "another part": {**STATE, "code": "import os"},
    "a log that is a text": {**STATE, "log": "epoch 1"},
    "a row without its loss": {**STATE, "log": [{key: value for key, value in ROW.items() if key != "train_loss"}]},
    "a row that is a number": {**STATE, "log": [3]},
    "a loss that is a text": {**STATE, "losses": ["low"]},
    "more epochs than asked for": {**STATE, "log": [{**ROW, "epoch": number} for number in (1, 2, 3)]},
    "epochs out of order": {**STATE, "log": [{**ROW, "epoch": 2}, ROW]},
    "an epoch twice": {**STATE, "log": [ROW, ROW]},
    "more iterations than an epoch has": {**STATE, "losses": [0.5] * 4},
    "other classes": {**STATE, "log": [{**ROW, "dice": {"a": 0.5, "liver": 0.5}}]},
    "a class less": {**STATE, "log": [{**ROW, "dice": {"a": 0.5}}]},
    "an empty loss scale": {**STATE, "scaler": {}},
    "a negative loss scale": {**STATE, "scaler": {**SCALER, "scale": -1.0}},
    "an infinite loss scale": {**STATE, "scaler": {**SCALER, "scale": float("inf")}},
    "a fraction as interval": {**STATE, "scaler": {**SCALER, "growth_interval": 0.5}},
    "a loss scale of a text": {**STATE, "scaler": {**SCALER, "scale": "large"}},
}


@pytest.mark.parametrize("name", STATES)
def test_states_that_are_refused(name: str) -> None:
    with pytest.raises(UserError) as caught:
        read(STATES[name])
    assert caught.value.file == "checkpoint_latest.safetensors"
    assert caught.value.expected
    assert caught.value.remedy == REMEDY
