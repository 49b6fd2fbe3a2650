"""``predictions.jsonl``, the record of a folder of predictions: what umseg wrote, with which model from which images.

A line is added before and after a label map is written, so that a killed run leaves no file whose origin is unknown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.common.json_file import parse_json
from umseg.common.record import Record, SparseRecord
from umseg.common.text import few
from umseg.dataset.check.digest import digest_of_file, digest_of_record
from umseg.dataset.dataset import Case
from umseg.dataset.io.registry import format_of
from umseg.dataset.listing import is_folder, list_folder, not_readable
from umseg.preprocess.instance_cleaning import Cleaning

RECORD = "predictions.jsonl"


class Settings(SparseRecord):
    """What a label map depends on besides its image.

    Attributes:
        card: Digest of ``model.json``.
        weights: Fold to the digest of its weights.
        step: Distance of neighbouring windows as a fraction of the patch.
        mirror_axes: Axes over whose flips predictions are averaged.
        precision: Number format of the convolutions.
        first_stage: The same of a cascade's first stage.
        cleaning: How objects are cleaned; None if they stay as they are.
    """

    sparse = ("cleaning",)

    card: str
    weights: dict[str, str]
    step: float
    mirror_axes: tuple[int, ...]
    precision: str
    first_stage: Settings | None = None
    cleaning: Cleaning | None = None


class Written(Record):
    """A file that umseg wrote, or began to write.

    Attributes:
        file: Its name.
        digest: Digest of its bytes; empty while it is being written.
        settings: Digest of the ``Settings`` that it was made with; empty for files that are no label maps.
        images: Digest of the names, sizes and times of the files of its image.
    """

    file: str
    digest: str = ""
    settings: str = ""
    images: str = ""


class PredictionRecord:
    """The record of a folder, which the caller has claimed.

    Args:
        folder: Folder of predictions; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / RECORD
        self._entries: dict[str, Written] = {}
        for line in _lines(self._file):
            # The last line of a killed run may be cut.
            with contextlib.suppress(ValidationError, ValueError):
                entry = Written.model_validate(parse_json(line))
                self._entries[entry.file] = entry

    def compact(self) -> None:
        """Write the record anew, with one line for each file that is still there.

        Raises:
            UserError: The folder cannot be written.
        """
        self._entries = {name: entry for name, entry in self._entries.items() if (self.folder / name).exists()}
        write_text(self._file, "".join(entry.model_dump_json() + "\n" for entry in self._entries.values()))

    @contextlib.contextmanager
    def writing(self, path: Path, settings: str = "", case: Case | None = None) -> Iterator[None]:
        """Record that a file is written inside of this context, and after it what was written.

        Args:
            path: The file.
            settings: Digest of the settings.
            case: The case that it is the label map of.

        Raises:
            UserError: The record cannot be written.
        """
        images = "" if case is None else _images_digest(case)
        self._add(Written(file=path.name))
        yield
        self._add(Written(file=path.name, digest=digest_of_file(path), settings=settings, images=images))

    def _add(self, entry: Written) -> None:
        """Add a line.

        Raises:
            UserError: The file cannot be written.
        """
        self._entries[entry.file] = entry
        try:
            with self._file.open("a", encoding="utf-8") as handle:
                handle.write(entry.model_dump_json() + "\n")
        except OSError as error:
            raise UserError(
                "The file cannot be written.",
                file=self._file,
                found=error.strerror or str(error),
                remedy="Check that the disk is not full and that you may write to it; then run the command again with "
                "--resume.",
            ) from error

    def is_own(self, path: Path) -> bool:
        """Whether umseg wrote a file that is there, and nobody has changed it since."""
        entry = self._entries.get(path.name)
        return entry is not None and (not entry.digest or entry.digest == digest_of_file(path))

    def is_complete(self, path: Path, settings: str, case: Case) -> bool:
        """Whether the whole label map is there that was made with these settings from the images of a case."""
        entry = self._entries.get(path.name)
        if entry is None or entry.settings != settings or not path.is_file():
            return False
        try:
            return entry.images == _images_digest(case) and entry.digest == digest_of_file(path)
        except UserError:
            # What cannot be read is reported with its case.
            return False

    def refuse_others(self, paths: Sequence[Path]) -> None:
        """Raise a UserError if some of these files are there and are not, or no longer, what umseg wrote."""
        foreign = [path for path in paths if path.exists() and not self.is_own(path)]
        if foreign:
            raise UserError(
                "The output would replace files that umseg did not write, or that have been changed since.",
                file=self.folder,
                found=few(path.name for path in foreign),
                remedy="Choose another folder with --output, or move these files; --overwrite replaces them.",
            )

    def refuse_other_text(self, path: Path, text: str) -> None:
        """As ``refuse_others``, for a file that may also be there with the very text that will be written."""
        try:
            same = path.is_file() and path.read_text(encoding="utf-8") == text
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            self.refuse_others([path])


def _images_digest(case: Case) -> str:
    """Digest of the names, sizes and times of change of a case's files, which are not read."""
    return digest_of_record(_Files(files=tuple(found for image in case.images for found in _stamps(image))))


class _Files(Record):
    files: tuple[tuple[str, int, int], ...]


def _stamps(image: Path) -> list[tuple[str, int, int]]:
    files = list_folder(image)[0] if is_folder(image) else [image, *format_of(image).companions(image)]
    try:
        found = [(file.name, file.stat()) for file in files]
    except OSError as error:
        raise not_readable(image, error) from error
    return [(name, stamp.st_size, stamp.st_mtime_ns) for name, stamp in found]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise not_readable(path, error) from error
