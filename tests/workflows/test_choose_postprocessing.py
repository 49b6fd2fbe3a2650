"""Which post-processing the validation of a fold chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.dataset.builder import write_image
from tests.inference.models import write_model
from tests.inference.postprocessing.test_instances import OBJECTS
from umseg.common.errors import UserError
from umseg.dataset.dataset import Case, Dataset
from umseg.dataset.io.images import read_geometry, read_label
from umseg.evaluation import InstanceMetrics, Pair, instance_f1
from umseg.evaluation.instance_pairs import evaluate_instances
from umseg.inference import Predictor
from umseg.inference.postprocessing.instances import Postprocessing
from umseg.models.card import ModelCard
from umseg.preprocess.instance_cleaning import Cleaning, remove_small_objects
from umseg.training.data.splits import Split, Splits
from umseg.workflows.choose_postprocessing import (
    best_of,
    candidate_sizes,
    choice_message,
    choose_postprocessing,
    clean_files,
    cleanings,
)
from umseg.workflows.validate import earlier_validation, validate_fold
from umseg.workspace import FoldFolder, Workspace


def squares(size: int = 8, count: int = 3) -> NDArray[np.uint16]:
    """(y, x): squares in a row."""
    found = np.zeros((20, 16 * count), np.uint16)
    for number in range(count):
        found[4 : 4 + size, 16 * number + 4 : 16 * number + 4 + size] = number + 1
    return found


def with_specks(instances: NDArray[np.uint16], count: int = 5) -> NDArray[np.uint16]:
    found: NDArray[np.uint16] = instances.copy()
    for number in range(count):
        found[17, 3 * number + 1 : 3 * number + 3] = instances.max() + 1 + number
    return found


def pairs_of(folder: Path, *maps: tuple[NDArray[np.uint16], NDArray[np.uint16]]) -> list[Pair]:
    """Files of predictions and references."""
    return [
        Pair(
            f"case_{number}",
            write_image(folder / "predictions" / f"case_{number}.png", prediction),
            write_image(folder / "references" / f"case_{number}.png", reference),
        )
        for number, (prediction, reference) in enumerate(maps)
    ]


def choice(chosen: Postprocessing) -> tuple[int, bool]:
    return chosen.smallest, chosen.fill_holes


def test_specks_are_removed_by_the_gentlest_size(tmp_path: Path) -> None:
    pairs = pairs_of(tmp_path, (with_specks(squares()), squares()), (squares(), squares()))
    chosen = choose_postprocessing(pairs)
    assert choice(chosen) == (32, False), "half of a square of 64 pixels"
    assert (chosen.cases, chosen.F1_after) == (2, 1.0)
    assert chosen.F1_before == pytest.approx((6 / 11 + 1) / 2)
    assert choice_message(chosen) == (
        "Post-processing: objects of fewer than 32 voxels are removed. This raises F1 from 0.773 to 1.000 on 2 "
        "validation cases."
    )
    clean_files([pair.prediction for pair in pairs], chosen)
    assert evaluate_instances(pairs).F1.mean == chosen.F1_after
    np.testing.assert_array_equal(read_label(pairs[0].prediction).array[0], squares())
    assert read_geometry(pairs[0].prediction) == read_geometry(pairs[0].reference)


def test_holes_are_filled_where_that_finds_more_objects(tmp_path: Path) -> None:
    rings = squares()
    for number in range(3):
        rings[5:11, 16 * number + 5 : 16 * number + 11] = 0
    assert instance_f1(rings, squares()).F1 == 0
    chosen = choose_postprocessing(pairs_of(tmp_path, (rings, squares())))
    assert choice(chosen) == (0, True)
    assert (chosen.F1_before, chosen.F1_after) == (0.0, 1.0)


def test_what_is_validated_is_what_prediction_gives(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    fold = workspace.model("nnunet", "small").fold(0)
    write_model(fold.models.path, dimensions=2, **OBJECTS)
    image = write_image(
        tmp_path / "in" / "a_0000.png", np.random.default_rng(0).integers(0, 4, (24, 30)).astype(np.uint8)
    )
    plain = read_label(predict(fold, image, tmp_path / "plain")).array[0]
    smallest = int(np.median(np.bincount(plain.ravel())[1:])) + 1
    reference = write_image(tmp_path / "a.png", remove_small_objects(plain, smallest).astype(np.uint16))
    case = Case(id="a", images=(image,), label=reference)
    description = ModelCard.load(fold.models.card_file, "").dataset
    Dataset(name="d", folder=tmp_path, description=description, cases=(case,)).save(workspace.file(Dataset))
    Splits(folds=(Split(train=("a",), validation=("a",)),)).save(workspace.file(Splits))
    said: list[str] = []
    metrics = validate_fold(workspace, fold.path, device="cpu", precision="fp32", quiet=True, say=said.append)
    assert isinstance(metrics, InstanceMetrics)
    chosen = Postprocessing.load(fold.postprocessing_file, "")
    assert chosen.F1_before is not None
    assert chosen.F1_before < metrics.F1.mean == chosen.F1_after == 1
    assert said == [choice_message(chosen)]
    # Compared as text, because the intervals of a single case are NaN.
    assert repr(earlier_validation(workspace, fold.path)) == repr(metrics)
    validated = read_label(fold.validation / "a.png").array
    np.testing.assert_array_equal(validated, read_label(predict(fold, image, tmp_path / "out")).array)
    # A second validation begins with label maps that are not cleaned.
    assert repr(validate_fold(workspace, fold.path, device="cpu", precision="fp32", quiet=True)) == repr(metrics)
    assert Postprocessing.load(fold.postprocessing_file, "") == chosen


def predict(fold: FoldFolder, image: Path, output: Path) -> Path:
    (written,) = Predictor(fold.models.path, "cpu", precision="fp32").predict_files(image, output, quiet=True)
    return written


def test_small_objects_that_are_right_are_kept(tmp_path: Path) -> None:
    """Removing them would remove as many specks, but lose more."""
    reference = with_specks(squares(), 5)
    chosen = choose_postprocessing(pairs_of(tmp_path, (reference, reference)))
    assert choice(chosen) == (0, False)
    assert choice_message(chosen).startswith("Post-processing: none; ")
    before = (tmp_path / "predictions" / "case_0.png").read_bytes()
    clean_files([tmp_path / "predictions" / "case_0.png"], chosen)
    assert (tmp_path / "predictions" / "case_0.png").read_bytes() == before


@pytest.mark.parametrize("predicted", [0, 3])
def test_references_without_objects_suggest_no_size(tmp_path: Path, predicted: int) -> None:
    empty = np.zeros_like(squares())
    chosen = choose_postprocessing(pairs_of(tmp_path, (squares() if predicted else empty, empty)))
    assert choice(chosen) == (0, False)
    assert chosen.F1_before == chosen.F1_after == (0.0 if predicted else None)
    assert Postprocessing.from_json(chosen.model_dump(mode="json"), tmp_path, "") == chosen


def test_a_map_that_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="differ in shape"):
        choose_postprocessing(pairs_of(tmp_path, (squares(count=2), squares())))


def test_candidates_lie_at_the_lower_end_of_the_reference_sizes() -> None:
    assert candidate_sizes(np.array([], int)) == ()
    assert candidate_sizes(np.array([1, 1, 1])) == ()
    assert candidate_sizes(np.arange(40, 241)) == (20, 40, 42, 50)
    assert [(each.smallest, each.fill_holes) for each in cleanings((9,))] == [
        (0, False),
        (0, True),
        (9, False),
        (9, True),
    ]
    assert cleanings(())[0] == Cleaning(smallest=0, fill_holes=False)


@pytest.mark.parametrize(
    ("means", "best"),
    [
        ([0.5, 0.5, 0.5], 0),
        ([0.5, 0.6, 0.6], 1),
        ([0.1 + 0.2, 0.3], 0),
        ([0.3, 0.1 + 0.2], 0),
        ([None, None], 0),
        ([None, 0.0], 1),
    ],
)
def test_the_first_of_the_best(means: list[float | None], best: int) -> None:
    assert best_of(means) == best
