"""The ``labels`` that a ``dataset.json`` may have (docs/rules.md, Data set)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from umseg.common.text import few

_MOST = 2**31 - 1
_NOT_FOREGROUND = ("background", "ignore")


def check_labels(labels: object) -> object:
    """Require plain labels or regions with the values 0, 1, 2, ... without a gap, of which ``ignore`` is the highest.

    Raises:
        ValueError: The labels are different; the message says what is expected.
    """
    if not isinstance(labels, Mapping):
        raise ValueError("an object of names and values")
    for name, value in labels.items():
        _check_entry(name, value)
    if "background" not in labels:
        zero = next((name for name, value in labels.items() if value == 0), None)
        raise ValueError(
            "an entry 'background': 0, which is missing"
            if zero is None
            else f"the name 'background' in place of '{zero}'"
        )
    if labels["background"] != 0:
        raise ValueError("'background': 0, because voxels of no class have the value 0")
    foreground = {name: value for name, value in labels.items() if name not in _NOT_FOREGROUND}
    if not foreground:
        raise ValueError("at least one label besides the background")
    regions = any(not isinstance(value, int) for value in foreground.values())
    values = [value for entry in foreground.values() for value in ([entry] if isinstance(entry, int) else entry)]
    used = sorted(set(values) if regions else values)
    if used != list(range(1, len(used) + 1)):
        raise ValueError(_without_gap(foreground, used, regions))
    if "ignore" in labels and labels["ignore"] != len(used) + 1:
        raise ValueError(f"'ignore': {len(used) + 1}, one more than the highest of the other values")
    return labels


def _without_gap(foreground: Mapping[str, Any], used: Sequence[int], regions: bool) -> str:
    """What is expected where the values are not 1, 2, 3, ...; says which are missing and what to write instead."""
    expected = f"{'regions of ' if regions else ''}the label values 1, 2, 3, ... without a gap"
    twice = next((value for value, following in itertools.pairwise(used) if value == following), None)
    if twice is not None:
        return f"{expected}; {twice} stands for two names"
    if used[0] < 1:
        return f"{expected}; {used[0]} cannot be a class"
    # Values can be arbitrarily large: only the first that are missing are looked for.
    present = set(used)
    missing = few(str(value) for value in range(1, min(used[-1], len(used) + 20)) if value not in present)
    text = f"{expected}; not in use: {missing}"
    if regions or len(foreground) > 10:
        return text
    numbers = {name: number for number, name in enumerate(sorted(foreground, key=foreground.__getitem__), start=1)}
    return f"{text}. Give the label maps and this file the values {', '.join(f'{n} {v}' for n, v in numbers.items())}"


def check_instance_labels(labels: object) -> object:
    """Require the background and one kind of object, as in an instance task.

    Raises:
        ValueError: The labels are not the background and one object.
    """
    objects = [name for name in labels if name not in _NOT_FOREGROUND] if isinstance(labels, Mapping) else []
    if len(objects) != 1 or labels != {"background": 0, objects[0]: 1}:
        raise ValueError('{"background": 0, "<name of the objects>": 1}, as the task is "instance"')
    return labels


def check_class_order(order: tuple[int, ...] | None, labels: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Require a different label value for each region. Without regions the order has no meaning.

    Args:
        order: The field ``regions_class_order``.
        labels: Labels that :func:`check_labels` accepts.

    Raises:
        ValueError: The order is missing, or has another length or other values.
    """
    foreground = {name: value for name, value in labels.items() if name not in _NOT_FOREGROUND}
    if all(isinstance(value, int) for value in foreground.values()):
        return order
    highest = max(max([value] if isinstance(value, int) else value) for value in foreground.values())
    valid = order is not None and len(order) == len(foreground) == len(set(order))
    if order is None or not valid or not all(1 <= value <= highest for value in order):
        raise ValueError(
            f"a list of {len(foreground)} different label values from 1 to {highest}: "
            f"what is written for {', '.join(foreground)}"
        )
    return order


def _check_entry(name: str, value: object) -> None:
    for part in value if isinstance(value, Sequence) else [value]:
        if isinstance(part, int) and not -_MOST <= part <= _MOST:
            raise ValueError(f"label values of at most {_MOST:,}, for '{name}'")
    if _is_whole(value):
        return
    if name in _NOT_FOREGROUND:
        raise ValueError(f"one whole number for '{name}'")
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(_is_whole(part) for part in value):
        raise ValueError(f"a whole number, or for a region a list of them, for '{name}'")
    if not value or len(set(value)) < len(value) or 0 in value:
        raise ValueError(f"different values for the region '{name}', and not the background's")


def _is_whole(value: object) -> bool:
    # True and False are whole numbers to Python, but no labels.
    return isinstance(value, int) and not isinstance(value, bool)
