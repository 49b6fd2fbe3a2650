"""Preprocessing: cropping, normalisation, resampling, class locations, the case store, restoring original voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umseg.common.lazy import lazy_names

if TYPE_CHECKING:
    from umseg.preprocess.case import CaseProperties, PreprocessedCase
    from umseg.preprocess.preprocess import preprocess_case, preprocess_dataset
    from umseg.preprocess.restore import restore_label_map, restore_probabilities
    from umseg.preprocess.store.case_store import CaseStore, StoredCase, StoreDtype
    from umseg.preprocess.store.disk_usage import most_bytes
    from umseg.preprocess.store.provenance import Origin, case_origins

_HOME = {
    "CaseProperties": "case",
    "CaseStore": "store.case_store",
    "Origin": "store.provenance",
    "PreprocessedCase": "case",
    "StoreDtype": "store.case_store",
    "StoredCase": "store.case_store",
    "case_origins": "store.provenance",
    "most_bytes": "store.disk_usage",
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
