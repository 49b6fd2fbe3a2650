"""nnU-Net as a peer: a model that its own trainer makes, and its prediction from the command line."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

TRAIN = """
import sys, torch
from nnunetv2.run.run_training import get_trainer_from_args
if __name__ == "__main__":
    dataset, configuration, iterations = sys.argv[1:]
    device = torch.device("cpu")
    trainer = get_trainer_from_args(dataset, configuration, 0, "nnUNetTrainer", "nnUNetPlans", device=device)
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, int(iterations), 1
    trainer.run_training()
"""


def environment(scratch: Path) -> dict[str, str]:
    """The variables by which nnU-Net finds its folders, below ``scratch``."""
    names = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed", "nnUNet_results": "results"}
    folders = {variable: str(scratch / folder) for variable, folder in names.items()}
    return {**os.environ, **folders, "nnUNet_compile": "f", "nnUNet_n_proc_DA": "1"}


def trained(peer: Path, scratch: Path, dataset: Path, configuration: str, iterations: int) -> Path:
    """The model folder of a short training of fold 0 by nnU-Net; that of an earlier call if there is one.

    Args:
        peer: Virtual environment with nnunetv2.
        scratch: Folder for nnU-Net's folders.
        dataset: Data set ``DatasetNNN_Name`` in raw format.
        configuration: ``2d`` or ``3d_fullres``.
        iterations: Iterations of training: enough that label maps have structure.
    """
    model = scratch / "results" / dataset.name / f"nnUNetTrainer__nnUNetPlans__{configuration}"
    if (model / "fold_0" / "checkpoint_final.pth").exists():
        return model
    raw = scratch / "raw" / dataset.name
    raw.parent.mkdir(parents=True, exist_ok=True)
    if not raw.exists():
        raw.symlink_to(dataset.absolute())
    number = dataset.name.removeprefix("Dataset").partition("_")[0].lstrip("0")
    script = scratch / "train.py"
    script.write_text(TRAIN)
    plan = [peer / "bin" / "nnUNetv2_plan_and_preprocess", "-d", number, "-c", configuration, "-np", "2", "-npfp", "2"]
    for command in (plan, [peer / "bin" / "python", script, number, configuration, str(iterations)]):
        subprocess.run([str(word) for word in command], env=environment(scratch), check=True, stdout=subprocess.DEVNULL)
    return model


def prediction_command(peer: Path, model: Path, images: Path, output: Path) -> list[str]:
    """nnU-Net's prediction of a folder on the CPU, without mirroring, with one process for each side job."""
    words = [peer / "bin" / "nnUNetv2_predict_from_modelfolder", "-i", images, "-o", output, "-m", model]
    options = ["-f", "0", "--disable_tta", "-device", "cpu", "-npp", "1", "-nps", "1", "--disable_progress_bar"]
    return [str(word) for word in (*words, *options)]


def equal_voxels(first: Path, second: Path) -> tuple[float, int]:
    """The fraction of voxels that are equal in the label maps of two folders, and the number of label maps."""
    equal, total, paths = 0, 0, _label_maps(second)
    for path in paths:
        one, other = _read(first / path.name), _read(path)
        equal += int(np.count_nonzero(one == other))
        total += one.size
    return equal / total, len(paths)


def fractions(folder: Path) -> list[float]:
    """The fraction of the voxels that each label has, in all label maps of a folder."""
    counts = [np.bincount(_read(path).ravel()) for path in _label_maps(folder)]
    whole = np.zeros(max(map(len, counts)))
    for count in counts:
        whole[: len(count)] += count
    return list(whole / whole.sum())


def _label_maps(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.nii.gz")) or sorted(folder.glob("*.png"))


def _read(path: Path) -> NDArray[Any]:
    values: NDArray[Any] = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return values


def write_pictures(folder: Path, source: Path, size: int, training: int) -> Path:
    """A data set of grey pictures and masks of nuclei, cut from the data of the Data Science Bowl 2018.

    Args:
        folder: The data set to make.
        source: ``Dataset703_DSB2018`` with ``images`` and ``instances``.
        size: Pixels per side.
        training: Number of pictures for training.
    """
    if (folder / "dataset.json").exists():
        return folder
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    count = 0
    for image, mask in cropped(source, size):
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "imagesTr" / f"cell_{count:04}_0000.png"))
        sitk.WriteImage(
            sitk.GetImageFromArray((mask > 0).astype(np.uint8)), str(folder / "labelsTr" / f"cell_{count:04}.png")
        )
        count += 1
        if count == training:
            break
    fields = {"channel_names": {"0": "grey"}, "labels": {"background": 0, "nucleus": 1}, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps({**fields, "numTraining": count}))
    return folder


def cropped(source: Path, size: int):  # type: ignore[no-untyped-def]
    """Grey pictures of size x size pixels and their label maps, from the corners of larger ones."""
    for path in sorted((source / "images").glob("*.png")):
        labels = next((source / "instances").glob(f"{path.stem}.tif*"))
        image, mask = (sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in (path, labels))
        grey = image[..., :3].mean(axis=-1).astype(np.uint8) if image.ndim == 3 else image
        if min(grey.shape) >= size:
            yield grey[:size, :size], mask[:size, :size]
