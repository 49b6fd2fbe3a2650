"""The command that segments one image with onnxruntime and numpy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import nifti
from .metadata import KEY, Metadata, PredictionError, of_all
from .postprocess import postprocess
from .preprocess import preprocess
from .windows import Network, sliding_window

_ENDINGS = (".nii", ".nii.gz")


def main(folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Segment an image as the command line says.

    Args:
        folder: Folder whose ``fold_*.onnx`` are the networks, unless others are named.
        arguments: Words of the command line; None: those of this process.

    Returns:
        The exit code: 0, or 2 after an error of the user.
    """
    parser = argparse.ArgumentParser(prog="predict.py", description="Segment one image with onnxruntime and numpy.")
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        help="the image: .nii, .nii.gz or .npy, a file per channel; .npy may hold (channels, z, y, x)",
    )
    parser.add_argument("--output", type=Path, required=True, help="file of the label map, of the image's format")
    parser.add_argument("--model", type=Path, action="append", help="network; repeat for several [all fold_*.onnx]")
    parser.add_argument("--spacing", type=float, nargs=3, metavar=("Z", "Y", "X"), help="mm per voxel of a .npy file")
    parser.add_argument("--step", type=float, default=0.5, help="distance of windows as a fraction of the patch [0.5]")
    parser.add_argument("--mirror", action="store_true", help="average over mirrored images")
    parser.add_argument("--threads", type=int, default=0, help="threads of onnxruntime [all cores]")
    options = parser.parse_args(arguments)
    try:
        _segment(folder, options)
    except PredictionError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is a program of its own
        return 2
    return 0


def open_networks(files: Sequence[Path], threads: int = 0) -> tuple[list[Network], Metadata]:
    """The networks of several folds, and what their files say of the model.

    Raises:
        PredictionError: A file is no model of umseg's, or they are of different models.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    networks, found = [], []
    for file in files:
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many kinds
            raise PredictionError(f"{file} cannot be opened: {error}.") from error
        found.append(Metadata.from_json(session.get_modelmeta().custom_metadata_map.get(KEY, "")))
        networks.append(_network(session))
    return networks, of_all(found)


def _network(session: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    name = session.get_inputs()[0].name

    def network(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, {name: batch})[0]
        return logits

    return network


def _segment(folder: Path, options: argparse.Namespace) -> None:
    networks, metadata = open_networks(options.model or sorted(folder.glob("fold_*.onnx")), options.threads)
    pictures = [_read(path, options.spacing) for path in options.images]
    first = pictures[0]
    if any(picture.voxels.shape[1:] != first.voxels.shape[1:] for picture in pictures):
        raise PredictionError("The channels of the image have different shapes.")
    image = np.concatenate([picture.voxels for picture in pictures])
    image = nifti.turned(image, first.axes, metadata.orientation)
    spacing = nifti.turned_spacing(first.spacing, first.axes, metadata.orientation)
    data, properties = preprocess(image, spacing, metadata)
    logits = sliding_window(networks, data, metadata, options.step, options.mirror)
    labels = postprocess(logits, properties, metadata)
    labels = nifti.turned(labels, metadata.orientation, first.axes)
    if first.header:
        nifti.write(options.output, labels, first)
    else:
        np.save(options.output, labels)


def _read(path: Path, spacing: Sequence[float] | None) -> nifti.Picture:
    if path.name.endswith(_ENDINGS):
        return nifti.read(path)
    if spacing is None:
        raise PredictionError(f"{path.name} does not say how large its voxels are: give --spacing Z Y X in mm.")
    try:
        voxels = np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise PredictionError(f"{path} cannot be read: {error}.") from error
    z, y, x = spacing
    whole = voxels.reshape(*[1] * (4 - voxels.ndim), *voxels.shape)
    return nifti.Picture(whole, (z, y, x), None, b"")
