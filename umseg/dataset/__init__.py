"""Data sets: their description, cases, images and label maps, and the integrity check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umseg.dataset.dataset import Case, Dataset, find_cases, load_dataset
    from umseg.dataset.description import DatasetDescription, load_description
    from umseg.dataset.images import Geometry, Image, LabelMap, read_image, read_label, write_label

_HOME = {
    "Case": "dataset",
    "Dataset": "dataset",
    "DatasetDescription": "description",
    "Geometry": "images",
    "Image": "images",
    "LabelMap": "images",
    "find_cases": "dataset",
    "load_dataset": "dataset",
    "load_description": "description",
    "read_image": "images",
    "read_label": "images",
    "write_label": "images",
}

__all__ = [
    "Case",
    "Dataset",
    "DatasetDescription",
    "Geometry",
    "Image",
    "LabelMap",
    "find_cases",
    "load_dataset",
    "load_description",
    "read_image",
    "read_label",
    "write_label",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: SimpleITK takes longer to load than `umseg --help` may.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
