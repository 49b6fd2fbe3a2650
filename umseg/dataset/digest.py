"""Has a data set changed? A fingerprint of its bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from umseg.dataset.dataset import Case, Dataset

_BLOCK = 1 << 20


def case_digest(case: Case) -> str:
    """Hash of the bytes of a case's files, in the order image channels, label."""
    files = [*case.images, *([] if case.label is None else [case.label])]
    return _hash(_hash_file(file) for file in files)


def dataset_digest(dataset: Dataset, cases: Sequence[str]) -> str:
    """Hash of a data set.

    Args:
        dataset: Its description and the names of its cases are part of the hash; where it lies is not.
        cases: ``case_digest`` of every case.
    """
    description = json.dumps(dataset.description.model_dump(mode="json"), sort_keys=True)
    ids = [case.id for case in dataset.cases]
    return _hash([dataset.name, description, *ids, *cases])


def _hash_file(path: Path) -> str:
    found = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as handle:
        while block := handle.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _hash(parts: Iterable[str]) -> str:
    # As JSON, so that no two lists of parts run together to the same text.
    return hashlib.blake2b(json.dumps(list(parts)).encode(), digest_size=16).hexdigest()
