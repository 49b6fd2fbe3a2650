"""Prediction of the hippocampus and of small pictures beside nnU-Net, with the weights that its trainer made."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from benchmarks.common import Row, seconds
from benchmarks.prediction.nnunet import (
    cropped,
    environment,
    equal_voxels,
    prediction_command,
    trained,
    write_pictures,
)
from benchmarks.processes import cpu_of_children, measure

UMSEG = [sys.executable, "-m", "umseg"]


@dataclass(frozen=True)
class Sides:
    """The two sides of a comparison.

    Attributes:
        title: What is predicted.
        images: Folder of the images.
        model: Model folder of nnU-Net.
        imported: The same model as umseg's.
    """

    title: str
    images: Path
    model: Path
    imported: Path


def hippocampus(peer: Path, data: Path, scratch: Path, count: int, iterations: int) -> Sides:
    """The first images of the hippocampus, and a 3-D model of nnU-Net."""
    dataset = data / "Dataset004_Hippocampus"
    model = trained(peer, scratch / "nnunet", dataset, "3d_fullres", iterations)
    images = scratch / f"hippocampus_{count}"
    if not images.exists():
        images.mkdir(parents=True)
        for path in sorted((dataset / "imagesTr").glob("*.nii.gz"))[:count]:
            shutil.copy(path, images / path.name)
    return Sides(f"hippocampus, {count} images", images, model, imported(model, scratch / "hippocampus_model"))


def pictures(peer: Path, data: Path, scratch: Path, count: int, iterations: int) -> Sides:
    """Small pictures of nuclei, and a 2-D model of nnU-Net."""
    source = data / "Dataset703_DSB2018"
    dataset = write_pictures(scratch / "Dataset990_Nuclei", source, size=256, training=32)
    model = trained(peer, scratch / "nnunet", dataset, "2d", iterations)
    images = scratch / f"pictures_{count}"
    if not images.exists():
        images.mkdir(parents=True)
        found = [image for image, _ in cropped(source, 256)]
        for number in range(count):
            # The data set has fewer pictures: the same ones come again, turned by a quarter.
            picture = np.rot90(found[number % len(found)], number // len(found))
            sitk.WriteImage(
                sitk.GetImageFromArray(np.ascontiguousarray(picture)), str(images / f"p{number:04}_0000.png")
            )
    return Sides(f"{count} pictures of 256x256", images, model, imported(model, scratch / "pictures_model"))


def imported(model: Path, folder: Path) -> Path:
    """The model of nnU-Net as umseg imports it."""
    if not folder.exists():
        subprocess.run([*UMSEG, "import", "nnunet", str(model), str(folder), "--quiet"], check=True)
    return folder


def compare(sides: Sides, peer: Path, scratch: Path, precisions: Sequence[str], repeats: int) -> list[Row]:
    """Wall time, CPU time and peak memory of both commands, start-up included, and how far their results agree."""
    theirs = scratch / "theirs"
    commands = {"nnU-Net": prediction_command(peer, sides.model, sides.images, theirs)}
    for precision in precisions:
        words = ["predict", "--model", sides.imported, "--input", sides.images, "--output", scratch / precision]
        options = ["--device", "cpu", "--precision", precision, "--folds", "0", "--no-resume", "--quiet"]
        commands[f"umseg {precision}"] = [*UMSEG, *(str(word) for word in (*words, *options))]
    costs: dict[str, list[tuple[float, float, float]]] = {side: [] for side in commands}
    for _ in range(repeats):
        for side, command in commands.items():
            before = cpu_of_children()
            cost = measure([command], environment(scratch / "nnunet") if side == "nnU-Net" else dict(os.environ))
            costs[side].append((cost.seconds, cpu_of_children() - before, cost.megabytes))
    medians = {side: [statistics.median(column) for column in zip(*runs, strict=True)] for side, runs in costs.items()}
    rows: list[Row] = []
    for side, (wall, cpu, memory) in medians.items():
        equal, count = (1.0, 0) if side == "nnU-Net" else equal_voxels(scratch / side.split()[1], theirs)
        their_wall, their_cpu, their_memory = medians["nnU-Net"]
        rows.append(
            {
                "data": sides.title,
                "side": side,
                "seconds": wall,
                "CPU seconds": cpu,
                "MB": memory,
                "ratio of time": wall / their_wall,
                "ratio of CPU time": cpu / their_cpu,
                "ratio of memory": memory / their_memory,
                "equal voxels": f"{100 * equal:.4f} % of {count} label maps" if count else "",
            }
        )
    return rows


def bare_loop(sides: Sides, batch: int) -> float:
    """Pictures per second of the network alone: batches of random pictures, without reading, windows and writing."""
    import torch

    from umseg.inference.model import LoadedModel
    from umseg.inference.options import LoadOptions
    from umseg.models.device import autocast

    model = LoadedModel(sides.imported, "cpu", LoadOptions(folds=["0"]))
    pictures = torch.randn((batch, 1, 256, 256)).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward() -> None:
        with autocast(model.device, model.precision):
            model.networks[0](pictures)

    forward()
    return batch / statistics.median(seconds(forward) for _ in range(5))
