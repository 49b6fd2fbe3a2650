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
from umseg.common.registry import unknown_name
from umseg.dataset.dataset import Case, find_cases
from umseg.dataset.io.images import Image, read_image, write_label
from umseg.dataset.io.registry import companions
from umseg.inference.sliding_window import SlidingWindow, predict_logits
from umseg.models.card import first_stage_folder, load_card
from umseg.models.device import place, resolve_device, resolve_precision
from umseg.preprocess.cascade_input import fit_label_map, one_hot
from umseg.preprocess.case import PreprocessedCase
from umseg.preprocess.instances import find_instances
from umseg.preprocess.preprocess import preprocess_case
from umseg.preprocess.restore import restore_label_map
from umseg.training.saved import checkpoint
from umseg.workspace import WEIGHTS, FoldFolder, ModelFolder

log = logging.getLogger(__name__)

REMEDY = "Finish the training of this fold, choose other --folds, or give the folder that `umseg train` made."

Stages = tuple[PreprocessedCase, ...]
"""The preprocessed image for each stage of a cascade, the first stage first; one entry without a cascade."""


class Predictor:
    """Segments images with a trained model.

    Args:
        model_folder: ``.../models/<model>__<configuration>``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        folds: Folds whose logits are averaged, e.g. ``("0", "1")`` or ``("all",)``; None: all trained folds.
        weights: ``final`` or ``best`` (highest moving average of the validation Dice).
        mirror: Whether predictions are averaged over all flips of the mirrored axes, which takes 2 to the number of
            axes times as long. The paper does not do it.
        step: Distance of neighbouring patches as a fraction of the patch.
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
                "The step is not a valid fraction of the patch.",
                found=step,
                expected="more than 0 and at most 1",
                remedy="Correct --step; the default is 0.5.",
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
        first = first_stage_folder(Path(model_folder), self.card)
        if first is not None:
            # The same folds, because they were trained without the same cases.
            same = [FoldFolder(file.parent).name for file in files]
            self.first_stage = Predictor(
                first,
                device,
                folds=None if same == ["all"] else same,
                weights=weights,
                mirror=mirror,
                step=step,
                precision=precision,
            )
        log.info(_loaded_message(Path(model_folder), files, self.device))

    def predict(self, array: NDArray[np.floating[Any]], spacing: tuple[float, float, float]) -> NDArray[Any]:
        """Segment one image.

        Args:
            array: (channels, z, y, x); a 2-D image is (channels, 1, y, x).
            spacing: mm per voxel along z, y, x.

        Returns:
            (z, y, x) label map on the voxels of the image: values of classes; with regions the values of
            ``regions_class_order``; in an instance task numbers of objects.

        Raises:
            UserError: The image does not have as many channels as the model, a value is not finite, or the spacing is
                not positive.
        """
        return self._segment(self._prepare(array, spacing))

    def predict_files(self, inputs: Path, output: Path, *, quiet: bool = False) -> list[Path]:
        """Segment an image file or every image of a folder.

        Args:
            inputs: A file, or a folder of ``CASE_0000.ext`` (one file per channel).
            output: Folder for the label maps ``CASE.ext`` and a ``dataset.json`` that names their labels.
            quiet: Whether to show no progress bar.

        Returns:
            The files of the label maps.

        Raises:
            UserError: A case cannot be read or has the wrong number of channels. Label maps written before are kept.
        """
        cases = find_cases(inputs, self.card.dataset.num_channels, self.card.dataset.file_ending)
        return self.predict_cases(cases, output, quiet=quiet)

    def predict_cases(self, cases: Sequence[Case], output: Path, *, quiet: bool = False) -> list[Path]:
        """Segment the given cases; see ``predict_files``."""
        output = Path(output).absolute()
        targets = [self.target(case, output) for case in cases]
        _refuse_overwriting(cases, targets, output)
        self.card.dataset.save(output / "dataset.json")
        written = []
        with tqdm(total=len(cases), desc="Predicting", unit="case", disable=quiet) as bar:
            for path, (image, prepared) in zip(targets, self._read_ahead(cases), strict=True):
                write_label(path, self._segment(prepared), image.geometry)
                written.append(path)
                bar.update()
        return written

    def target(self, case: Case, output: Path) -> Path:
        """The file of a case's label map in an output folder."""
        return output / f"{case.id}{case.label_ending(self.card.dataset.file_ending)}"

    def _read_ahead(self, cases: Sequence[Case]) -> Iterator[tuple[Image, Stages]]:
        """Read and preprocess the next case while the network segments the current one."""
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
        """The preprocessed image for each stage."""
        expected = self.card.dataset.channel_names
        if array.ndim != 4 or array.shape[0] != len(expected):
            raise UserError(
                "The image does not have the channels that the model was trained with.",
                found=f"an array of shape {array.shape}" if array.ndim != 4 else f"{array.shape[0]} channels",
                expected=f"{len(expected)} channels: " + ", ".join(expected.values()),
                remedy="Give all channels of each case, in the order of training.",
            )
        # Types are not checked at run time.
        if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):  # type: ignore[redundant-expr]
            raise UserError(
                "The spacing is not valid.",
                found=spacing,
                expected="three positive numbers: the size of a voxel along z, y and x in mm",
                remedy="Give the spacing of the image's header in the order z, y, x (most headers have x, y, z).",
            )
        if not np.isfinite(array).all():
            raise UserError(
                "The image contains values that are not finite (NaN or infinity).",
                remedy="Replace them, for example by the value of air or background.",
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


def _loaded_message(model_folder: Path, files: Sequence[Path], device: torch.device) -> str:
    """As in "Loaded folds 0 and 1 of nnunet__3d_fullres on the CPU."."""
    names = [FoldFolder(file.parent).name for file in files]
    folds = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    where = "the CPU" if device.type == "cpu" else str(device)
    return f"Loaded fold{'s' if len(names) > 1 else ''} {folds} of {model_folder.absolute().name} on {where}."


def _refuse_overwriting(cases: Sequence[Case], targets: Sequence[Path], output: Path) -> None:
    """Raise a UserError if an image, a file that belongs to it or a data set's ``dataset.json`` would be replaced."""
    if (output / "imagesTr").is_dir():
        raise UserError(
            "The output folder is a data set whose dataset.json would be replaced.",
            file=output,
            remedy="Choose another folder with --output.",
        )
    inputs = {file.resolve() for case in cases for image in case.images for file in (image, *companions(image))}
    clash = next((path for path in (*targets, output / "dataset.json") if path.resolve() in inputs), None)
    if clash is not None:
        raise UserError(
            "The output would replace an image that it is computed from.",
            file=clash,
            remedy="Choose another folder with --output.",
        )


def find_weights(model_folder: Path, folds: Sequence[str] | None, weights: str) -> list[Path]:
    """The weight files of the folds; ``folds`` None stands for all trained folds.

    Raises:
        UserError: There is no such kind of weights, or a given fold, or all folds, have no such file.
    """
    if weights not in WEIGHTS:
        raise unknown_name("kind of weights", weights, WEIGHTS, "--weights")
    models = ModelFolder(model_folder)
    trained = [fold.name for fold in models.folds() if fold.weights(weights).exists()]
    missing = [fold for fold in (folds or []) if fold not in trained]
    if missing or not trained:
        raise UserError(
            "The model folder is incomplete: a fold has no trained weights.",
            file=models.fold(missing[0] if missing else "*").weights(weights),
            found="folds with weights: " + (", ".join(trained) or "none"),
            expected="folds " + ", ".join(folds) if folds else "at least one trained fold",
            remedy=REMEDY,
        )
    return [models.fold(fold).weights(weights) for fold in (folds or trained)]
