"""SimpleITK. Functions that read or write import it from here, because it takes 90 MB that training does not need."""

from __future__ import annotations

import SimpleITK as sitk

__all__ = ["sitk"]

# ITK prints its warnings to stderr whatever the log level; what matters here is checked and raised instead.
sitk.ProcessObject.SetGlobalWarningDisplay(False)
