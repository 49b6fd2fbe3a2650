"""umseg: self-configuring biomedical image segmentation with hybrid CNN-SSM U-Nets."""

from __future__ import annotations

__version__ = "0.1.0"
