"""From what a user names to a model that is loaded: a folder, a bundle, several of them, or a ``best.json``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.inference.best import Best, is_best_choice, load_best
from umseg.inference.bundle.location import local_model
from umseg.inference.ensemble import Ensemble
from umseg.inference.model import LoadedModel
from umseg.inference.options import LoadOptions
from umseg.inference.postprocessing.classes import described
from umseg.inference.segmenter import Segmenter

log = logging.getLogger(__name__)

Source = str | PathLike[str]


def load_segmenter(sources: Source | Sequence[Source], device: str, options: LoadOptions) -> Segmenter:
    """Load one model, or several that predict together.

    Args:
        sources: Model folder, bundle, ``hf://organisation/name``, ONNX file or folder of them; several of them; or a
            ``best.json``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        options: The options. Without ``folds``, all trained folds are averaged, or those that ``best.json`` names.

    Raises:
        UserError: A model is missing, incomplete or damaged, or several do not fit together.
    """
    named = [sources] if isinstance(sources, (str, PathLike)) else list(sources)
    if len(named) == 1 and is_best_choice(Path(named[0])):
        best, folders = load_best(Path(named[0]))
        return _load_best(best, folders, device, options)
    choice = next((source for source in named if is_best_choice(Path(source))), None)
    if choice is not None:
        raise UserError(
            "best.json stands for all models that predict together.",
            file=Path(choice),
            found=f"{len(named)} models",
            remedy="Name best.json alone, or the model folders without it.",
        )
    places = [local_model(source) for source in named]
    if len(places) == 1:
        return LoadedModel(places[0], device, options)
    refuse_repeated(places)
    # What was chosen for one model by itself need not suit several.
    options = replace(options, postprocessing=False)
    return Ensemble([LoadedModel(place, device, options) for place in places])


def refuse_repeated(places: Sequence[Path]) -> None:
    """Raise a UserError if a model folder is named twice."""
    resolved = [place.resolve() for place in places]
    twice = sorted({str(place) for place in resolved if resolved.count(place) > 1})
    if twice:
        raise UserError("A model is named twice.", found=few(twice), remedy="Name every --model once.")


def _load_best(best: Best, folders: Sequence[Path], device: str, options: LoadOptions) -> Segmenter:
    cleaning = best.cleaning if options.postprocessing else None
    if cleaning is not None:
        log.info("Post-processing: %s, as cross-validation chose.", described(cleaning))
    folds = [options.folds or member.folds for member in best.members]
    if len(folders) == 1:
        return LoadedModel(folders[0], device, replace(options, folds=folds[0]), cleaning)
    alone = [replace(options, folds=own, postprocessing=False) for own in folds]
    members = [LoadedModel(folder, device, own) for folder, own in zip(folders, alone, strict=True)]
    return Ensemble(members, cleaning, best.instance_cleaning if options.postprocessing else None)
