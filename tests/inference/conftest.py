"""A small model, and a predictor that has loaded it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.models import write_model
from umseg.inference import Predictor


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "nnunet__small")


@pytest.fixture
def predictor(model: Path) -> Predictor:
    return Predictor(model, "cpu", precision="fp32")
