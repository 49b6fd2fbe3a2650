"""Odd cases of a data set: outliers, duplicates, and classes that mirror each other.

Outliers have a robust z-score above 3.5: 0.6745 times the distance from the median over the median of these distances
(Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC 1993). Sizes are compared by their logarithms.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umseg.common.text import by, few, listed
from umseg.dataset.description import DatasetDescription
from umseg.planning.findings import MOST_OUTSIDE
from umseg.planning.fingerprint import Fingerprint
from umseg.planning.sights import CaseSight, sample_of

THRESHOLD = 3.5
"""Robust z-score above which a case is odd."""
ALIKE = 0.999
"""Correlation of two samples above which images look like duplicates."""
MOST_COMPARED = 2000
"""Cases up to which each is compared with each; of more, only equal samples are found."""
_MOST_SCORE = 30.0
FEWEST = 5
"""Cases below which nothing is an outlier."""
_NEAR = 0.06
"""Distance, as part of the image, within which the mirror image of a class lies on the other one."""
_APART = 0.08
"""Distance along the mirrored axis from which two classes are told apart."""
_LARGEST_RATIO = 2.0
"""Of the median sizes of two classes that mirror each other."""
_MOST_SWAPPED = 0.2
"""Part of the cases up to which the other order of two mirrored classes is odd."""
_LEFT, _RIGHT = (
    ("left", "l", "lh", "lt", "sin", "sinister", "sinistra"),
    ("right", "r", "rh", "rt", "dex", "dexter", "dextra"),
)


@dataclass(frozen=True)
class Reason:
    """Why a case is odd.

    Attributes:
        text: In words.
        weight: How odd it is: the robust z-score, at most 30, or more where something is wrong for certain.
    """

    text: str
    weight: float


@dataclass(frozen=True)
class MirrorPair:
    """Two classes that mirror each other.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        axis: 0, 1 or 2 for z, y or x, along which they are mirrored.
        named: Whether their names say so.
    """

    first: str
    second: str
    axis: int
    named: bool


@dataclass(frozen=True)
class Oddities:
    """What is odd about a data set.

    Attributes:
        reasons: Case to why it is odd, the oddest case first.
        pairs: Classes that mirror each other.
        duplicates: Groups of cases whose images look alike.
    """

    reasons: Mapping[str, tuple[Reason, ...]]
    pairs: tuple[MirrorPair, ...]
    duplicates: tuple[tuple[str, ...], ...]


def find_oddities(fingerprint: Fingerprint, sights: Sequence[CaseSight], description: DatasetDescription) -> Oddities:
    """Look for odd cases.

    Args:
        fingerprint: The measurements.
        sights: What is seen of each case, in the order of the fingerprint's.
        description: Names of channels and classes.
    """
    cases = fingerprint.case_ids
    reasons: dict[str, list[Reason]] = {case: [] for case in cases}
    pairs = mirror_pairs(sights)
    groups = duplicates(sights)
    found = itertools.chain(
        _grids(fingerprint),
        _intensities(sights, list(description.channel_names.values())),
        _sizes(sights),
        _from_findings(fingerprint, description),
        _swapped(sights, pairs),
        _copies(groups, cases),
    )
    for number, reason in found:
        reasons[cases[number]].append(reason)
    odd = {case: tuple(sorted(why, key=lambda one: -one.weight)) for case, why in reasons.items() if why}
    order = sorted(odd, key=lambda case: (-odd[case][0].weight, -len(odd[case]), case))
    named = tuple(tuple(cases[number] for number in group) for group in groups)
    return Oddities({case: odd[case] for case in order}, pairs, named)


def robust_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The robust z-scores of values; 0 for all where more than half are equal and the others hardly differ.

    Where more than half of the values are equal, the mean of the distances takes the place of their median, as Iglewicz
    and Hoaglin advise.
    """
    distance = values - np.median(values)
    spread = float(np.median(np.abs(distance)))
    if spread > 0:
        return 0.6745 * distance / spread
    mean = float(np.abs(distance).mean())
    return distance / (1.2533 * mean) if mean > 0 else np.zeros_like(distance)


def _outliers(values: NDArray[np.float64], least: float = 0.0) -> Iterator[tuple[int, float]]:
    """Numbers and scores of the outliers that are also at least ``least`` from the median."""
    if len(values) < FEWEST:
        return
    scores, distance = robust_scores(values), np.abs(values - np.median(values))
    for number in np.flatnonzero((np.abs(scores) > THRESHOLD) & (distance > least)):
        yield int(number), float(scores[number])


