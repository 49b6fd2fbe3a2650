"""A model is published with a card that says what is known of it; what was published is what is predicted with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.inference.bundle.hub_server import TOKEN, UPLOADS, Hub, Repository
from tests.inference.models import make_image
from tests.workflows.bundle.models import write_trained
from umseg.common.errors import UserError
from umseg.inference import Predictor
from umseg.inference.bundle.hub import HubModel, hub_model
from umseg.workflows.bundle.export import Terms
from umseg.workflows.bundle.push import push

pytestmark = UPLOADS
TARGET = HubModel("clinic/liver")
TERMS = Terms(licence="CC-BY-4.0", intended_use="Research on livers, not on *hearts*.")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return write_trained(tmp_path / "nnunet__small")


@pytest.fixture
def login(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.mark.usefixtures("login")
def test_what_was_published_is_what_predicts(hub: Hub, trained: Path, cache: Path) -> None:
    push(trained, TARGET, terms=TERMS)
    repository = hub.repositories["clinic/liver"]
    assert set(repository.files) == {"README.md", "model.umseg"}
    assert (repository.visibility, repository.commits) == ("private", 1)
    image = make_image()[None], (1.0, 1.0, 1.0)
    expected = Predictor(trained, "cpu", precision="fp32").predict(*image)
    np.testing.assert_array_equal(Predictor("hf://clinic/liver", "cpu", precision="fp32").predict(*image), expected)


@pytest.mark.usefixtures("login")
def test_the_card_says_what_is_known(hub: Hub, trained: Path) -> None:
    push(trained, TARGET, terms=TERMS, public=True)
    repository = hub.repositories["clinic/liver"]
    assert repository.visibility == "public"
    text = repository.files["README.md"].decode()
    assert hub.cards == [text]
    _, front, body = text.split("---\n", 2)
    metadata: dict[str, Any] = yaml.safe_load(front)
    assert metadata["license"] == "cc-by-4.0"
    assert (metadata["library_name"], metadata["pipeline_tag"]) == ("umseg", "image-segmentation")
    metrics = metadata["model-index"][0]["results"][0]["metrics"]
    # organ: 0.9, 0.7, 0.9, 0.7; tumour: 0.5, 0.3, 0.5, 0.3.
    assert metrics[0] == {"type": "dsc", "name": "DSC, mean of classes", "value": 0.6}
    for line in (
        "# liver",
        "| organ | 1 | `#1f77b4` |",
        "| organ | 4 | 0.800 ± 0.100 | 2.00 ± 0.00 |",
        "| tumour | 4 | 0.400 ± 0.100 | 2.00 ± 0.00 |",
        "| mean of classes | 4 | 0.600 ± 0.100 | 2.00 ± 0.00 |",
        "* Tolerance: 1.5 mm.",
        "| 0 | 3 | 2 | 50 | 20 |",
        "Research on livers, not on *hearts*.",
        "umseg predict --model hf://clinic/liver --input IMAGES --output LABELS",
    ):
        assert line in body.splitlines()


@pytest.mark.usefixtures("login")
def test_an_earlier_model_is_replaced_on_request_only(hub: Hub, trained: Path) -> None:
    hub.repositories["clinic/liver"] = Repository({"model.umseg": b"earlier", "README.md": b"by hand"})
    with pytest.raises(UserError, match="holds a model already"):
        push(trained, TARGET)
    assert hub.repositories["clinic/liver"].files["README.md"] == b"by hand"
    push(trained, TARGET, overwrite=True)
    assert hub.repositories["clinic/liver"].files["model.umseg"].startswith(b"PK")


@pytest.mark.usefixtures("login")
def test_an_empty_repository_may_be_filled(hub: Hub, trained: Path) -> None:
    hub.repositories["clinic/liver"] = Repository()
    push(trained, TARGET)
    assert "model.umseg" in hub.repositories["clinic/liver"].files


def test_without_login_nothing_is_written(hub: Hub, trained: Path) -> None:
    with pytest.raises(UserError, match="not logged in"):
        push(trained, TARGET)
    assert not hub.requests


@pytest.mark.usefixtures("login")
def test_without_permission_that_is_said(hub: Hub, trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub.refuses_writing = True
    with caplog.at_level(logging.DEBUG, "umseg"), pytest.raises(UserError, match="cannot be written") as caught:
        push(trained, TARGET)
    assert caught.value.found == "the hub refused it (403)"
    assert TOKEN not in str(caught.value) + caplog.text


@pytest.mark.usefixtures("login")
def test_a_damaged_model_is_not_published(hub: Hub, trained: Path) -> None:
    (trained / "fold_0" / "weights_final.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        push(trained, TARGET)
    assert not hub.repositories


def test_a_revision_is_no_place_for_a_new_model(trained: Path) -> None:
    with pytest.raises(UserError, match="newest revision"):
        push(trained, hub_model("hf://clinic/liver@v1"))
