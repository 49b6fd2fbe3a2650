"""The model card of a model on the hub: ``README.md``, made of the manifest, the model's card and its scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from umseg.common.text import by, counted, listed
from umseg.inference.bundle.hub import SCHEME
from umseg.inference.bundle.manifest import FoldCases, Manifest
from umseg.models.card import ModelCard
from umseg.workflows.bundle.scores import ScoreTable

_LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense",
)  # fmt: skip
"""Identifiers of licences that the hub knows; any other one is "other" there."""
_SPECIAL = re.compile(r"([\\|<>*_`\[\]#])")
_LIMITATIONS = (
    "Cross-validation tells how well cases of the same data set are segmented. Images of other scanners, protocols, "
    "populations or diseases can be segmented worse, without a warning.",
    "The model is for research. It is no medical device.",
)


def model_card(manifest: Manifest, card: ModelCard, scores: ScoreTable | None, repository: str) -> str:
    """The text of the model card, in Markdown with YAML in front.

    Args:
        manifest: Manifest of the bundle.
        card: Card of the model.
        scores: Its scores; None if there are none.
        repository: ``organisation/name``.
    """
    front = yaml.safe_dump(_front(manifest, card, scores), sort_keys=False, allow_unicode=True, width=1000)
    sections = [
        (f"# {_plain(repository.partition('/')[2])}", _introduction(manifest, card)),
        ("## Classes", _classes(manifest, card)),
        ("## Scores", _scores(scores)),
        ("## Training data", _training(manifest)),
        ("## Intended use", [manifest.intended_use or "Not stated by those who published the model."]),
        ("## Limitations", [f"* {sentence}" for sentence in _LIMITATIONS]),
        ("## How to use", _usage(repository)),
        ("## Licence", [_plain(manifest.licence or "Not stated by those who published the model.")]),
    ]
    if manifest.notes:
        sections.append(("## Notes", [manifest.notes]))
    body = "\n\n".join("\n".join([title, "", *lines]) for title, lines in sections)
    return f"---\n{front}---\n\n{body}\n"


def _front(manifest: Manifest, card: ModelCard, scores: ScoreTable | None) -> dict[str, Any]:
    """The metadata by which the hub finds models."""
    front: dict[str, Any] = {}
    if manifest.licence:
        known = manifest.licence.lower() in _LICENCES
        front |= (
            {"license": manifest.licence.lower()} if known else {"license": "other", "license_name": _slug(manifest)}
        )
    tags = ["umseg", "segmentation", "biomedical-imaging", f"{card.configuration.dimensions}d", card.model]
    front |= {"library_name": "umseg", "pipeline_tag": "image-segmentation", "tags": tags}
    if scores is not None:
        row = scores.rows[-1]
        values = [
            {"type": key, "name": f"{title}, {row.name}", "value": round(mean, 4)}
            for key, title, mean in zip(scores.keys, scores.titles, row.means, strict=True)
            if math.isfinite(mean)
        ]
        dataset = {"name": manifest.training.dataset, "type": manifest.training.dataset, "split": "cross-validation"}
        task = {"type": "image-segmentation", "name": "Image segmentation"}
        if values:
            results = [{"task": task, "dataset": dataset, "metrics": values}]
            front["model-index"] = [{"name": manifest.name, "results": results}]
    return front


def _slug(manifest: Manifest) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", (manifest.licence or "").lower()).strip("-") or "other"


def _introduction(manifest: Manifest, card: ModelCard) -> list[str]:
    names = [_plain(label.name) for label in manifest.labels]
    most = 12
    shown = listed(names) if len(names) <= most else f"{len(names)} classes"
    channels = listed(map(_plain, manifest.training.channels))
    objects = " Objects are numbered one by one." if card.dataset.task == "instance" else ""
    return [
        f"The model segments {shown} in images with {counted(len(manifest.training.channels), 'channel')}: "
        f"{channels}.{objects}",
        "",
        *_networks(manifest, card),
    ]


def _networks(manifest: Manifest, card: ModelCard) -> list[str]:
    """What predicts: the folds of one model, or several models together."""
    members = manifest.members or ()
    if len(members) > 1:
        lines = [f"* {_plain(member.name)}: {counted(len(member.folds), 'network')}" for member in members]
        return [
            f"{len(members)} models trained with umseg predict together; their probabilities are averaged.",
            "",
            *lines,
        ]
    folds = manifest.training.folds
    networks = "One network" if len(folds) == 1 else f"{len(folds)} networks, whose outputs are averaged,"
    verb = "was" if len(folds) == 1 else "were"
    cascade = " The model is a cascade: a first stage segments at low resolution." if card.first_stage else ""
    return [
        f"{networks} of the type `{card.model}` {verb} trained with umseg on the configuration "
        f"`{card.configuration_name}`, at {by(card.configuration.spacing)} mm per voxel.{cascade}"
    ]


def _classes(manifest: Manifest, card: ModelCard) -> list[str]:
    rows = [
        (_plain(label.name), "1, 2, 3, ..." if label.value is None else str(label.value), f"`{label.colour}`")
        for label in manifest.labels
    ]
    return _table(("class", "value in label maps", "colour"), rows)


def _scores(scores: ScoreTable | None) -> list[str]:
    if scores is None:
        return ["No scores are recorded for these weights."]
    rows = [
        (_plain(row.name), str(row.cases), *map(_mean_std, row.means, row.deviations, scores.titles))
        for row in scores.rows
    ]
    folds = f"{scores.folds} folds" if scores.folds > 1 else "one fold"
    return [
        f"Mean ± standard deviation over {counted(scores.cases, 'validation case')} of {folds}. The network that "
        "segmented a case had not seen it. Cases without the class in reference and prediction are not counted.",
        "",
        *_table(("class", "cases", *scores.titles), rows),
        "",
        *(f"* {_plain(meaning)}" for meaning in scores.meanings),
    ]


def _mean_std(mean: float, deviation: float, title: str) -> str:
    digits = 2 if title.endswith(")") else 3
    return "-" if not math.isfinite(mean) else f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _training(manifest: Manifest) -> list[str]:
    data, members = manifest.training, manifest.members or ()
    heads: tuple[str, ...] = ("fold", "training cases", "validation cases", "epochs", "iterations per epoch")
    rows = [_fold(fold) for fold in data.folds]
    if len(members) > 1:
        heads = ("model", *heads)
        rows = [(_plain(member.name), *_fold(fold)) for member in members for fold in member.folds]
    return [
        f"{_plain(data.dataset)}: {counted(data.cases, 'case')}. The median image has {by(data.median_shape)} voxels "
        f"of {by(data.median_spacing)} mm.",
        "",
        *_table(heads, rows),
    ]


def _fold(fold: FoldCases) -> tuple[str, ...]:
    counts = (fold.training_cases, fold.validation_cases, fold.epochs, fold.iterations)
    return (fold.fold, *map(_number, counts))


def _usage(repository: str) -> list[str]:
    place = f"{SCHEME}{repository}"
    return [
        "```bash",
        'pip install "umseg[hub]"',
        f"umseg predict --model {place} --input IMAGES --output LABELS",
        f"umseg import {place}    # or: as a model folder on this machine",
        "```",
        "",
        "```python",
        "import umseg",
        "",
        f'label_map = umseg.Predictor("{place}").predict(array, spacing)',
        "```",
        "",
        "`IMAGES` is an image, a folder of images or a DICOM series. The channels of an image are named as in "
        "`CASE_0000.nii.gz`, `CASE_0001.nii.gz`, in the order above.",
    ]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _plain(text: str) -> str:
    """A name or a line as Markdown shows it letter by letter."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
