"""What `umseg best` prints: the candidates, the choice, what it costs, and its post-processing."""

from __future__ import annotations

from typing import Any

from umseg.inference.best import Best, Candidate, Member
from umseg.inference.postprocessing.classes import ClassCleaning, ClassRule
from umseg.reports.best import format_best

PAIR = ("nnunet__2d", "nnunet__3d")


def best(members: tuple[str, ...] = PAIR, **fields: Any) -> Best:
    content: dict[str, Any] = {
        "dataset_name": "Dataset900_Small",
        "metric": "DSC",
        "cases": 20,
        "candidates": (
            Candidate(models=members, score=0.91),
            Candidate(models=("nnunet__3d",), score=0.9, note="left out 1 fold that failed to train: 2"),
            Candidate(models=("nnunet__2d",), score=0.8),
            Candidate(models=("unetr__3d",), score=None, note="validated on 2 cases"),
        ),
        "members": tuple(Member(model=name, folds=("0", "1")) for name in members),
        "score": 0.91,
        "score_after": 0.91,
    }
    return Best(**{**content, **fields})


def test_the_candidates_are_a_table_with_the_chosen_one_marked() -> None:
    assert format_best(best()).splitlines()[:5] == [
        "model                    mean DSC",
        "nnunet__2d + nnunet__3d  0.9100    chosen",
        "nnunet__3d               0.9000    left out 1 fold that failed to train: 2",
        "nnunet__2d               0.8000",
        "unetr__3d                -         validated on 2 cases",
    ]


def test_a_pair_is_compared_with_the_best_of_its_models() -> None:
    lines = format_best(best()).splitlines()
    assert "Chosen on 20 validation cases: nnunet__2d (folds 0, 1) and nnunet__3d (folds 0, 1)." in lines
    assert (
        "Prediction takes the time of 2 models. The best single model, nnunet__3d, has a mean DSC that is lower by "
        "0.0100." in lines
    )
    assert "Prediction takes" not in format_best(best(("nnunet__4d",)))


def test_post_processing_is_described_with_what_it_gains() -> None:
    cleaning = ClassCleaning(classes={"liver": ClassRule(largest=True)})
    assert format_best(best(cleaning=cleaning, score_after=0.92)).endswith(
        "Post-processing: only the largest component is kept of liver. This raises the mean DSC from 0.9100 to 0.9200 "
        "on the same cases."
    )
    assert format_best(best()).endswith("Post-processing: none, because none raises the mean DSC.")


def test_objects_are_cleaned_as_each_fold_chose_which_the_log_says() -> None:
    assert "Post-processing" not in format_best(best(metric="F1"))
