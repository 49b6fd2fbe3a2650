"""Where the networks of a model come from: files of weights, computed by torch or onnxruntime, or ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import nn

from umseg.common.errors import UserError
from umseg.dataset.check.digest import digest_of_file
from umseg.inference.postprocessing.instances import agreed, find_cleaning
from umseg.inference.runtimes.names import is_onnx, onnx_files, runtime_of
from umseg.inference.runtimes.packages import require_onnx
from umseg.inference.weights import WEIGHTS_REMEDY, find_weights
from umseg.models.card import ModelCard, first_stage_folder, load_card
from umseg.models.device import place, resolve_device, resolve_precision
from umseg.preprocess.instance_cleaning import Cleaning
from umseg.training.saved import checkpoint
from umseg.workspace import FoldFolder

if TYPE_CHECKING:
    from umseg.inference.runtimes.onnx_file import OnnxFile

Runtime = Literal["torch", "onnx"]

FIRST_STAGE = "first_stage"
"""Folder of a cascade's first stage in a folder of ONNX files."""


class Source(Protocol):
    """A model that has been found, and whose networks can be loaded."""

    @property
    def card(self) -> ModelCard:
        """The model's card."""

    @property
    def folds(self) -> list[str]:
        """The names of the folds."""

    @property
    def first_stage(self) -> Path | None:
        """The model of a cascade's first stage."""

    @property
    def runtime(self) -> Runtime:
        """The program that computes the networks."""

    def networks(self, device: torch.device) -> list[nn.Module]:
        """The networks on a device, one per fold, in evaluation mode."""

    def digests(self) -> dict[str, str]:
        """The fold's name to the digest of its weights."""

    def cleaning(self) -> Cleaning | None:
        """How objects are cleaned in an instance task, as the validation of the folds chose it."""


def find_source(model: Path, folds: Sequence[str] | None, weights: str, runtime: str) -> Source:
    """The source of a model's networks.

    Args:
        model: Model folder, ONNX file, or folder of ONNX files.
        folds: Folds; None: all.
        weights: ``final`` or ``best``; ONNX files have one kind only.
        runtime: ``auto``, ``torch`` or ``onnx``.

    Raises:
        UserError: The model is incomplete, or a package that ONNX needs is missing.
    """
    chosen = runtime_of(model, runtime)
    if chosen == "onnx":
        require_onnx()
    if is_onnx(model):
        if weights != "final":
            raise UserError(
                "ONNX files have one kind of weights.",
                file=model,
                found=f"--weights {weights}",
                remedy=f"Leave out --weights, or export these with `umseg export --onnx --weights {weights}`.",
            )
        return _OnnxFiles.read(model, folds)
    return _WeightFiles(model, load_card(model), find_weights(model, folds, weights), chosen)


def resolve_place(runtime: Runtime, device: str, precision: str) -> tuple[torch.device, torch.dtype]:
    """The device and the number format in which a runtime computes networks.

    Raises:
        UserError: The device is missing, or onnxruntime does not compute there or in that format.
    """
    if runtime == "torch":
        place = resolve_device(device)
        return place, resolve_precision(precision, place)
    cpu = resolve_device("cpu" if device == "auto" else device)
    if cpu.type != "cpu" or resolve_precision("fp32" if precision == "auto" else precision, cpu) != torch.float32:
        raise UserError(
            "onnxruntime computes on the CPU and in float32 here.",
            found=f"--device {device} --precision {precision}",
            expected="--device cpu and --precision fp32, or neither",
            remedy="Leave out these options, or predict with --runtime torch.",
        )
    return cpu, torch.float32


@dataclass(frozen=True)
class _WeightFiles:
    """The folds of a model folder."""

    folder: Path
    card: ModelCard
    files: list[Path]
    runtime: Runtime

    @property
    def folds(self) -> list[str]:
        return [FoldFolder(file.parent).name for file in self.files]

    @property
    def first_stage(self) -> Path | None:
        return first_stage_folder(self.folder, self.card)

    def networks(self, device: torch.device) -> list[nn.Module]:
        if self.runtime == "onnx":
            from umseg.inference.runtimes.folds import converted_fold
            from umseg.inference.runtimes.onnx_network import OnnxNetwork

            return [OnnxNetwork(converted_fold(self.card, file)) for file in self.files]
        return [self._load(file, device) for file in self.files]

    def digests(self) -> dict[str, str]:
        return {fold: digest_of_file(file) for fold, file in zip(self.folds, self.files, strict=True)}

    def cleaning(self) -> Cleaning | None:
        return find_cleaning([FoldFolder(file.parent) for file in self.files])

    def _load(self, file: Path, device: torch.device) -> nn.Module:
        network = self.card.build_network()
        checkpoint.load_weights(network, file, WEIGHTS_REMEDY)
        return place(network, device).eval()


@dataclass(frozen=True)
class _OnnxFiles:
    """ONNX files of one model."""

    files: list[OnnxFile]
    first_stage: Path | None
    runtime: Runtime = "onnx"

    @classmethod
    def read(cls, model: Path, folds: Sequence[str] | None) -> _OnnxFiles:
        from umseg.inference.runtimes.onnx_file import read_onnx

        files = [read_onnx(path) for path in onnx_files(model, folds)]
        first = files[0]
        for file in files:
            if folds is not None and file.metadata.fold not in folds:
                raise UserError(
                    "The ONNX file holds another fold.",
                    file=file.path,
                    found=f"fold {file.metadata.fold}",
                    expected="fold " + " or ".join(folds),
                    remedy="Leave out --folds, or name the file of that fold.",
                )
            if file.metadata.card != first.metadata.card:
                raise UserError(
                    "The ONNX files are of different models.",
                    file=file.path,
                    expected=f"a fold of the model of {first.path.name}",
                    remedy="Export each model to a folder of its own.",
                )
        stage = first.metadata.card.first_stage
        return cls(files, None if stage is None else _first_stage(first, stage))

    @property
    def card(self) -> ModelCard:
        return self.files[0].metadata.card

    @property
    def folds(self) -> list[str]:
        return [file.metadata.fold for file in self.files]

    def networks(self, device: torch.device) -> list[nn.Module]:
        from umseg.inference.runtimes.onnx_network import OnnxNetwork

        return [OnnxNetwork(file) for file in self.files]

    def digests(self) -> dict[str, str]:
        return {file.metadata.fold: file.metadata.weights for file in self.files}

    def cleaning(self) -> Cleaning | None:
        return agreed({file.metadata.fold: file.metadata.cleaning for file in self.files})


def _first_stage(file: OnnxFile, stage: str) -> Path:
    """The folder of a cascade's first stage.

    Raises:
        UserError: It is elsewhere than beside the file, or missing.
    """
    folder = file.path.parent / FIRST_STAGE
    if stage != FIRST_STAGE or not is_onnx(folder):
        raise UserError(
            "The first stage of the cascade is missing.",
            file=folder,
            expected="a folder of ONNX files",
            remedy="Export the cascade to a folder, and keep that folder together.",
        )
    return folder
