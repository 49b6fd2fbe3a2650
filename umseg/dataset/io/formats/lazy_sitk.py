"""SimpleITK. Functions that read or write import it from here, because it takes 90 MB that training does not need."""

from __future__ import annotations

import locale
from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk

__all__ = ["same_locale", "sitk"]

# ITK prints its warnings to stderr whatever the log level; what matters here is checked and raised instead.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


@contextmanager
def same_locale() -> Iterator[None]:
    """Restore the process's locale behind GDCM, which sets it to "C".

    Python would then take the text files of the whole program for ASCII.
    """
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)
