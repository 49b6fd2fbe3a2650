from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.inference.models import make_image, make_plan, write_model
from umseg.evaluation import dice
from umseg.inference import Predictor
from umseg.inference.confidence import Agreement, case_confidence
from umseg.inference.ensemble import Ensemble
from umseg.inference.loading import load_segmenter
from umseg.inference.model import LoadedModel
from umseg.inference.options import LoadOptions
from umseg.inference.outputs.statistics import StatisticsOutput
from umseg.inference.outputs.statistics_records import CaseStatistics
from umseg.models.card import load_card


def sums(*members: list[int], classes: int = 3) -> torch.Tensor:
    """Member sums of one plane with one row, whose largest outputs are the given classes."""
    labels = torch.tensor(members)
    return torch.nn.functional.one_hot(labels, classes).float().permute(0, 2, 1)[:, :, None, None, :]


def test_the_mean_over_pairs() -> None:
    agreement = Agreement(3, 3)
    agreement.add(sums([1, 1, 0, 2], [1, 0, 0, 2], [1, 1, 0, 0]))
    liver, tumour = agreement.dice()
    assert liver == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert tumour == pytest.approx((1 + 0 + 0) / 3)


def test_a_class_that_nobody_finds_has_no_confidence() -> None:
    agreement = Agreement(2, 3)
    agreement.add(sums([1, 0], [1, 0]))
    assert agreement.dice()[0] == 1
    assert math.isnan(agreement.dice()[1])
    assert case_confidence(agreement.dice()) == 1
    assert case_confidence([math.nan]) == 1


@given(st.integers(0, 1000), st.booleans(), st.integers(1, 4))
def test_slabs_add_up_to_the_dice_of_whole_label_maps(seed: int, regions: bool, height: int) -> None:
    members = torch.randn((3, 4, 5, 3, 6), generator=torch.Generator().manual_seed(seed))
    agreement = Agreement(3, 4, regions=regions)
    for start in range(0, 5, height):
        agreement.add(members[:, :, start : start + height])
    masks = members > 0 if regions else torch.stack([members.argmax(dim=1) == c for c in range(4)], dim=1)
    for output, found in zip(range(0 if regions else 1, 4), agreement.dice(), strict=True):
        pairs = [(0, 1), (0, 2), (1, 2)]
        expected = [dice(masks[a, output].numpy(), masks[b, output].numpy()) for a, b in pairs]
        assert found == pytest.approx(np.nanmean(expected))


SPACING = (1.0, 1.0, 1.0)


@pytest.mark.parametrize("most_bytes", [None, 50_000])
def test_folds_that_predict_apart_agree_as_much_as_they_do_together(tmp_path: Path, most_bytes: int | None) -> None:
    folder = write_model(tmp_path / "nnunet__small", folds=("0", "1"))
    image = make_image((9, 31, 11))[None]
    model = LoadedModel(folder, "cpu", LoadOptions(precision="fp32", confidence=True, most_bytes=most_bytes))
    prepared = model.prepare(image, SPACING)
    assert (len(model.strips(prepared)) > 1) is (most_bytes is not None)
    found = model.segment(prepared)
    folds = [Predictor(folder, "cpu", precision="fp32", folds=[fold]).predict(image, SPACING) for fold in "01"]
    assert found.confidence is not None
    np.testing.assert_allclose(found.confidence, [dice(folds[0] == c, folds[1] == c) for c in (1, 2)])
    plain = Predictor(folder, "cpu", precision="fp32").predict(image, SPACING)
    np.testing.assert_array_equal(found.label_map, plain)


def test_flips_of_a_single_fold_are_compared(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "nnunet__small")
    plain = LoadedModel(folder, "cpu", LoadOptions(precision="fp32", confidence=True))
    assert plain.segment(plain.prepare(make_image()[None], SPACING)).confidence is None
    mirrored = LoadedModel(folder, "cpu", LoadOptions(precision="fp32", confidence=True, mirror=True))
    found = mirrored.segment(mirrored.prepare(make_image()[None], SPACING)).confidence
    assert found is not None
    assert all(0 <= value < 1 for value in found)


