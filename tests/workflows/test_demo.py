"""The demo's own safety, and the slices that its picture shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from umseg.common.errors import UserError
from umseg.workflows.demo import MARKER, overlay_slices, run_demo
from umseg.workflows.demo_data import DemoData, blocks


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("the only copy")
    with pytest.raises(UserError, match="not an earlier demo"):
        run_demo(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "the only copy"


def test_slices_put_the_blocks_back_in_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 3, (189, 233, 197)).astype(np.uint8)
    test = blocks(left=False, slabs=(1, 3))
    for block in test:
        sitk.WriteImage(sitk.GetImageFromArray(reference[block.place]), str(tmp_path / f"{block.name}.nii.gz"))
    slices = overlay_slices(DemoData(tmp_path, reference, reference, test), tmp_path)
    assert len(slices) == 2
    for content in slices:
        assert content.image.shape == (144, 72)
        np.testing.assert_array_equal(content.prediction, content.reference)


def test_what_was_put_beside_an_earlier_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "thesis.txt").write_text("the only copy")
    with pytest.raises(UserError, match="not an earlier demo") as raised:
        run_demo(tmp_path)
    assert raised.value.found == "thesis.txt"
    assert (tmp_path / "data").is_dir()
