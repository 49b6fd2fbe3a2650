"""Whether an unpacked bundle is a model that can predict: its card, its labels, and the weights of every fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from umseg.architectures.registry import network_spec
from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.inference.best import load_best
from umseg.inference.bundle.manifest import FIRST_STAGE, MANIFEST, BundledMember, Manifest, labels_of, member_name
from umseg.inference.postprocessing.instances import Postprocessing
from umseg.inference.same_data import require_same_data
from umseg.inference.weights import find_weights
from umseg.models.card import ModelCard, first_stage_folder, load_card
from umseg.models.weights import check_shapes
from umseg.training.saved import checkpoint
from umseg.training.saved.tensor_file import TensorFile
from umseg.workspace import BEST_CHOICE, FoldFolder, ModelFolder

_REMEDY = "Export the model again with `umseg export`."


def check_usable(folder: Path, manifest: Manifest) -> None:
    """Build the network of each stage of each model, and load the weights of each fold.

    Args:
        folder: A model folder, or the folder of several models and ``best.json``.
        manifest: What its bundle says of it.

    Raises:
        UserError: A file is not valid, weights do not belong to the network, or the manifest says something else.
    """
    if manifest.members is not None:
        _check_choice(folder, manifest.members)
    cards = [_check_model(folder, place, manifest) for place in manifest.folders]
    require_same_data(cards)


def _check_choice(folder: Path, members: Sequence[BundledMember]) -> None:
    """Refuse a ``best.json`` that names other models or folds than the manifest.

    Raises:
        UserError: It does, or it is not valid.
    """
    best, _ = load_best(folder / BEST_CHOICE)
    found = [(member.model, sorted(member.folds)) for member in best.members]
    expected = [
        (member_name(number), sorted(fold.fold for fold in member.folds)) for number, member in enumerate(members)
    ]
    if found != expected:
        raise UserError(
            f"{BEST_CHOICE} names other models or folds than {MANIFEST}.",
            file=folder,
            found=_listed(found),
            expected=_listed(expected),
            remedy=_REMEDY,
        )


def _listed(models: Sequence[tuple[str, Sequence[str]]]) -> str:
    return few((f"{name} (folds {few(folds)})" for name, folds in models), 10)


def _check_model(root: Path, place: str, manifest: Manifest) -> ModelCard:
    """Check one model of a bundle.

    Args:
        root: The unpacked bundle.
        place: Folder of the model in it, with a slash behind it.
        manifest: What the bundle says.
    """
    folder = root / place
    card = load_card(folder)
    first_stage = any(file.path.startswith(f"{place}{FIRST_STAGE}/") for file in manifest.files)
    _check_manifest(card, folder, manifest, FIRST_STAGE if first_stage else None)
    check_weights_of(folder, card)
    first = first_stage_folder(folder, card)
    if first is not None:
        check_weights_of(first, load_card(first))
        folds = [fold.name for fold in ModelFolder(folder).folds()]
        find_weights(first, None if folds == ["all"] else folds, "final")
    return card


def check_weights_of(folder: Path, card: ModelCard, files: Sequence[Path] | None = None) -> None:
    """Load the weights of each fold of a model folder into its network, and read how its label maps are cleaned.

    Args:
        folder: The model folder.
        card: Its card.
        files: Files of the weights; None: the final ones of all folds.

    Raises:
        UserError: A file is not valid, or its weights do not belong to the network.
    """
    files = find_weights(folder, None, "final") if files is None else files
    if network_spec(card.model).describe is not None:
        # A card may describe a network of many gigabytes, which is not built for files of a few bytes.
        with torch.device("meta"):
            expected = card.build_network().state_dict()
        for file in files:
            tensors = TensorFile.open(file, _REMEDY).header.tensors
            check_shapes({name: entry.shape for name, entry in tensors.items()}, expected, file, _REMEDY)
    network = card.build_network()
    for file in files:
        checkpoint.load_weights(network, file, _REMEDY)
        cleaning = FoldFolder(file.parent).postprocessing_file
        if cleaning.exists():
            Postprocessing.load(cleaning, _REMEDY)


def _check_manifest(card: ModelCard, folder: Path, manifest: Manifest, expected: str | None) -> None:
    """Refuse a manifest that shows other classes than the card has, or a first stage elsewhere.

    Args:
        card: The card.
        folder: Its model folder.
        manifest: The manifest.
        expected: Folder of the first stage that is there; None without one.

    Raises:
        UserError: They contradict each other.
    """
    if card.first_stage != expected:
        raise UserError(
            "The card of the bundle names another first stage than there is.",
            file=folder,
            found=card.first_stage,
            expected=expected or "none",
            remedy=_REMEDY,
        )
    if [(label.name, label.value) for label in manifest.labels] != [
        (label.name, label.value) for label in labels_of(card.dataset)
    ]:
        raise UserError(
            f"{MANIFEST} names other classes than the card.",
            file=folder,
            found=", ".join(label.name for label in manifest.labels)[:200],
            expected=", ".join(label.name for label in labels_of(card.dataset))[:200],
            remedy=_REMEDY,
        )
