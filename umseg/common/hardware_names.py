"""The names of devices and number formats, which are checked before torch is imported."""

from __future__ import annotations

import re

from umseg.common.errors import UserError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
"""Number formats of the convolutions."""
_DEVICE = re.compile(r"auto|cpu|cuda|cuda:\d{1,3}|mps")
"""torch knows more device types, such as "meta", which hold no data or for which umseg has no code."""


def check_device_name(name: str) -> None:
    """Refuse what is no name of a device.

    Raises:
        UserError: The device is unknown.
    """
    if not _DEVICE.fullmatch(name):
        raise UserError(f"Unknown device '{name}'.", found=name, expected="auto, cpu, cuda, cuda:N or mps")


def check_precision_name(name: str) -> None:
    """Refuse what is no name of a number format.

    Raises:
        UserError: The precision is unknown.
    """
    if name not in PRECISIONS:
        raise UserError(f"Unknown precision '{name}'.", found=name, expected=", ".join(PRECISIONS))