REGIONS: dict[str, Any] = {
    "labels": {"background": 0, "all": [1, 2, 3], "core": [2, 3], "rim": 3},
    "regions_class_order": (3, 1, 2),
}


@pytest.mark.parametrize("most_bytes", [None, 60_000])
@pytest.mark.parametrize("description", [{}, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_models_that_predict_together_are_compared_on_the_image(
    tmp_path: Path, order: tuple[int, int, int], description: dict[str, Any], most_bytes: int | None
) -> None:
    """Whatever the folds of each, the plans, the axes and the strips."""
    first = write_model(tmp_path / "nnunet__first", folds=("0", "1"), **description)
    other = write_model(tmp_path / "nnunet__other", folds=("2",), **description)
    small = make_plan(3, order)
    small = small.model_copy(
        update={"configurations": {"small": small.configuration("small").model_copy(update={"spacing": (2, 1.5, 1)})}}
    )
    load_card(other).model_copy(update={"plan": small}).save(other / "model.json")
    options = LoadOptions(precision="fp32", confidence=True, most_bytes=most_bytes)
    together = load_segmenter([first, other], "cpu", options)
    assert isinstance(together, Ensemble)
    image = make_image((9, 31, 11))[None]
    found = together.segment(together.prepare(image, SPACING))
    each = [
        Predictor(folder, "cpu", precision="fp32").predict(image, SPACING, probabilities=True)[1]
        for folder in (first, other)
    ]
    masks = [one > 0.5 if description else one.argmax(axis=0) == np.arange(1, 3)[:, None, None, None] for one in each]
    assert found.confidence is not None
    np.testing.assert_allclose(found.confidence, [dice(one, two) for one, two in zip(*masks, strict=True)])
    plain = Predictor([first, other], "cpu", precision="fp32").predict(image, SPACING)
    np.testing.assert_array_equal(
        together.finish(found.label_map, together.turn_of(together.prepare(image, SPACING))), plain
    )


@pytest.mark.parametrize(
    ("axes", "folds", "options", "expected"),
    [
        ((0, 1, 2), ("0",), {"confidence": True}, "--mirror, which takes 8 times as long"),
        ((), ("0",), {"confidence": True}, "several folds or models."),
        ((0, 1, 2), ("0",), {"confidence": True, "mirror": True}, None),
        ((0, 1, 2), ("0", "1"), {"confidence": True}, None),
        ((0, 1, 2), ("0",), {}, None),
    ],
)
def test_a_single_fold_is_told_how_to_get_one(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    axes: tuple[int, ...],
    folds: tuple[str, ...],
    options: dict[str, bool],
    expected: str | None,
) -> None:
    folder = write_model(tmp_path / "nnunet__small", folds=folds)
    load_card(folder).model_copy(update={"mirror_axes": axes}).save(folder / "model.json")
    with caplog.at_level("INFO"):
        load_segmenter(folder, "cpu", LoadOptions(precision="fp32", **options))  # type: ignore[arg-type]
    told = [record.getMessage() for record in caplog.records if "no confidence" in record.getMessage()]
    assert told == [] if expected is None else told[0].endswith(expected if "." in expected else expected + ".")


def test_statistics_state_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "nnunet__small", folds=("0", "1"))
    nibabel.save(nibabel.Nifti1Image(make_image().T, np.eye(4)), tmp_path / "a_0000.nii.gz")
    predictor = Predictor(folder, "cpu", precision="fp32", confidence=True)
    predictor.predict_files(tmp_path / "a_0000.nii.gz", tmp_path / "out", quiet=True, outputs=[StatisticsOutput()])
    stated = CaseStatistics.load(tmp_path / "out" / "statistics" / "a.json", "")
    classes = [entry.confidence for entry in stated.classes]
    assert all(value is not None and 0 < value < 1 for value in classes)
    assert stated.confidence == pytest.approx(np.mean([value for value in classes if value is not None]))
