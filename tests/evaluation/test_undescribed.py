"""Label maps that nothing describes are scored as if their values had been named, and each file is read once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tests.evaluation.conftest import Writer
from umseg.common.errors import UserError
from umseg.dataset.io.images import LabelMap, read_label
from umseg.evaluation import Metrics, alignment, evaluate_folder

Folders = tuple[Path, Path]
METRICS = ["dsc", "nsd", "hd95", "volume_difference"]


@pytest.fixture
def folders(write_maps: Writer, block: np.ndarray) -> Folders:
    """Each case lacks a value that another one has; one has none, and one is a single slice."""
    gaps = block.astype(np.int16) * 700
    predictions = {"a": block, "b": np.roll(gaps, 1, axis=2), "c": block * 0, "d": block[2:3]}
    references = {"a": np.minimum(block, 1), "b": gaps, "c": block * 0, "d": np.roll(block, 1, axis=1)[2:3]}
    written = [
        write_maps(folder, {f"{name}.nii.gz": array for name, array in maps.items()}, spacing=(3.0, 1.0, 2.0))
        for folder, maps in (("pred", predictions), ("ref", references))
    ]
    return written[0], written[1]


@pytest.mark.parametrize("protocol", [None, "paper"])
def test_scores_are_those_of_named_values(folders: Folders, protocol: Literal["paper"] | None) -> None:
    labels = {str(value): value for value in (1, 2, 700, 1400)}
    found, named = (
        evaluate_folder(*folders, metrics=METRICS, labels=given, tolerance=2.0, protocol=protocol, quiet=True)
        for given in (None, labels)
    )
    assert repr(found) == repr(named)


def test_the_ignore_label_is_no_class(folders: Folders) -> None:
    metrics = evaluate_folder(*folders, ignore_label=1400, quiet=True, cases=["a", "c"])
    assert isinstance(metrics, Metrics)
    assert list(metrics.labels) == ["1", "2"]
    with pytest.raises(UserError, match="values that have no label") as caught:
        evaluate_folder(*folders, ignore_label=1400, quiet=True)
    assert "pred" in str(caught.value.file)


def test_each_file_is_read_once(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path) -> LabelMap:
        read.append(path)
        return read_label(path)

    monkeypatch.setattr(alignment, "read_label", counted)
    evaluate_folder(*folders, quiet=True)
    assert sorted(read) == sorted(path for folder in folders for path in folder.glob("*.nii.gz"))


def test_a_tolerance_per_class_waits_for_all_classes(folders: Folders) -> None:
    metrics = evaluate_folder(*folders, tolerance=[1.0, 2.0, 3.0, 4.0], quiet=True)
    assert isinstance(metrics, Metrics)
    assert metrics.tolerance == {"1": 1.0, "2": 2.0, "700": 3.0, "1400": 4.0}
    with pytest.raises(UserError, match="tolerances of the NSD"):
        evaluate_folder(*folders, tolerance=-1.0, quiet=True)
