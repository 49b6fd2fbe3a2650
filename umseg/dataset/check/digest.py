"""Has a data set changed? A fingerprint of its bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from umseg.common.record import Record
from umseg.dataset.dataset import Case, Dataset
from umseg.dataset.io.companions import companions
from umseg.dataset.io.dicom import series_files
from umseg.dataset.listing import is_folder, not_readable

_BLOCK = 1 << 20


def case_digest(case: Case) -> str:
    """Hash of the bytes of a case's files, in the order image channels, label.

    Files that belong to an image count with it: the slices of a DICOM series, whatever their names, and ``companions``.

    Raises:
        UserError: A file cannot be read.
    """
    files = [*case.images, *([] if case.label is None else [case.label])]
    return _hash(part for file in files for part in _image_parts(file))


def dataset_digest(dataset: Dataset, cases: Sequence[str]) -> str:
    """Hash of a data set.

    Args:
        dataset: Its description and the names of its cases are part of the hash; where it lies is not.
        cases: ``case_digest`` of every case.
    """
    description = json.dumps(dataset.description.model_dump(mode="json"), sort_keys=True)
    ids = [case.id for case in dataset.cases]
    return _hash([dataset.name, description, *ids, *cases])


def digest_of_record(record: Record) -> str:
    """Hash of a record's content."""
    return _hash([json.dumps(record.model_dump(mode="json"), sort_keys=True)])


def _image_parts(path: Path) -> list[str]:
    if is_folder(path):
        return [_hash(sorted(map(digest_of_file, series_files(path))))]
    return [digest_of_file(file) for file in (path, *companions(path))]


def digest_of_file(path: Path) -> str:
    """Hash of a file's bytes.

    Raises:
        UserError: It cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as handle:
            while block := handle.read(_BLOCK):
                found.update(block)
    except OSError as error:
        raise not_readable(path, error) from error
    return found.hexdigest()


def _hash(parts: Iterable[str]) -> str:
    # As JSON, so that no two lists of parts run together to the same text.
    return hashlib.blake2b(json.dumps(list(parts)).encode(), digest_size=16).hexdigest()
