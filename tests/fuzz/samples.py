"""Small valid files of every kind that umseg reads; mutations begin from them."""

# SimpleITK's methods carry no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import tifffile
from PIL import Image

from tests.blobs import write_blobs
from tests.conftest import GOLDEN
from tests.dataset.dicom_builder import write_series

WORKSPACE = GOLDEN / "workspace_0_1" / "workspaces" / "Dataset950_Blobs"
VOLUME = (np.arange(5 * 6 * 7) % 3).reshape(5, 6, 7).astype(np.int16)
PLANE = (np.arange(12 * 10) % 3).reshape(12, 10).astype(np.uint8)


def write_nifti(folder: Path) -> None:
    """NIfTI-1 with both forms and a slope, packed and not, and NIfTI-2."""
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -3], [0, 0, 3.0, 1], [0, 0, 0, 1]])
    for number, (form, ending) in enumerate(
        [(nib.Nifti1Image, ".nii"), (nib.Nifti1Image, ".nii.gz"), (nib.Nifti2Image, ".nii")]
    ):
        image = form(VOLUME.T.astype((np.int16, np.float32, np.uint8)[number]), affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 2)
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / f"image{number}{ending}")


def write_nrrd(folder: Path) -> None:
    """NRRD, raw and packed, and a header with its voxels beside it."""
    image = _volume()
    sitk.WriteImage(image, folder / "packed.nrrd", useCompression=True)
    sitk.WriteImage(image, folder / "raw.nrrd")
    sitk.WriteImage(image, folder / "beside.nhdr")


def write_metaimage(folder: Path) -> None:
    """MetaImage, raw and packed, and a header with its voxels beside it."""
    image = _volume()
    sitk.WriteImage(image, folder / "packed.mha", useCompression=True)
    sitk.WriteImage(image, folder / "raw.mha")
    sitk.WriteImage(image, folder / "beside.mhd")


def write_tiff(folder: Path) -> None:
    """TIFF of several types, layouts and compressions, ImageJ's and OME's among them."""
    tifffile.imwrite(folder / "plain.tif", PLANE)
    tifffile.imwrite(folder / "float.tif", PLANE.astype(np.float16), byteorder=">")
    tifffile.imwrite(folder / "tiled.tif", np.pad(PLANE, 10), tile=(16, 16), compression="zlib", predictor=True)
    tifffile.imwrite(folder / "stack.tif", VOLUME, imagej=True, metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"})
    tifffile.imwrite(folder / "ome.ome.tif", VOLUME, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5})
    tifffile.imwrite(folder / "big.tif", np.dstack([PLANE] * 3), bigtiff=True, photometric="rgb")
    Image.fromarray(PLANE).save(folder / "lzw.tif", compression="tiff_lzw")
    tifffile.imwrite(folder / "mask.tif", PLANE > 0)


def write_pictures(folder: Path) -> None:
    """PNG of every kind of colour, BMP and JPEG."""
    Image.fromarray(PLANE).save(folder / "grey.png")
    Image.fromarray(VOLUME[0].astype(np.uint16)).save(folder / "grey16.png")
    Image.fromarray(np.dstack([PLANE] * 3)).save(folder / "colour.png")
    Image.fromarray(np.dstack([PLANE] * 4)).save(folder / "alpha.png")
    palette = Image.fromarray(PLANE, "P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    palette.save(folder / "palette.png", bits=2)
    Image.fromarray(PLANE > 0).save(folder / "bits.png")
    Image.fromarray(PLANE).save(folder / "grey.bmp")
    Image.fromarray(np.dstack([PLANE] * 3)).save(folder / "colour.bmp")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.dstack([PLANE * 90] * 3)).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(PLANE * 90).save(folder / "grey.jpg", progressive=True)


def write_dicom(folder: Path) -> None:
    """A series of four slices."""
    write_series(folder / "series", VOLUME[:4])


def write_model(folder: Path) -> None:
    """A trained model of one fold with a Mamba layer, and what its workspace records."""
    shutil.copytree(WORKSPACE / "models" / "umamba_bot__3d_fullres", folder / "model")
    shutil.rmtree(folder / "model" / "fold_0" / "validation")


def write_bundle(folder: Path) -> None:
    """A bundle of such a model."""
    from umseg.workflows.bundle.export import Terms, export_bundle

    write_model(folder)
    export_bundle(folder / "model", folder / "small.umseg", terms=Terms("MIT", "Tests.", "None."))


def write_workspace(folder: Path) -> None:
    """A workspace with one trained fold and its preprocessed cases, but no data set."""
    shutil.copytree(WORKSPACE, folder / "workspace", ignore=shutil.ignore_patterns("umamba*"))


def write_dataset(folder: Path) -> None:
    """A data set of two cases, with groups, and a file map beside its description."""
    write_blobs(folder / "data", 2)
    with (folder / "data" / "groups.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([("case", "group"), ("blob_0", "a"), ("blob_1", "b")])
    splits = [{"train": ["blob_0"], "val": ["blob_1"]}, {"train": ["blob_1"], "val": ["blob_0"]}]
    (folder / "splits.json").write_text(json.dumps(splits))


def write_decathlon(folder: Path) -> None:
    """A task of the Medical Segmentation Decathlon."""
    task = folder / "Task99_Small"
    write_blobs(task, 2)
    for path in (task / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace("_0000", "")))
    names = ("blob_0.nii.gz", "blob_1.nii.gz")
    description = {
        "name": "Small",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "left", "2": "right"},
        "numTraining": 2,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    (task / "dataset.json").write_text(json.dumps(description))


def write_manifest(folder: Path) -> None:
    """A table of cases."""
    rows = [("image", "split", "group"), *((f"case_{n}.png", "train", f"g{n // 2}") for n in range(6))]
    with (folder / "manifest.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)


def write_options(folder: Path) -> None:
    """Options of a training."""
    (folder / "options.yaml").write_text(
        "model: umamba_bot\nepochs: 3\niterations: 4\nlr: 1e-3\nmirror_axes: [0, 1]\nfold: 0\n"
        "loss: dice_ce\nssm-lr: 0.0005\nrecipe: quick\n"
    )


def write_foreign(folder: Path) -> None:
    """A trained model of nnU-Net."""
    from tests.workflows.test_import_model import write_results

    write_results(folder)


def pack(packed: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change what is inside a gzip stream."""
    import gzip

    return gzip.compress(change(gzip.decompress(packed)), 1, mtime=0)


def change_header(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the JSON header of a safetensors file and state its new length."""
    size = int.from_bytes(content[:8], "little")
    header = change(content[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def change_zip(content: bytes, change: Callable[[bytes], bytes], ending: str) -> bytes:
    """Change one entry of a zip archive, whose name has this ending."""
    import io
    import zipfile

    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, change(data) if entry.filename.endswith(ending) else data)
    return made.getvalue()


def _volume() -> sitk.Image:
    image = sitk.GetImageFromArray(VOLUME)
    image.SetSpacing((1.5, 2.0, 3.0))
    image.SetOrigin((5.0, -3.0, 1.0))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    return image
