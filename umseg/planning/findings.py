"""What the data say about training and scores, in sentences: classes that a fold never sees, blank images.

Nothing here stops the work. The measurements are those of the fingerprint; the folds come from the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from umseg.common.record import Record
from umseg.common.text import counted, few
from umseg.dataset.crop import BoundingBox, box_slices

MOST_OUTSIDE = 0.01
"""Share of the foreground outside the nonzero region above which a case is named."""
FEW_CASES = 5
"""With fewer cases there are fewer folds than usual, and a class in fewer cases is missing in a fold's scores."""


class CaseFindings(Record):
    """What is remarkable about one case.

    Attributes:
        classes: Names of the classes that it has.
        constant: Numbers of the channels that have the same value everywhere.
        outside: Share of the foreground that lies where the image is zero (outside its nonzero region).
    """

    classes: tuple[str, ...]
    constant: tuple[int, ...] = ()
    outside: float = 0.0


def constant_channels(image: NDArray[np.float32]) -> tuple[int, ...]:
    """The numbers of the channels of an image (channels, z, y, x) that have the same value everywhere."""
    return tuple(number for number, channel in enumerate(image) if _is_constant(channel))


def share_outside(foreground: NDArray[np.bool_], box: BoundingBox, region: NDArray[np.bool_]) -> float:
    """The share of the foreground (z, y, x) outside the nonzero region, which is given by its box and mask in it."""
    total = int(np.count_nonzero(foreground))
    inside = int(np.count_nonzero(foreground[box_slices(box)] & region))
    return 0.0 if total == 0 else (total - inside) / total


def case_warnings(findings: Mapping[str, CaseFindings], channels: Sequence[str]) -> Iterator[str]:
    """One sentence for each kind of remarkable case.

    Args:
        findings: The findings by case id, of the cases in question.
        channels: Names of the image channels.
    """
    blank = [case for case, found in findings.items() if len(found.constant) == len(channels)]
    if blank:
        yield f"The image is the same value everywhere in {_share(blank, findings)}. Check or remove such cases."
    for number, name in enumerate(channels if len(channels) > 1 else ()):
        constant = [case for case, found in findings.items() if number in found.constant and case not in set(blank)]
        if constant:
            yield f"Channel {name} is the same value everywhere in {_share(constant, findings)}."
    if empty := [case for case, found in findings.items() if not found.classes]:
        yield f"There is no foreground in {_share(empty, findings)}."
    outside = {case: found.outside for case, found in findings.items() if found.outside > MOST_OUTSIDE}
    if outside := {case: share for case, share in outside.items() if case not in set(blank)}:
        named = few(f"{case} ({share:.0%})" for case, share in outside.items())
        yield (
            "Foreground lies where the image is zero, of which the network sees little or nothing, in "
            f"{_of(len(outside), len(findings))}: {named}. Check that image and label map belong together."
        )


def dataset_warnings(findings: Mapping[str, CaseFindings], classes: Sequence[str]) -> Iterator[str]:
    """Sentences about few cases, and about classes that few cases have.

    Args:
        findings: The findings by case id, of all cases.
        classes: Names of all classes.
    """
    total = len(findings)
    if total == 1:
        yield "There is only one case: no fold can be validated, and only --fold all can be trained."
    elif total < FEW_CASES:
        yield f"There are only {total} cases, and as many folds, each with one validation case: scores will vary much."
    counts = Counter(name for found in findings.values() for name in found.classes)
    rare = [name for name in classes if 0 < counts[name] < min(FEW_CASES, total)]
    if rare:
        named = few(f"{name} in {counts[name]} ({few(_cases_with(name, findings), 3)})" for name in rare)
        yield f"Classes that few of the {total} cases have: {named}. Their scores rest on little."


def fold_warnings(
    findings: Mapping[str, CaseFindings],
    classes: Sequence[str],
    folds: Mapping[str, tuple[Collection[str], Collection[str]]],
) -> Iterator[str]:
    """A sentence about classes that folds never train, and one about those that they train but never validate.

    Args:
        findings: The findings by case id.
        classes: Names of the classes in question.
        folds: Training and validation cases by the name of the fold.
    """
    untrained = {name: _without(name, 0, findings, folds) for name in classes}
    unscored = {
        name: [fold for fold in _without(name, 1, findings, folds) if fold not in untrained[name]] for name in classes
    }
    for missing, meaning in (
        (untrained, "no training case of a fold has, so that its scores of them mean nothing"),
        (unscored, "no validation case of a fold has, so that it has no scores of them"),
    ):
        named = [f"{name} (fold{'s' * (len(where) > 1)} {few(where)})" for name, where in missing.items() if where]
        if named:
            yield f"Classes that {meaning}: {few(named)}."


def _without(
    name: str,
    side: int,
    findings: Mapping[str, CaseFindings],
    folds: Mapping[str, tuple[Collection[str], Collection[str]]],
) -> list[str]:
    """The folds of which no case of one side has a class."""
    return [
        fold
        for fold, sides in folds.items()
        if not any(name in findings[case].classes for case in sides[side] if case in findings)
    ]


def _cases_with(name: str, findings: Mapping[str, CaseFindings]) -> list[str]:
    return [case for case, found in findings.items() if name in found.classes]


def _share(cases: Sequence[str], findings: Mapping[str, CaseFindings]) -> str:
    return f"{_of(len(cases), len(findings))}: {few(cases)}"


def _of(count: int, total: int) -> str:
    return f"{count:,} of {counted(total, 'case')}"


def _is_constant(channel: NDArray[np.float32]) -> bool:
    first = channel.flat[0]
    # Most images differ within one slice, so that the others need no look.
    return bool((channel[len(channel) // 2] == first).all() and (channel == first).all())
