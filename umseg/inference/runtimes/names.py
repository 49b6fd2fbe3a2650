"""The programs that compute networks, by name, and the paths that are ONNX files; a module without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from umseg.common.errors import UserError
from umseg.common.registry import unknown_name
from umseg.common.text import few
from umseg.workspace import ModelFolder

RuntimeName = Literal["auto", "torch", "onnx"]
RUNTIMES: tuple[RuntimeName, ...] = ("auto", "torch", "onnx")
"""``auto``: torch for a model folder, onnxruntime for ONNX files."""

ENDING = ".onnx"
_FOLD = "fold_"
_REMEDY = "Name one of them, or leave out --folds to average all."


def runtime_of(model: Path, name: str) -> Literal["torch", "onnx"]:
    """The program that computes a model.

    Args:
        model: Model folder, ONNX file, or folder of ONNX files.
        name: A name of ``RUNTIMES``.

    Raises:
        UserError: The name is unknown, or torch is to compute an ONNX file.
    """
    if name not in RUNTIMES:
        raise unknown_name("runtime", name, RUNTIMES, "--runtime")
    if not is_onnx(model):
        return "onnx" if name == "onnx" else "torch"
    if name == "torch":
        raise UserError(
            "torch cannot compute an ONNX file.",
            file=model,
            found="--runtime torch",
            expected="--runtime onnx",
            remedy="Leave out --runtime, or give the model folder.",
        )
    return "onnx"


def is_onnx(model: Path) -> bool:
    """Whether a path is an ONNX file, by its ending, or a folder of such files, which has no card."""
    if model.is_dir():
        return bool(_files_in(model)) and not ModelFolder(model).card_file.exists()
    return model.suffix.lower() == ENDING


def onnx_files(model: Path, folds: Sequence[str] | None) -> list[Path]:
    """The ONNX files of the folds.

    Args:
        model: An ONNX file, or a folder of ``fold_<k>.onnx``.
        folds: The folds that are wanted; None: all.

    Raises:
        UserError: A folder has no file of a fold.
    """
    if not model.is_dir():
        return [model]
    there = {path.stem.removeprefix(_FOLD): path for path in _files_in(model)}
    missing = [fold for fold in folds or [] if fold not in there]
    if missing:
        raise UserError(
            "The folder has no ONNX file of a fold.",
            file=model / f"{_FOLD}{missing[0]}{ENDING}",
            found="folds " + few(there),
            remedy=_REMEDY,
        )
    return [there[fold] for fold in (folds or there)]


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_FOLD}*{ENDING}") if path.is_file())
