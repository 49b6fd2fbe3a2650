"""``data.html``: what a data set holds, its odd cases first."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

import umseg
from umseg.common.text import by, counted, few
from umseg.dataset.description import DatasetDescription
from umseg.dataset.io.grid import NO_SLICE_SPACING
from umseg.planning import Fingerprint
from umseg.planning.classes import ClassStatistics
from umseg.planning.findings import case_warnings, dataset_warnings
from umseg.planning.oddities import THRESHOLD, Oddities, find_oddities, mirror_sentence
from umseg.planning.sights import CaseSight
from umseg.reports.page.charts import plots
from umseg.reports.page.numbers import amount_text, plain_number
from umseg.reports.page.palette import on_images
from umseg.reports.page.pictures.layers import image_layer, label_layer
from umseg.reports.page.pictures.planes import colour_numbers
from umseg.reports.page.render import render

_MOST_CARDS = 60
"""Odd cases that have a card; the table names the others."""
_MOST_COLUMNS = 12
"""Classes that have a column in the table of all cases, and a row in the chart."""
_FINE = 3
_MARK = '<meta name="umseg-data" content="'


def data_page(fingerprint: Fingerprint, sights: Sequence[CaseSight], description: DatasetDescription) -> str:
    """The page as one HTML file; the same for the same data.

    Args:
        fingerprint: The measurements.
        sights: What is shown of each case, in the order of the fingerprint's.
        description: Names of channels and classes.
    """
    odd = find_oddities(fingerprint, sights, description)
    by_case = dict(zip(fingerprint.case_ids, sights, strict=True))
    unit, scale = _unit(fingerprint)
    context = {
        "title": fingerprint.dataset_name,
        "version": umseg.__version__,
        "digest": fingerprint.content_hash,
        "subtitle": f"{counted(len(sights), 'case')}, {counted(len(odd.reasons), 'odd case')}",
        "notes": list(_notes(fingerprint, description, odd)),
        "facts": list(_facts(fingerprint, description)),
        "odd_sentence": _odd_sentence(odd),
        "threshold": THRESHOLD,
        "cards": [_card(case, by_case[case], odd, description) for case in list(odd.reasons)[:_MOST_CARDS]],
        "size_title": f"size ({unit})",
        "classes": list(_classes(fingerprint.classes, scale)),
        "charts": list(_charts(by_case, description, unit, scale)),
        "heads": ["reasons", "spacing", "voxels", *_columns(fingerprint, unit), *_channels(description)],
        "rows": list(_rows(fingerprint, by_case, odd, scale)),
    }
    return render("data.html", context, ("table.js",))


def describes(page: str, fingerprint: Fingerprint) -> bool:
    """Whether a page, or its beginning, was made of these data."""
    return f'{_MARK}{fingerprint.content_hash}"' in page


def _unit(fingerprint: Fingerprint) -> tuple[str, float]:
    """The unit of sizes, and what they are multiplied by."""
    if any(min(shape) > 1 for shape in fingerprint.shapes_after_crop):
        return "ml", 1e-3
    natural = all(spacing == (NO_SLICE_SPACING, 1.0, 1.0) for spacing in fingerprint.spacings)
    return ("px" if natural else "mm²"), 1.0


def _notes(fingerprint: Fingerprint, description: DatasetDescription, odd: Oddities) -> Iterator[str]:
    findings = fingerprint.findings_by_case
    present = [name for name, statistics in fingerprint.classes.items() if statistics.cases]
    yield from case_warnings(findings, list(description.channel_names.values()))
    yield from dataset_warnings(findings, present)
    if odd.pairs:
        yield mirror_sentence(odd.pairs)
    if odd.duplicates:
        named = few((" and ".join(group) for group in odd.duplicates), 8)
        yield (
            f"Images that look alike, perhaps mirrored: {named}. Where one is a copy, remove it, or keep both in one "
            "fold with --groups: scores are too good if a network validates on what it was trained on."
        )


def _facts(fingerprint: Fingerprint, description: DatasetDescription) -> Iterator[tuple[str, str]]:
    spacing, shape = np.asarray(fingerprint.spacings), np.asarray(fingerprint.shapes_after_crop)
    yield "channels", ", ".join(description.channel_names.values())
    yield "spacing (z, y, x)", f"{_spread(spacing)} mm"
    yield "size (z, y, x)", f"{_spread(shape)} voxels, after cropping empty borders"
    for name, found in zip(
        description.channel_names.values(),
        fingerprint.foreground_intensity_properties_per_channel.values(),
        strict=True,
    ):
        usual = f"99 % between {found.percentile_00_5:.4g} and {found.percentile_99_5:.4g}"
        middle = f"median {found.median:.4g}, mean {found.mean:.4g} ± {found.std:.4g}"
        yield f"intensities of {name}", f"{middle}, {usual}, in the foreground of all cases"
    if fingerprint.orientations:
        counts = Counter(axes or "unknown" for axes in fingerprint.orientations)
        yield "orientation of the files", ", ".join(f"{axes} ({count})" for axes, count in sorted(counts.items()))
    yield "digest of all files", fingerprint.content_hash


def _spread(table: np.ndarray) -> str:
    low, middle, high = (by(float(value) for value in row) for row in (table.min(0), np.median(table, 0), table.max(0)))
    return middle if low == high else f"median {middle}, from {low} to {high}"


def _odd_sentence(odd: Oddities) -> str:
    count = len(odd.reasons)
    shown = "" if count <= _MOST_CARDS else f" The {_MOST_CARDS} oddest have a picture; the table has all."
    return f"{counted(count, 'case')} {'stands' if count == 1 else 'stand'} out.{shown}"


def _card(case: str, sight: CaseSight, odd: Oddities, description: DatasetDescription) -> dict[str, Any]:
    card: dict[str, Any] = {"case": case, "reasons": [reason.text for reason in odd.reasons[case]], "image": ""}
    if sight.picture:
        image, labels = _pixels(sight.picture), _pixels(sight.labels)
        numbers = colour_numbers(description, int(labels.max(initial=0)))[labels]
        height, width = sight.size
        card |= {
            "image": image_layer(image if image.ndim == 3 else image[..., None]),
            "labels": label_layer(numbers, _FINE),
            "ratio": width / height,
        }
    return card


def _pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def _classes(classes: Mapping[str, ClassStatistics], scale: float) -> Iterator[dict[str, Any]]:
    for (name, found), colour in zip(classes.items(), on_images(len(classes)), strict=True):
        sizes = [amount_text(scale * value) for value in (found.median_size, found.min_size, found.max_size)]
        yield {
            "name": name,
            "colour": colour,
            "cases": found.cases,
            **dict(
                zip(("median", "least", "most"), sizes if found.cases else [amount_text(math.nan)] * 3, strict=True)
            ),
        }


def _charts(
    by_case: Mapping[str, CaseSight], description: DatasetDescription, unit: str, scale: float
) -> Iterator[dict[str, Any]]:
    """Sizes of the classes, and medians of the foreground by channel."""
    names = list(next(iter(by_case.values())).sizes)[:_MOST_COLUMNS]
    strips = [
        plots.Strip(name, name, {case: scale * s.sizes[name] for case, s in by_case.items() if s.sizes[name] > 0})
        for name in names
    ]
    caption = "A point is a case; the box spans the quartiles, the line is the median."
    yield {
        "title": f"Size of each class ({unit})",
        "svg": plots.distributions(f"{unit}, logarithmic", strips, None, logarithmic=True),
        "caption": caption,
    }
    channels = list(description.channel_names.values())
    medians = [
        plots.Strip(
            name,
            name,
            {case: s.intensities[n][1] for case, s in by_case.items() if len(s.intensities) == len(channels)},
        )
        for n, name in enumerate(channels)
    ]
    yield {
        "title": "Median intensity of the foreground",
        "svg": plots.distributions("intensity", medians, None),
        "caption": caption,
    }


def _columns(fingerprint: Fingerprint, unit: str) -> list[str]:
    return [f"{name} ({unit})" for name in list(fingerprint.classes)[:_MOST_COLUMNS]]


def _channels(description: DatasetDescription) -> list[str]:
    return [f"median of {name}" for name in description.channel_names.values()]


def _rows(
    fingerprint: Fingerprint, by_case: Mapping[str, CaseSight], odd: Oddities, scale: float
) -> Iterator[dict[str, Any]]:
    """A row per case, odd cases first; each cell as a number to sort by and as a text."""
    places = {case: place for place, case in enumerate(fingerprint.case_ids)}
    order = [*odd.reasons, *(case for case in fingerprint.case_ids if case not in odd.reasons)]
    channels = len(fingerprint.foreground_intensity_properties_per_channel)
    for case in order:
        sight, place = by_case[case], places[case]
        spacing, shape = fingerprint.spacings[place], fingerprint.shapes_after_crop[place]
        reasons = len(odd.reasons.get(case, ()))
        sizes = [scale * size for size in list(sight.sizes.values())[:_MOST_COLUMNS]]
        medians = (
            [entry[1] for entry in sight.intensities] if len(sight.intensities) == channels else [math.nan] * channels
        )
        numbers = [(plain_number(value), amount_text(value)) for value in (*sizes, *medians)]
        cells = [
            (str(reasons), str(reasons) if reasons else ""),
            (plain_number(math.prod(spacing)), by(spacing)),
            (str(math.prod(shape)), by(shape)),
            *numbers,
        ]
        yield {"case": case, "cells": cells}
