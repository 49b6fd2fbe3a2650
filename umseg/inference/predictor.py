"""``Predictor``: a model folder, loaded once, that segments arrays and files."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from umseg.common.errors import UserError
from umseg.dataset.dataset import Case, find_cases
from umseg.dataset.io.images import Image, read_image, write_label
from umseg.dataset.io.registry import companions
from umseg.inference.sliding_window import SlidingWindow, predict_logits
from umseg.models.card import load_card
from umseg.models.device import place, resolve_device, resolve_precision
from umseg.preprocess.cascade_input import fit_label_map, one_hot
from umseg.preprocess.case import PreprocessedCase
from umseg.preprocess.instances import find_instances
from umseg.preprocess.preprocess import preprocess_case
from umseg.preprocess.restore import restore_label_map
from umseg.training.saved import checkpoint
from umseg.workspace import WEIGHTS, FoldFolder, ModelFolder

log = logging.getLogger(__name__)

REMEDY = "Finish the training of this fold, name other --folds, or give the folder that `umseg train` made."


Stages = tuple[PreprocessedCase, ...]


class Predictor:
    """Segments images with a trained model.

    Args:
        model_folder: ``.../models/<model>__<configuration>``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        folds: Folds whose logits are averaged, e.g. ``("0", "1")`` or ``("all",)``; None means all that are trained.
        weights: ``final`` or ``best`` (highest moving average of the validation Dice).
        mirror: Average over all flips of the mirrored axes: slower by 2 to the number of axes. The paper does without.
        step: Distance of neighbouring patches as a share of the patch.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        UserError: The model folder is incomplete, or the device is missing.
    """

    def __init__(
        self,
        model_folder: Path,
        device: str = "auto",
        *,
        folds: Sequence[str] | None = None,
        weights: str = "final",
        mirror: bool = False,
        step: float = 0.5,
        precision: str = "auto",
    ) -> None:
        if not 0 < step <= 1:
            raise UserError(
                "The step is not a share of the patch.",
                found=step,
                expected="more than 0, at most 1",
                remedy="Use --step 0.5.",
            )
        self.card = load_card(model_folder)
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.configuration = self.card.configuration
        self.window = SlidingWindow(
            patch=self.configuration.patch_size,
            batch_size=self.configuration.batch_size,
            step=step,
            mirror_axes=self.card.mirror_axes if mirror else (),
        )
        files = find_weights(Path(model_folder), folds, weights)
        self.networks = [self._load(file) for file in files]
        self.first_stage: Predictor | None = None
        if self.card.first_stage is not None:
            # The same folds: they have not seen the cases that these have not seen.
            same = [FoldFolder(file.parent).name for file in files]
            first = Path(model_folder) / self.card.first_stage
            self.first_stage = Predictor(
                first,
                device,
                folds=None if same == ["all"] else same,
                weights=weights,
                mirror=mirror,
                step=step,
                precision=precision,
            )
        log.info("%s: %s on %s", model_folder, ", ".join(f.parent.name for f in files), self.device)

    def predict(self, array: NDArray[np.floating[Any]], spacing: tuple[float, float, float]) -> NDArray[Any]:
        """Segment one image.

        Args:
            array: (channels, z, y, x); a 2-D image is (channels, 1, y, x).
            spacing: mm per axis (z, y, x).

        Returns:
            (z, y, x) label map on the voxels of the image: values of classes; with regions those of
            ``regions_class_order``; in an instance task the numbers of objects.

        Raises:
            UserError: The number of channels is not the model's, a value is not finite, or the spacing not positive.
        """
        return self._segment(self._prepare(array, spacing))

    def predict_files(self, inputs: Path, output: Path, *, quiet: bool = False) -> list[Path]:
        """Segment an image file or every image of a folder.

        Args:
            inputs: A file, or a folder of ``CASE_0000.ext`` (one file per channel).
            output: Folder for the label maps ``CASE.ext`` and a ``dataset.json`` that names their labels.
            quiet: No progress bar.

        Returns:
            The label maps written.

        Raises:
            UserError: A case cannot be read or has the wrong number of channels; label maps written before stay.
        """
        cases = find_cases(inputs, self.card.dataset.num_channels, self.card.dataset.file_ending)
        return self.predict_cases(cases, output, quiet=quiet)

    def predict_cases(self, cases: Sequence[Case], output: Path, *, quiet: bool = False) -> list[Path]:
        """Segment given cases; see ``predict_files``."""
        output = Path(output).absolute()
        targets = [self.target(case, output) for case in cases]
        _spare_inputs(cases, targets, output)
        self.card.dataset.save(output / "dataset.json")
        written = []
        with tqdm(total=len(cases), desc="predict", unit="case", disable=quiet) as bar:
            for path, (image, prepared) in zip(targets, self._read_ahead(cases), strict=True):
                write_label(path, self._segment(prepared), image.geometry)
                written.append(path)
                bar.update()
        return written

    def target(self, case: Case, output: Path) -> Path:
        """The label map of a case in an output folder."""
        return output / f"{case.id}{case.label_ending(self.card.dataset.file_ending)}"

    def _read_ahead(self, cases: Sequence[Case]) -> Iterator[tuple[Image, Stages]]:
        """Read and preprocess the next case while the network computes on this one."""
        with ThreadPoolExecutor(1) as reader:
            pending = [reader.submit(self._read, case) for case in cases[:1]]
            for number in range(len(cases)):
                image, prepared = pending.pop().result()
                pending.extend(reader.submit(self._read, following) for following in cases[number + 1 : number + 2])
                yield image, prepared

    def _read(self, case: Case) -> tuple[Image, Stages]:
        image = read_image(case.images, self.card.dataset.num_channels)
        for notice in image.notices:
            log.warning("%s", notice)
        try:
            return image, self._prepare(image.array, image.spacing)
        except UserError as error:
            raise error.at(case.images[0]) from error

    def _prepare(self, array: NDArray[Any], spacing: tuple[float, float, float]) -> Stages:
        """What each stage sees, the first stage of a cascade first."""
        expected = self.card.dataset.channel_names
        if array.ndim != 4 or array.shape[0] != len(expected):
            raise UserError(
                "The image does not have the channels that the model was trained on.",
                found=f"an array of shape {array.shape}" if array.ndim != 4 else f"{array.shape[0]} channels",
                expected=f"{len(expected)} channels: " + ", ".join(expected.values()),
                remedy="Give every channel of each case, in the order of training.",
            )
        # Types are not checked at run time.
        if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):  # type: ignore[redundant-expr]
            raise UserError(
                "The spacing is not the size of a voxel.",
                found=spacing,
                expected="three positive numbers: mm along z, y and x",
                remedy="Give the spacing of the image's header, reversed where it is in the order x, y, z.",
            )
        if not np.isfinite(array).all():
            raise UserError(
                "The image holds values that are not finite numbers (NaN or infinity).",
                remedy="Replace them, e.g. by the value of air or background.",
            )
        earlier = () if self.first_stage is None else self.first_stage._prepare(array, spacing)
        return (*earlier, preprocess_case(array, spacing, self.card.plan, self.configuration))

    def _segment(self, stages: Stages) -> NDArray[Any]:
        dataset, case = self.card.dataset, stages[-1]
        data = case.data
        if self.first_stage is not None:
            label = self.first_stage._segment(stages[:-1])
            fitted = fit_label_map(label, case.properties, self.card.plan, self.configuration)
            data = np.concatenate([data, one_hot(fitted, dataset.foreground_values)])
        logits = predict_logits(
            self.networks,
            torch.from_numpy(data),
            dataset.num_classes,
            self.window,
            self.device,
            self.precision,
        )
        label_map = restore_label_map(
            logits,
            case.properties,
            self.card.plan,
            self.configuration,
            region_values=tuple(dataset.foreground.values()) if dataset.has_regions else None,
            device=self.device,
        )
        return find_instances(label_map) if dataset.task == "instance" else label_map

    def _load(self, file: Path) -> nn.Module:
        network = self.card.build_network()
        checkpoint.load_weights(network, file, REMEDY)
        return place(network, self.device).eval()


def _spare_inputs(cases: Sequence[Case], targets: Sequence[Path], output: Path) -> None:
    """Nothing of the user's is replaced: an image or what belongs to it, or the ``dataset.json`` of a data set."""
    if (output / "imagesTr").is_dir():
        raise UserError(
            "The output folder is a data set, whose dataset.json would be replaced.",
            file=output,
            remedy="Name another folder with --output.",
        )
    inputs = {file.resolve() for case in cases for image in case.images for file in (image, *companions(image))}
    clash = next((path for path in (*targets, output / "dataset.json") if path.resolve() in inputs), None)
    if clash is not None:
        raise UserError(
            "The output would replace an image that it is made from.",
            file=clash,
            remedy="Name another folder with --output.",
        )


def find_weights(model_folder: Path, folds: Sequence[str] | None, weights: str) -> list[Path]:
    """The weight files of the folds.

    Raises:
        UserError: A fold that was asked for, or any fold at all, has no such file.
    """
    if weights not in WEIGHTS:
        raise UserError(f"Unknown weights '{weights}'.", found=weights, expected=" or ".join(WEIGHTS))
    models = ModelFolder(model_folder)
    there = [fold.name for fold in models.folds() if fold.weights(weights).exists()]
    missing = [fold for fold in (folds or []) if fold not in there]
    if missing or not there:
        raise UserError(
            "The model folder is incomplete: a fold has no trained weights.",
            file=models.fold(missing[0] if missing else "*").weights(weights),
            found="folds with weights: " + (", ".join(there) or "none"),
            expected="folds " + ", ".join(folds) if folds else "at least one trained fold",
            remedy=REMEDY,
        )
    return [models.fold(fold).weights(weights) for fold in (folds or there)]
