"""Preprocessing: crop, normalise, resample, class locations, the case store, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

if TYPE_CHECKING:
    from umseg.preprocess.case import CaseProperties, PreprocessedCase
    from umseg.preprocess.origin import Origin, case_origins
    from umseg.preprocess.preprocess import preprocess_case, preprocess_dataset
    from umseg.preprocess.restore import restore_label_map, restore_probabilities
    from umseg.preprocess.space import most_bytes
    from umseg.preprocess.store import CaseStore, StoredCase, StoreDtype

_HOME = {
    "CaseProperties": "case",
    "CaseStore": "store",
    "Origin": "origin",
    "PreprocessedCase": "case",
    "StoreDtype": "store",
    "StoredCase": "store",
    "case_origins": "origin",
    "most_bytes": "space",
    "preprocess_case": "preprocess",
    "preprocess_dataset": "preprocess",
    "restore_label_map": "restore",
    "restore_probabilities": "restore",
}

__all__ = [
    "CaseProperties",
    "CaseStore",
    "Origin",
    "PreprocessedCase",
    "StoreDtype",
    "StoredCase",
    "case_origins",
    "most_bytes",
    "preprocess_case",
    "preprocess_dataset",
    "restore_label_map",
    "restore_probabilities",
]

__getattr__ = lazy_names(__name__, _HOME)
