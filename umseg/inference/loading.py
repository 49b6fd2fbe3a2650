"""From what a user names to a model that is loaded: a folder, a bundle, several of them, or a ``best.json``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from umseg.common.errors import UserError
from umseg.common.text import few
from umseg.inference.best import Best, load_best
from umseg.inference.bundle.location import local_model
from umseg.inference.ensemble import Ensemble
from umseg.inference.model import LoadedModel
from umseg.inference.options import LoadOptions
from umseg.inference.postprocessing.classes import ClassCleaning, described
from umseg.inference.segmenter import Segmenter
from umseg.workspace import choice_file

log = logging.getLogger(__name__)

Source = str | PathLike[str]


def load_segmenter(sources: Source | Sequence[Source], device: str, options: LoadOptions) -> Segmenter:
    """Load one model, or several that predict together.

    Args:
        sources: Model folder, bundle, ``hf://organisation/name``, ONNX file or folder of them; several of them; or
            what ``umseg best`` chose: ``best.json``, its folder, or a bundle of it.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        options: The options. Without ``folds``, all trained folds are averaged, or those that ``best.json`` names.

    Raises:
        UserError: A model is missing, incomplete or damaged, or several do not fit together.
    """
    named = [sources] if isinstance(sources, (str, PathLike)) else list(sources)
    places = [local_model(source) for source in named]
    choices = [choice_file(place) for place in places]
    if len(places) == 1 and choices[0] is not None:
        best, folders = load_best(choices[0])
        return _load_best(best, folders, device, options)
    among = next((source for source, choice in zip(named, choices, strict=True) if choice is not None), None)
    if among is not None:
        raise UserError(
            "What `umseg best` chose stands for all models that predict together.",
            file=Path(among),
            found=f"{len(named)} models",
            remedy="Name it alone, or model folders without it.",
        )
    if len(places) == 1:
        return _load_one(places[0], device, options)
    refuse_repeated(places)
    # What was chosen for one model by itself need not suit several.
    alone = replace(options, postprocessing=False, confidence=False)
    return Ensemble([LoadedModel(place, device, alone) for place in places], confidence=options.confidence)


def _load_one(place: Path, device: str, options: LoadOptions, cleaning: ClassCleaning | None = None) -> LoadedModel:
    """Load one model, and say why no confidence will be stated if it was asked for in vain."""
    model = LoadedModel(place, device, options, cleaning)
    if options.confidence and not model.states_confidence:
        flips = 2 ** len(model.card.mirror_axes)
        mirror = f", or give --mirror, which takes {flips} times as long" if flips > 1 else ""
        log.info(
            "The statistics have no confidence, because a single fold predicts: confidence is how far several "
            "predictions agree. Predict with several folds or models%s.",
            mirror,
        )
    return model


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
        return _load_one(folders[0], device, replace(options, folds=folds[0]), cleaning)
    alone = [replace(options, folds=own, postprocessing=False, confidence=False) for own in folds]
    members = [LoadedModel(folder, device, own) for folder, own in zip(folders, alone, strict=True)]
    instance_cleaning = best.instance_cleaning if options.postprocessing else None
    return Ensemble(members, cleaning, instance_cleaning, confidence=options.confidence)
