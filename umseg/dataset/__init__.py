"""Data sets: their description, cases, images and label maps, and the integrity check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

if TYPE_CHECKING:
    from umseg.dataset.check.fix_headers import fix_geometry
    from umseg.dataset.check.problems import DatasetError, Problem
    from umseg.dataset.check.report import report_problems, write_problems
    from umseg.dataset.dataset import Case, Dataset, find_cases, load_dataset, survey_dataset
    from umseg.dataset.description import DatasetDescription, load_description
    from umseg.dataset.io.grid import Geometry
    from umseg.dataset.io.images import Image, LabelMap, read_image, read_label, write_label

_HOME = {
    "Case": "dataset",
    "Dataset": "dataset",
    "DatasetDescription": "description",
    "DatasetError": "check.problems",
    "Geometry": "io.grid",
    "Image": "io.images",
    "LabelMap": "io.images",
    "Problem": "check.problems",
    "find_cases": "dataset",
    "fix_geometry": "check.fix_headers",
    "load_dataset": "dataset",
    "load_description": "description",
    "read_image": "io.images",
    "read_label": "io.images",
    "report_problems": "check.report",
    "survey_dataset": "dataset",
    "write_label": "io.images",
    "write_problems": "check.report",
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
