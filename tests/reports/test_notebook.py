"""``umseg.show``: what it hands to ipyniivue, and what it says where that is missing."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import umseg
from tests.blobs import SHAPE, SPACING, make_blobs, write_blobs
from umseg.common.errors import UserError


class Volume:
    def __init__(self, **options: Any) -> None:
        self.options = options
        self.colours: dict[str, Any] = {}

    def set_colormap_label(self, colours: dict[str, Any]) -> None:
        self.colours = colours

    @property
    def image(self) -> nib.Nifti1Image:
        return nib.Nifti1Image.from_bytes(gzip.decompress(self.options["data"]))


class Viewer:
    def __init__(self, height: int) -> None:
        self.height = height
        self.volumes: list[Volume] = []

    def load_volumes(self, volumes: list[Volume]) -> None:
        self.volumes = volumes


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", SimpleNamespace(NiiVue=Viewer, Volume=Volume))


@pytest.mark.usefixtures("viewer")
def test_arrays_are_shown_with_their_spacing_and_the_colours_of_their_classes() -> None:
    image, label = make_blobs(0)
    shown = umseg.show(image[None], label, spacing=SPACING, names=("left",), height=300)
    picture, labels = shown.volumes
    assert shown.height == 300
    assert np.array_equal(np.asarray(picture.image.dataobj), image.transpose(2, 1, 0))
    assert picture.image.header.get_zooms() == SPACING[::-1]
    assert np.diag(picture.image.affine)[:3].tolist() == list(SPACING[::-1])
    assert np.array_equal(np.asarray(labels.image.dataobj), label.transpose(2, 1, 0))
    assert labels.colours["labels"] == ["", "left", "2"]
    assert labels.colours["A"] == [0, 255, 255]


@pytest.mark.usefixtures("viewer")
def test_files_are_shown_where_they_lie(tmp_path: Path) -> None:
    folder = write_blobs(tmp_path, num_cases=1)
    file = folder / "imagesTr" / "blob_0_0000.nii.gz"
    shown = umseg.show(file, folder / "labelsTr" / "blob_0.nii.gz")
    assert np.allclose(shown.volumes[0].image.affine, nib.Nifti1Image.from_filename(file).affine)


@pytest.mark.usefixtures("viewer")
def test_a_label_map_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match="another shape"):
        umseg.show(np.zeros(SHAPE), np.zeros((2, 2, 2), np.int8))
    with pytest.raises(ValueError, match="axes"):
        umseg.show(np.zeros((4, 4)))


def test_without_ipyniivue_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(UserError, match="ipyniivue") as raised:
        umseg.show(np.zeros(SHAPE))
    assert raised.value.remedy == 'Run: pip install "umseg[notebook]"'
