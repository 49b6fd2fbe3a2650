"""``predictions.jsonl``, the record of a folder of predictions: what umseg wrote, with which model from which images.

A line is added before and after a file is written, so that a killed run leaves no file whose origin is unknown. Several
processes may add lines: each locks the record for that moment.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from umseg.common.errors import UserError
from umseg.common.files import write_text
from umseg.common.json_file import parse_json
from umseg.common.processes.shared import locked
from umseg.common.record import Record, SparseRecord
from umseg.common.text import few
from umseg.dataset.check.digest import digest_of_file, digest_of_record
from umseg.dataset.dataset import Case
from umseg.dataset.io.registry import format_of
from umseg.dataset.listing import is_folder, list_folder, not_readable
from umseg.inference.postprocessing.classes import ClassCleaning
from umseg.preprocess.instance_cleaning import Cleaning

RECORD = "predictions.jsonl"
_LOCK = ".umseg-record"
_PATIENCE = 60.0
"""Seconds to wait for another process that adds a line."""


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
        skip_empty: Whether windows outside of the body are left out.
        class_cleaning: How label maps of classes are cleaned; None if they stay as they are.
        others: The same of the other models that predict together with this one.
    """

    sparse = ("cleaning", "skip_empty", "class_cleaning", "others")

    card: str
    weights: dict[str, str]
    step: float
    mirror_axes: tuple[int, ...]
    precision: str
    first_stage: Settings | None = None
    cleaning: Cleaning | None = None
    skip_empty: bool = False
    class_cleaning: ClassCleaning | None = None
    others: tuple[Settings, ...] = ()


@dataclass(frozen=True)
class Made:
    """A file, and what it is made with.

    Attributes:
        path: The file.
        settings: Digest of the ``Settings`` it is made with; empty for files that belong to no case.
        images: ``images_digest`` of its case.
    """

    path: Path
    settings: str = ""
    images: str = ""


class Written(Record):
    """A file that umseg wrote, or began to write.

    Attributes:
        file: Its path from the folder of the record, with "/".
        digest: Digest of its bytes; empty while it is being written.
        settings: Digest of the ``Settings`` that it was made with; empty for files that belong to no case.
        images: Digest of the names, sizes and times of the files of its image.
    """

    file: str
    digest: str = ""
    settings: str = ""
    images: str = ""


