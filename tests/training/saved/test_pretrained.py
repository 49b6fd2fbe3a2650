from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.factories import make_card, make_configuration, make_network
from umseg.common.errors import UserError
from umseg.models import build_network
from umseg.training.data.splits import Split
from umseg.training.saved import checkpoint
from umseg.training.saved.pretrained import load_pretrained
from umseg.workspace import CARD, FINAL


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A model folder with a network of three classes."""
    card = make_card(mirror_axes=(0, 1, 2))
    card.save(tmp_path / CARD)
    for fold, seed in (("0", 5), ("all", 6)):
        network = make_network(seed=seed)
        checkpoint.save_tensors(tmp_path / f"fold_{fold}" / FINAL, network.state_dict())
    return tmp_path


def test_all_weights_of_an_equal_network(other: Path) -> None:
    network = make_network()
    loaded = load_pretrained(network, other)
    assert loaded.file.parent.name == "fold_all"
    assert not loaded.fresh
    expected = make_network(seed=6).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def test_heads_of_other_classes_stay_fresh(other: Path) -> None:
    torch.manual_seed(0)
    network = build_network("nnunet", make_configuration(), 1, 5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loaded = load_pretrained(network, other)
    assert loaded.fresh == ("heads.0.bias", "heads.0.weight")
    assert "not loaded: heads.0" in str(loaded)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in loaded.fresh)
    expected = make_network(seed=6).state_dict()
    assert all(torch.equal(after[name], expected[name]) for name in loaded.taken)


def test_another_network_is_refused(other: Path) -> None:
    wide = make_network(make_configuration(features_per_stage=(6, 12)))
    with pytest.raises(UserError, match="do not fit") as caught:
        load_pretrained(wide, other)
    assert "--like" in str(caught.value.remedy)


def test_a_folder_without_weights_is_refused(other: Path) -> None:
    for file in other.glob("fold_*/*"):
        file.unlink()
    with pytest.raises(UserError, match="no trained weights"):
        load_pretrained(make_network(), other)


def record(other: Path, fold: str, train: tuple[str, ...], validation: tuple[str, ...]) -> None:
    Split(train=train, validation=validation).save(other / f"fold_{fold}" / "split.json")


def load(other: Path, fold: int | str, validation: tuple[str, ...], dataset: str = "Dataset001_Other") -> str:
    """The name of the fold whose weights are taken."""
    loaded = load_pretrained(make_network(), other, dataset=dataset, fold=fold, validation=validation)
    return loaded.file.parent.name


def test_of_a_model_of_the_same_data_the_same_fold(other: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load(other, 0, ("a",)) == "fold_0"
    assert load(other, "all", ("a", "b")) == "fold_all"
    assert load(other, 0, ("a",), dataset="Dataset002_Target") == "fold_all"
    assert not caplog.text


def test_weights_that_have_seen_validation_cases_are_named(other: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load(other, 1, ("a", "b")) == "fold_all"
    assert "Fold all of" in caplog.text
    assert "was trained on validation cases of fold 1 (a, b)" in caplog.text


def test_recorded_cases_decide_which_fold_is_clean(other: Path, caplog: pytest.LogCaptureFixture) -> None:
    record(other, "0", ("c", "d"), ("a",))
    assert load(other, 1, ("a", "b")) == "fold_0"
    assert not caplog.text
    record(other, "0", ("a", "c", "d"), ("b",))
    record(other, "all", ("a", "b", "c", "d"), ("a", "b", "c", "d"))
    assert load(other, 0, ("a", "b")) == "fold_0"
    assert "Fold 0 of" in caplog.text
    assert "validation cases of fold 0 (a)" in caplog.text
