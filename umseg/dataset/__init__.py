"""Data sets: their description, cases, images and label maps, and the integrity check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

if TYPE_CHECKING:
    from umseg.dataset.dataset import Case, Dataset, find_cases, load_dataset, survey_dataset
    from umseg.dataset.description import DatasetDescription, load_description
    from umseg.dataset.geometry import fix_geometry
    from umseg.dataset.grid import Geometry
    from umseg.dataset.images import Image, LabelMap, read_image, read_label, write_label
    from umseg.dataset.problems import DatasetError, Problem
    from umseg.dataset.report import report_problems, write_problems

_HOME = {
    "Case": "dataset",
    "Dataset": "dataset",
    "DatasetDescription": "description",
    "DatasetError": "problems",
    "Geometry": "grid",
    "Image": "images",
    "LabelMap": "images",
    "Problem": "problems",
    "find_cases": "dataset",
    "fix_geometry": "geometry",
    "load_dataset": "dataset",
    "load_description": "description",
    "read_image": "images",
    "read_label": "images",
    "report_problems": "report",
    "survey_dataset": "dataset",
    "write_label": "images",
    "write_problems": "report",
}

__all__ = [
    "Case",
    "Dataset",
    "DatasetDescription",
    "DatasetError",
    "Geometry",
    "Image",
    "LabelMap",
    "Problem",
    "find_cases",
    "fix_geometry",
    "load_dataset",
    "load_description",
    "read_image",
    "read_label",
    "report_problems",
    "survey_dataset",
    "write_label",
    "write_problems",
]

__getattr__ = lazy_names(__name__, _HOME)