def _grids(fingerprint: Fingerprint) -> Iterator[tuple[int, Reason]]:
    """Outliers of spacing and of size."""
    for name, table, unit in (
        ("Spacing", np.asarray(fingerprint.spacings, np.float64), " mm"),
        ("Size", np.asarray(fingerprint.shapes_after_crop, np.float64), " voxels"),
    ):
        worst: dict[int, float] = {}
        for axis in range(3):
            # Differences of a tenth are usual.
            for number, score in _outliers(np.log(table[:, axis]), least=np.log(1.1)):
                worst[number] = max(worst.get(number, 0.0), abs(score))
        typical = by(float(value) for value in np.median(table, axis=0))
        for number, score in worst.items():
            text = f"{name} {by(float(value) for value in table[number])}{unit}, typical {typical}"
            yield number, Reason(text, min(score, _MOST_SCORE))


def _intensities(sights: Sequence[CaseSight], channels: Sequence[str]) -> Iterator[tuple[int, Reason]]:
    """Outliers of the foreground's median and of its range."""
    known = [number for number, sight in enumerate(sights) if len(sight.intensities) == len(channels)]
    for channel, name in enumerate(channels):
        table = np.array([sights[number].intensities[channel] for number in known]).reshape(-1, 3)
        for what, values in (("Median intensity", table[:, 1]), ("Range of intensities", table[:, 2] - table[:, 0])):
            for place, score in _outliers(values):
                typical = float(np.median(values))
                text = f"{what} of {name} in the foreground {values[place]:.4g}, typical {typical:.4g}"
                yield known[place], Reason(text, min(abs(score), _MOST_SCORE))


def _sizes(sights: Sequence[CaseSight]) -> Iterator[tuple[int, Reason]]:
    """Outliers of the size of each class, and cases that lack a class that nearly all have."""
    for name in sights[0].sizes if sights else ():
        sizes = np.array([sight.sizes[name] for sight in sights])
        present = np.flatnonzero(sizes > 0)
        if not present.size:
            continue
        typical = float(np.median(sizes[present]))
        for place, score in _outliers(np.log(sizes[present])):
            number = int(present[place])
            ratio = sizes[number] / typical
            word = f"{ratio:.3g} times" if ratio >= 1 else f"{ratio:.2%} of"
            yield number, Reason(f"Size of {name} {word} the typical one", min(abs(score), _MOST_SCORE))
        lacking = np.flatnonzero(sizes == 0)
        if present.size >= FEWEST and lacking.size <= 0.1 * len(sizes):
            for number in lacking.tolist():
                yield number, Reason(f"No {name}, which {present.size} of {len(sizes)} cases have", 2 * THRESHOLD)


def _from_findings(fingerprint: Fingerprint, description: DatasetDescription) -> Iterator[tuple[int, Reason]]:
    """What the fingerprint found remarkable."""
    names = list(description.channel_names.values())
    for number, finding in enumerate(fingerprint.findings):
        if not finding.classes:
            yield number, Reason("No foreground at all", 100)
        for channel in finding.constant:
            yield number, Reason(f"{names[channel]} is the same value everywhere", 100)
        if finding.outside > MOST_OUTSIDE:
            yield number, Reason(f"{finding.outside:.0%} of the foreground lies where the image is zero", 50)


def mirror_pairs(sights: Sequence[CaseSight]) -> tuple[MirrorPair, ...]:
    """Classes of which one lies where the mirror image of the other lies, on average over the cases that have both.

    Classes whose names differ in left and right alone are paired by their names; the axis is that along which they are
    farthest apart.
    """
    names = list(sights[0].sizes) if sights else []
    pairs, used = [], set()
    for first, second in _named_pairs(names):
        places = _places(sights, first, second)
        if places is not None:
            apart = np.abs((places[0] - places[1]).mean(axis=0))
            pairs.append(MirrorPair(first, second, int(apart.argmax()), named=True))
            used |= {first, second}
    for first, second in itertools.combinations([name for name in names if name not in used], 2):
        axis = _mirrored(sights, first, second)
        if axis is not None:
            pairs.append(MirrorPair(first, second, axis, named=False))
    return tuple(pairs)


def _named_pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    known = {name.lower(): name for name in names}
    for name in names:
        words = re.split(r"([^a-z]+)", name.lower())
        for place, word in enumerate(words):
            if word in _LEFT:
                swapped = "".join([*words[:place], _RIGHT[_LEFT.index(word)], *words[place + 1 :]])
                if swapped in known:
                    yield name, known[swapped]


