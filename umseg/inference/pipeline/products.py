"""What is written of a case: the files, and what each of them is made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from numpy.typing import NDArray

from umseg.common.errors import UserError
from umseg.common.record import Record
from umseg.dataset.check.digest import digest_of_record
from umseg.dataset.dataset import Case
from umseg.dataset.io.images import read_geometry, refuse_flat
from umseg.dataset.io.registry import FORMATS, format_of
from umseg.inference.outputs.case_output import CaseOutput
from umseg.inference.outputs.probability_choice import ProbabilityChoice
from umseg.inference.pipeline.record import Made, Settings, images_digest

_ITK_BYTES = 60_000_000
"""Bytes of SimpleITK, by which label maps other than NIfTI are written."""


class LabelChoice(Protocol):
    """A change of label maps before they are written. Its ``repr`` says what it does."""

    def apply(self, label_map: NDArray[Any]) -> NDArray[Any]:
        """The label map that is written."""
        ...


@dataclass(frozen=True)
class Products:
    """What is written of every case.

    Attributes:
        file_ending: Ending of the images in the model's data set.
        outputs: What is written besides the label map. Their ``repr`` says what they write.
        choice: Change of the label maps; None writes them as they are.
        ending: The ending of the label map of a case; None: as its image suggests.
        probabilities: Which files of probabilities are written; None: none.
    """

    file_ending: str
    outputs: tuple[CaseOutput, ...] = ()
    choice: LabelChoice | None = None
    ending: Callable[[Case, str], str] | None = None
    probabilities: ProbabilityChoice | None = None

    def label_map(self, case: Case, folder: Path) -> Path:
        """The file of a case's label map."""
        ending = Case.label_ending if self.ending is None else self.ending
        return folder / f"{case.id}{ending(case, self.file_ending)}"

    def program_bytes(self, jobs: Sequence[Job]) -> int:
        """Bytes of the parts of the program that are loaded to write these cases."""
        by_itk = any(format_of(job.label.path) is not FORMATS["nifti"] for job in jobs)
        return sum(one.program_bytes for one in self.outputs) + (_ITK_BYTES if by_itk else 0)

    def terms(self, settings: Settings) -> str:
        """Digest of what label maps depend on besides their images, the settings of the model among it."""
        digest = digest_of_record(settings)
        return digest if self.choice is None else _digest(digest, self.choice)

    def jobs(self, cases: Sequence[tuple[PurePosixPath, Case]], output: Path, terms: str) -> list[Job]:
        """The work on cases.

        Args:
            cases: The cases, each with the folder in which it was found.
            output: The output folder, in which the same folders are made.
            terms: Digest of what label maps depend on besides their images.
        """
        of_outputs = [_digest(terms, one) for one in self.outputs]
        return [self._job(case, place, output, terms, of_outputs) for place, case in cases]

    def _job(self, case: Case, place: PurePosixPath, output: Path, of_labels: str, of_outputs: Sequence[str]) -> Job:
        try:
            images = images_digest(case)
        except UserError:
            # Whoever reads it says so.
            images = ""
        folder, name = output / place, str(place / case.id)
        label = Made(self.label_map(case, folder), of_labels, images)
        probabilities = None
        if self.probabilities is not None:
            terms = _digest(of_labels, self.probabilities)
            probabilities = Made(self.probabilities.file(case, folder), terms, images)
        try:
            if format_of(label.path).flat:
                refuse_flat(label.path, read_geometry(case.images[0]))
            others = tuple(
                tuple(Made(path, settings, images) for path in one.files(case, folder))
                for one, settings in zip(self.outputs, of_outputs, strict=True)
            )
        except UserError as error:
            return Job(case, folder, name, label, probabilities, refusal=error)
        return Job(case, folder, name, label, probabilities, others)


@dataclass(frozen=True)
class Job:
    """The work on one case.

    Attributes:
        case: The case.
        folder: The folder of its files.
        name: Its name, after the folder in which it was found where there are several.
        label: The label map.
        probabilities: The file of probabilities; None if it is not asked for.
        others: The files of each further output.
        refusal: Why the case cannot be written in a form that was asked for.
    """

    case: Case
    folder: Path
    name: str
    label: Made
    probabilities: Made | None = None
    others: tuple[tuple[Made, ...], ...] = ()
    refusal: UserError | None = field(default=None, compare=False)

    def computed(self) -> Iterator[Made]:
        """The files that the networks are needed for, the label map first."""
        yield self.label
        if self.probabilities is not None:
            yield self.probabilities

    def derived(self) -> Iterator[Made]:
        """The files that are made of the label map."""
        for files in self.others:
            yield from files

    def files(self) -> Iterator[Made]:
        """All its files, the label map first."""
        yield from self.computed()
        yield from self.derived()


class _Description(Record):
    settings: str
    what: str


def _digest(settings: str, what: object) -> str:
    return digest_of_record(_Description(settings=settings, what=repr(what)))