class PredictionRecord:
    """The record of a folder, to which several processes may add.

    Args:
        folder: Folder of predictions; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / RECORD
        self._entries: dict[str, Written] = {}
        self._known = (0, 0)
        self._guard = threading.RLock()
        self.refresh()

    def refresh(self) -> None:
        """Read what this or another process has added since the last look.

        Raises:
            UserError: The record cannot be read.
        """
        with self._guard:
            lines, self._known = _lines_since(self._file, *self._known)
            for line in lines:
                # The last line of a killed run may be cut.
                with contextlib.suppress(ValidationError, ValueError):
                    entry = Written.model_validate(parse_json(line))
                    self._entries[entry.file] = entry

    def compact(self, void: Collection[Path] = ()) -> None:
        """Write the record anew, with one line for each file that is still there; no other process may work there.

        Args:
            void: Files that are made again, whatever they were made with.

        Raises:
            UserError: The folder cannot be written.
        """
        with self._guard:
            again = {self._name(path) for path in void}
            self._entries = {
                name: Written(file=name, digest=entry.digest) if name in again else entry
                for name, entry in self._entries.items()
                if (self.folder / name).exists()
            }
            write_text(self._file, "".join(entry.model_dump_json() + "\n" for entry in self._entries.values()))
            self._known = (0, 0)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing the record, and files that go with it, for a moment.

        Raises:
            UserError: Another process does not let go of it.
        """
        with self._guard, locked(self.folder / _LOCK, _PATIENCE):
            yield

    def begin(self, paths: Iterable[Path]) -> None:
        """Record that files are being written.

        Raises:
            UserError: The record cannot be written.
        """
        self._add([Written(file=self._name(path)) for path in paths])

    def finish(self, files: Iterable[Made]) -> None:
        """Record what was written; files that are not there are left out.

        Raises:
            UserError: The record cannot be written.
        """
        there = [made for made in files if made.path.exists()]
        self._add(
            [
                Written(
                    file=self._name(made.path),
                    digest=digest_of_file(made.path),
                    settings=made.settings,
                    images=made.images,
                )
                for made in there
            ]
        )

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _add(self, entries: Sequence[Written]) -> None:
        """Add lines.

        Raises:
            UserError: The file cannot be written.
        """
        if not entries:
            return
        text = "".join(entry.model_dump_json() + "\n" for entry in entries)
        try:
            with self.locked(), self._file.open("ab+") as handle:
                # Not behind a line that a killed run has cut.
                if handle.seek(0, os.SEEK_END) and handle.seek(-1, os.SEEK_END) >= 0 and handle.read(1) != b"\n":
                    text = "\n" + text
                handle.write(text.encode())
        except OSError as error:
            raise UserError(
                "The file cannot be written.",
                file=self._file,
                found=error.strerror or str(error),
                remedy="Check that the disk is not full and that you may write to it; then run the same command again.",
            ) from error
        self.refresh()

    def entry(self, path: Path) -> Written | None:
        """What is recorded of a file, if anything is."""
        return self._entries.get(self._name(path))

    def is_own(self, path: Path) -> bool:
        """Whether umseg wrote a file that is there, and nobody has changed it since."""
        entry = self.entry(path)
        return entry is not None and (not entry.digest or entry.digest == digest_of_file(path))

    def is_complete(self, made: Made) -> bool:
        """Whether the whole file is there that was made with these settings from the images of a case."""
        try:
            return self.is_recorded(made) and self._entries[self._name(made.path)].digest == digest_of_file(made.path)
        except UserError:
            # What cannot be read is reported with its case.
            return False

    def is_recorded(self, made: Made) -> bool:
        """The same without a look into the file, which somebody may have changed."""
        entry = self.entry(made.path)
        return (
            entry is not None
            and bool(entry.digest)
            and (entry.settings, entry.images) == (made.settings, made.images)
            and made.path.is_file()
        )

    def refuse_others(self, paths: Sequence[Path]) -> None:
        """Raise a UserError if some of these files are there and are not, or no longer, what umseg wrote."""
        foreign = [path for path in paths if path.exists() and not self.is_own(path)]
        if foreign:
            raise UserError(
                "The output would replace files that umseg did not write, or that have been changed since.",
                file=self.folder,
                found=few(self._name(path) for path in foreign),
                remedy="Choose another folder with --output, or move these files; --overwrite replaces them.",
            )

    def refuse_other_text(self, path: Path, text: str) -> None:
        """As ``refuse_others``, for a file that may also be there with the very text that will be written."""
        if not holds_text(path, text):
            self.refuse_others([path])


def holds_text(path: Path, text: str) -> bool:
    """Whether a file is there with this content."""
    try:
        return path.is_file() and path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def images_digest(case: Case) -> str:
    """Digest of the names, sizes and times of change of a case's files, which are not read.

    Raises:
        UserError: A file is missing or cannot be looked at.
    """
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


def _lines_since(path: Path, inode: int, place: int) -> tuple[list[str], tuple[int, int]]:
    """The whole lines behind a place of a file, and the place behind them; all lines if it is another file by now."""
    try:
        with path.open("rb") as handle:
            stamp = os.fstat(handle.fileno())
            if stamp.st_ino != inode or stamp.st_size < place:
                place = 0
            handle.seek(place)
            content = handle.read()
    except FileNotFoundError:
        return [], (0, 0)
    except OSError as error:
        raise not_readable(path, error) from error
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].decode("utf-8", errors="replace").splitlines()
    return lines, (stamp.st_ino, place + whole)
