"""Real labelled MRI from a PyPI package: nilearn's ICBM 152 template, cut into a data set.

The template (ICBM 2009a nonlinear symmetric, 1 mm; Fonov et al. 2011) is a T1 image of the average of 152 brains with
maps of how much grey and white matter each voxel holds. Left and right mirror each other exactly, so testing one
hemisphere with a network trained on the other would test on mirrored training data. Therefore the brain is also cut
into slabs from back to front: training takes every other slab of the left hemisphere, testing the slabs between from
the right one.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.dataset.description import DatasetDescription

NAME = "Dataset001_ICBM152"
LABELS = {"background": 0, "grey matter": 1, "white matter": 2}

# The brain's bounding box in the template (z, y, x), the first axis upwards, the second to the front.
BRAIN = (slice(3, 147), slice(28, 208), slice(26, 98))
BLOCK = (48, 36, 36)
MIDDLE = 98
"""Index along x of the plane between the hemispheres; x grows from left to right."""


@dataclass(frozen=True)
class Block:
    """A sub-volume of the template.

    Attributes:
        name: Case id.
        place: Position in the template, (z, y, x).
    """

    name: str
    place: tuple[slice, slice, slice]


@dataclass(frozen=True)
class DemoData:
    """The data set on disk, and the origin of its test blocks.

    Attributes:
        folder: Data set folder, with test images in ``imagesTs`` and their references in ``labelsTs``.
        image: The template (z, y, x).
        reference: Its label map (z, y, x).
        test: The test blocks.
    """

    folder: Path
    image: NDArray[Any]
    reference: NDArray[np.uint8]
    test: tuple[Block, ...]


def write_demo_data(root: Path) -> DemoData:
    """Cut the template into a data set in nnU-Net v2's raw format.

    Raises:
        UserError: nilearn is not installed, or does not contain the template.
    """
    image, grey, white = (_read(kind) for kind in ("t1", "gm", "wm"))
    spacing, array = image.GetSpacing(), sitk.GetArrayFromImage(image)
    reference = label_map(sitk.GetArrayFromImage(grey), sitk.GetArrayFromImage(white))
    folder = Path(root) / NAME
    train, test = blocks(left=True, slabs=(0, 2, 4)), blocks(left=False, slabs=(1, 3))
    for group, suffix in ((train, "Tr"), (test, "Ts")):
        for block in group:
            origin = image.TransformIndexToPhysicalPoint([s.start for s in reversed(block.place)])
            for kind, values, name in (("images", array, f"{block.name}_0000"), ("labels", reference, block.name)):
                path = folder / f"{kind}{suffix}" / f"{name}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                cut = sitk.GetImageFromArray(values[block.place])
                cut.SetSpacing(spacing)
                cut.SetDirection(image.GetDirection())
                cut.SetOrigin(origin)
                sitk.WriteImage(cut, str(path), useCompression=True)
    description = DatasetDescription(
        channel_names={"0": "MRI"}, labels=LABELS, numTraining=len(train), file_ending=".nii.gz"
    )
    description.save(folder / "dataset.json")
    return DemoData(folder, array, reference, test)


def label_map(grey: NDArray[Any], white: NDArray[Any]) -> NDArray[np.uint8]:
    """The tissue that fills most of each voxel: 0 other, 1 grey matter, 2 white matter.

    Args:
        grey: Fraction of grey matter, from 0 to 255.
        white: Fraction of white matter, from 0 to 255.
    """
    other = 255 - np.minimum(grey.astype(np.int16) + white, 255)
    tissue: NDArray[np.uint8] = np.argmax(np.stack([other, grey, white]), axis=0).astype(np.uint8)
    return tissue


def blocks(left: bool, slabs: tuple[int, ...]) -> tuple[Block, ...]:
    """The blocks of one hemisphere in the given slabs, counted from the back."""
    size_z, size_y, size_x = BLOCK
    depth, length, width = (s.stop - s.start for s in BRAIN)
    start_x = BRAIN[2].start if left else 2 * MIDDLE - BRAIN[2].stop + 1
    cut_out = []
    for slab in slabs:
        for number_z in range(depth // size_z):
            for number_x in range(width // size_x):
                z, y = BRAIN[0].start + number_z * size_z, BRAIN[1].start + slab * size_y
                x = start_x + number_x * size_x
                assert y + size_y <= BRAIN[1].start + length
                side = "left" if left else "right"
                place = (slice(z, z + size_z), slice(y, y + size_y), slice(x, x + size_x))
                cut_out.append(Block(f"{side}_y{slab}_z{number_z}_x{number_x}", place))
    return tuple(cut_out)


def _read(kind: str) -> sitk.Image:
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise UserError(
            "The demo's images come with the package nilearn, which is not installed.",
            remedy='Run `pip install "umseg[demo]"`.',
        )
    path = Path(spec.origin).parent / "datasets" / "data" / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise UserError(
            "This version of nilearn does not contain the ICBM 152 template.",
            file=path,
            remedy='Run `pip install --upgrade "umseg[demo]"`.',
        )
    return sitk.ReadImage(str(path))
