"""SimpleITK; imported by the functions that read or write with it, for it takes 90 MB that training has no use for."""

from __future__ import annotations

import SimpleITK as sitk

__all__ = ["sitk"]

# ITK prints its warnings to stderr whatever the log level; what matters here is checked and raised instead.
sitk.ProcessObject.SetGlobalWarningDisplay(False)
