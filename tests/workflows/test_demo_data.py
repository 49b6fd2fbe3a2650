"""The demo's data set: tissue labels, and no test block that training has seen, not even in the mirror."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from umseg.common.errors import UserError
from umseg.workflows.demo_data import BLOCK, MIDDLE, Block, blocks, label_map, write_demo_data

SHAPE = (189, 233, 197)
"""Of the template, (z, y, x)."""


def mark(chosen: tuple[Block, ...]) -> np.ndarray:
    marked = np.zeros(SHAPE, int)
    for block in chosen:
        marked[block.place] += 1
    return marked


def test_blocks_are_whole_and_disjoint() -> None:
    train, test = blocks(left=True, slabs=(0, 2, 4)), blocks(left=False, slabs=(1, 3))
    assert (len(train), len(test)) == (18, 12)
    assert len({block.name for block in train + test}) == 30
    marked = mark(train + test)
    assert marked.max() == 1
    assert marked.sum() == 30 * np.prod(BLOCK)


def test_no_test_block_mirrors_a_training_block() -> None:
    train = mark(blocks(left=True, slabs=(0, 2, 4)))
    test = mark(blocks(left=False, slabs=(1, 3)))
    assert not train[..., MIDDLE:].any()
    assert not test[..., :MIDDLE].any()
    assert not (train & test[..., ::-1]).any()


def test_hemispheres_are_cut_alike() -> None:
    left, right = (mark(blocks(left=side, slabs=(2,))) for side in (True, False))
    np.testing.assert_array_equal(left, right[..., ::-1])


def test_a_voxel_gets_the_tissue_that_fills_most_of_it() -> None:
    grey = np.array([0, 200, 100, 40, 255], np.uint8)
    white = np.array([0, 55, 120, 40, 255], np.uint8)
    np.testing.assert_array_equal(label_map(grey, white), [0, 1, 2, 0, 1])


@pytest.mark.skipif(importlib.util.find_spec("nilearn") is None, reason="the extra 'demo' is not installed")
def test_data_set_on_disk(tmp_path: Path) -> None:
    data = write_demo_data(tmp_path)
    assert json.loads((data.folder / "dataset.json").read_text())["numTraining"] == 18
    assert len(list((data.folder / "labelsTs").iterdir())) == len(data.test) == 12
    block = data.test[0]
    image = sitk.ReadImage(str(data.folder / "imagesTs" / f"{block.name}_0000.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), data.image[block.place])
    # The cut keeps its place in the template's world: its first voxel lies where it lay before.
    spacing = np.array(image.GetSpacing())
    np.testing.assert_allclose(spacing, 1.0)
    assert len({sitk.ReadImage(str(p)).GetOrigin() for p in (data.folder / "imagesTs").iterdir()}) == 12
    values = np.unique(data.reference)
    np.testing.assert_array_equal(values, [0, 1, 2])


def test_missing_nilearn_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        write_demo_data(tmp_path)
    assert 'pip install "umseg[demo]"' in str(caught.value.remedy)
