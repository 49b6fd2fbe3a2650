"""Images that cannot be resampled here are refused before anything is allocated."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.blobs import write_blobs
from tests.preprocess.cases import make_configuration, make_image, make_plan
from umseg.common.errors import UserError
from umseg.dataset.check.problems import DatasetError
from umseg.planning import Fingerprint
from umseg.preprocess import preprocess_case
from umseg.preprocess.memory import require_resampling_memory, resampling_bytes
from umseg.workflows.plan import plan_dataset
from umseg.workspace import Workspace


def test_bytes_of_image_and_matrices() -> None:
    # An axis that keeps its length, or is separate, has no matrix.
    assert resampling_bytes((9, 20, 10), (9, 10, 30), (1, 1, 1), (1, 2, 0.7), 2) == 8 * 2700 + 8 * 300 + 8 * 200
    assert resampling_bytes((9, 20, 10), (18, 20, 10), (5, 1, 1), (2.5, 1, 1), 1) == 4 * 3600


def test_what_fits_is_not_refused() -> None:
    require_resampling_memory((9, 20, 10), (9, 20, 10), (1, 1, 1), (1, 1, 1), 1, available=4 * 1800)
    with pytest.raises(UserError, match="needs more memory than there is"):
        require_resampling_memory((9, 20, 10), (9, 20, 10), (1, 1, 1), (1, 1, 1), 1, available=4 * 1800 - 1)


def test_a_spacing_in_metres_is_refused_before_anything_is_allocated() -> None:
    plan = make_plan(full=make_configuration((1.0, 1.0, 1.0)))
    with pytest.raises(UserError, match="Resampling the image needs more memory") as caught:
        preprocess_case(make_image((12, 18, 20)), (1000.0, 1000.0, 1000.0), plan, "full")
    assert "TB; this machine has" in str(caught.value.found)
    assert "metres" in str(caught.value.remedy)


def test_an_outlier_among_the_spacings_is_a_row_of_problems(tmp_path: Path) -> None:
    folder = write_blobs(tmp_path / "Dataset903_Metres", num_cases=5)
    images = sorted(folder.glob("imagesTr/*.nii.gz"))
    labels = sorted(folder.glob("labelsTr/*.nii.gz"))
    for file in (images[2], labels[2]):
        volume = nib.load(file)
        affine = np.diag([1e5, 1e5, 1e5, 1.0])
        nib.save(nib.Nifti1Image(np.asanyarray(volume.dataobj), affine), file)  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match="Resampling the image needs more memory"):
        plan_dataset(folder, tmp_path / "w", configurations=["3d_fullres"], quiet=True)
    workspace = Workspace(tmp_path / "w" / folder.name)
    with workspace.problems_file.open(encoding="utf-8") as table:
        (row,) = [row for row in csv.DictReader(table) if row["severity"] == "error"]
    assert images[2].name in row["file"]
    assert "this machine has" in row["found"]
    assert not workspace.plan_file.exists()
    assert not workspace.stores.exists()
    # What was measured is not measured again.
    assert len(workspace.load(Fingerprint).case_ids) == 5