def _places(
    sights: Sequence[CaseSight], first: str, second: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The centres of two classes in the cases that have both, (cases, 3) each; None where there are too few."""
    both = [sight for sight in sights if first in sight.centres and second in sight.centres]
    if len(both) < FEWEST:
        return None
    return np.array([sight.centres[first] for sight in both]), np.array([sight.centres[second] for sight in both])


def _mirrored(sights: Sequence[CaseSight], first: str, second: str) -> int | None:
    """The axis along which two classes mirror each other; None if they do not."""
    places = _places(sights, first, second)
    if places is None:
        return None
    one, other = (place.mean(axis=0) for place in places)
    sizes = [np.median([s.sizes[name] for s in sights if s.sizes[name] > 0]) for name in (first, second)]
    if max(sizes) > _LARGEST_RATIO * min(sizes):
        return None
    for axis in np.argsort(-np.abs(one - other)):
        mirrored = one.copy()
        mirrored[axis] = 1 - mirrored[axis]
        if abs(one[axis] - other[axis]) > _APART and np.abs(mirrored - other).max() <= _NEAR:
            return int(axis)
    return None


def _swapped(sights: Sequence[CaseSight], pairs: Iterable[MirrorPair]) -> Iterator[tuple[int, Reason]]:
    """Cases in which two mirrored classes lie the other way round than in most."""
    for pair in pairs:
        both = [n for n, sight in enumerate(sights) if pair.first in sight.centres and pair.second in sight.centres]
        if len(both) < FEWEST:
            continue
        order = [sights[n].centres[pair.first][pair.axis] > sights[n].centres[pair.second][pair.axis] for n in both]
        usual = sum(order) * 2 >= len(order)
        others = [number for number, way in zip(both, order, strict=True) if way != usual]
        if len(others) <= _MOST_SWAPPED * len(both):
            for number in others:
                along = "zyx"[pair.axis]
                text = f"{pair.first} and {pair.second} lie the other way round along {along} than in most cases"
                yield number, Reason(text, 40)


def duplicates(sights: Sequence[CaseSight]) -> tuple[tuple[int, ...], ...]:
    """Groups of cases whose images look alike, also mirrored along one axis; the numbers of the cases."""
    kinds: dict[tuple[int, ...], list[int]] = {}
    samples = [sample_of(sight) for sight in sights]
    for number, sample in enumerate(samples):
        if sample.size:
            kinds.setdefault(sights[number].grid, []).append(number)
    links: list[tuple[int, int]] = []
    for grid, numbers in kinds.items():
        links += _alike(numbers, samples, grid) if len(numbers) <= MOST_COMPARED else _equal(numbers, samples)
    return _groups(links)


def _alike(
    numbers: Sequence[int], samples: Sequence[NDArray[np.int8]], grid: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    table = _standardised(np.stack([samples[number] for number in numbers]).astype(np.float32))
    whole = table.reshape(len(table), *grid)
    axes = [axis for axis in (2, 3, 4) if whole.shape[axis] > 1]
    for flipped in (table, *(np.flip(whole, axis).reshape(len(table), -1) for axis in axes)):
        close = np.argwhere(np.triu(table @ flipped.T, 1) > ALIKE)
        yield from ((numbers[a], numbers[b]) for a, b in close.tolist())


def _standardised(table: NDArray[np.float32]) -> NDArray[np.float32]:
    table = table - table.mean(axis=1, keepdims=True)
    found: NDArray[np.float32] = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return found


def _equal(numbers: Sequence[int], samples: Sequence[NDArray[np.int8]]) -> Iterator[tuple[int, int]]:
    first: dict[bytes, int] = {}
    for number in numbers:
        key = samples[number].tobytes()
        if key in first:
            yield first[key], number
        first.setdefault(key, number)


def _groups(links: Iterable[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """The groups of numbers that are linked, directly or through others."""
    group_of: dict[int, set[int]] = {}
    for a, b in links:
        merged = group_of.get(a, {a}) | group_of.get(b, {b})
        group_of |= dict.fromkeys(merged, merged)
    return tuple(sorted({tuple(sorted(group)) for group in group_of.values()}))


def _copies(groups: Iterable[Sequence[int]], cases: Sequence[str]) -> Iterator[tuple[int, Reason]]:
    for group in groups:
        for number in group:
            others = [cases[other] for other in group if other != number]
            yield number, Reason(f"Its image looks like that of {few(others)}", 60)


def mirror_sentence(pairs: Sequence[MirrorPair]) -> str:
    """What pairs of mirrored classes mean for training."""
    named = few((f"{pair.first} and {pair.second} (along {'zyx'[pair.axis]})" for pair in pairs), 8)
    axes = listed(sorted({"zyx"[pair.axis] for pair in pairs}))
    return (
        f"Classes that mirror each other: {named}. Patches that are mirrored along {axes} show one as the other, which "
        "makes them hard to learn in a short training; `umseg train --mirror-axes` chooses the axes."
    )
