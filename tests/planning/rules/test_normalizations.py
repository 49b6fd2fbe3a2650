"""The table of the normalisations, and one that another package adds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.entry_points import add_from_outside
from umseg.planning.rules.normalizations import (
    NORMALIZATIONS,
    NormalizationSpec,
    needs_statistics,
    scheme_of_channel,
    uses_mask,
)
from umseg.preprocess.normalize import normalize


def halve(channel: np.ndarray, mask: object, statistics: object) -> None:
    channel /= 2


HALVE = NormalizationSpec("Halving", "half of every value", ("pet",), halve)


@pytest.mark.parametrize(
    ("channel", "scheme"),
    [
        ("CT", "CTNormalization"),
        ("zscore", "ZScoreNormalization"),
        ("T1", "ZScoreNormalization"),
        ("noNorm", "NoNormalization"),
        ("rescale_to_0_1", "RescaleTo01Normalization"),
        ("RGB_to_0_1", "RGBTo01Normalization"),
    ],
)
def test_the_name_of_a_channel_chooses(channel: str, scheme: str) -> None:
    assert scheme_of_channel(channel) == scheme


def test_what_plans_and_provenance_ask() -> None:
    assert [name for name in NORMALIZATIONS if uses_mask(name)] == ["ZScoreNormalization"]
    assert [name for name in NORMALIZATIONS if needs_statistics(name)] == ["CTNormalization"]
    assert not needs_statistics("OfAnotherSystem")
    assert all(spec.name == name and spec.description for name, spec in NORMALIZATIONS.items())


def test_a_normalisation_from_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    add_from_outside(monkeypatch, NORMALIZATIONS, "Halving", f"{__name__}:HALVE")
    assert scheme_of_channel("PET") == "Halving"
    channel = np.full((1, 2, 2), 8, dtype=np.float32)
    np.testing.assert_array_equal(normalize(channel, "Halving"), np.full((1, 2, 2), 4, dtype=np.float32))
