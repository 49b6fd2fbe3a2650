"""``Predictor``: a model, loaded once, that segments arrays, images and files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, cast, overload

import numpy as np
from numpy.typing import NDArray

from umseg.dataset.dataset import Case
from umseg.dataset.io.given import GivenImage, Spacing, given_image
from umseg.inference.loading import load_segmenter
from umseg.inference.options import LoadOptions
from umseg.inference.outputs.case_output import CaseOutput
from umseg.inference.outputs.probability_choice import ProbabilityChoice
from umseg.inference.pipeline.files import FileRequest, FileResult, segment_cases, segment_files
from umseg.inference.pipeline.hand import Hand
from umseg.inference.pipeline.products import LabelChoice, Products
from umseg.inference.pipeline.stages import Stages, Stop, result_of, run_stages
from umseg.inference.segmenter import Place, Segmenter
from umseg.models.card import ModelCard

OnError = Literal["raise", "return"]
"""What becomes of an image that cannot be segmented: its error is raised, or stands in place of its label map."""


class Predictor:
    """Segments images with a trained model.

    Several threads may use one predictor: they prepare their images side by side, and take turns at the network. No
    process is started.

    Args:
        model: ``.../models/<model>__<configuration>``, the file of a bundle, ``hf://organisation/name``, an ONNX file
            or a folder of them, or a ``best.json``; several of them, which predict together: their probabilities are
            averaged; or a model that is loaded already, to which no other argument applies.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        folds: Folds whose logits are averaged, e.g. ``("0", "1")`` or ``("all",)``; None: all trained folds.
        weights: ``final`` or ``best`` (highest moving average of the validation Dice).
        mirror: Whether predictions are averaged over all flips of the mirrored axes, which takes 2 to the number of
            axes times as long. The paper does not do it.
        step: Distance of neighbouring patches as a fraction of the patch, from 0.05 to 1.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        postprocessing: Whether label maps are cleaned as validation chose it: those of objects by each model's folds,
            those of classes as ``best.json`` says.
        most_bytes: Bytes that the sums of logits may take at once; an image that needs more is worked on in strips.
            None: nine tenths of what is available beside all else, on a CPU at most 3 GB.
        skip_empty: Whether windows outside of the body are left out.
        confidence: Whether statistics say how far the folds agree, or with ``mirror`` the flips of a single fold.
        runtime: What computes the networks: ``torch``, ``onnx`` (onnxruntime, on the CPU and in float32), or ``auto``:
            torch for a model folder, onnxruntime for ONNX files.

    Raises:
        UserError: The model is incomplete, or the device is missing.
    """

    def __init__(
        self,
        model: str | PathLike[str] | Sequence[str | PathLike[str]] | Segmenter,
        device: str = "auto",
        *,
        folds: Sequence[str] | None = None,
        weights: str = "final",
        mirror: bool = False,
        step: float = 0.5,
        precision: str = "auto",
        postprocessing: bool = True,
        most_bytes: int | None = None,
        skip_empty: bool = False,
        confidence: bool = False,
        runtime: str = "auto",
    ) -> None:
        options = LoadOptions(
            folds, weights, mirror, step, precision, postprocessing, most_bytes, skip_empty, confidence, runtime
        )
        self.model: Segmenter = (
            load_segmenter(model, device, options) if isinstance(model, (str, PathLike, Sequence)) else model
        )
        self._network = threading.RLock()

    @property
    def place(self) -> Place:
        """Where the networks run, and in which number format."""
        return self.model.place

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.model.card

    @overload
    def predict(
        self, image: NDArray[Any], spacing: Spacing, *, probabilities: Literal[False] = False
    ) -> NDArray[Any]: ...

    @overload
    def predict(
        self, image: NDArray[Any], spacing: Spacing, *, probabilities: Literal[True]
    ) -> tuple[NDArray[Any], NDArray[np.float32]]: ...

    @overload
    def predict(self, image: Any, spacing: None = None, *, probabilities: bool = False) -> Any: ...

    def predict(self, image: Any, spacing: Spacing | None = None, *, probabilities: bool = False) -> Any:
        """Segment one image.

        The orientation of an array is not known: its axes must point where those of the training images do
        (``card.orientation``, in the order x, y, z). Images of SimpleITK and nibabel state theirs, and are turned as
        files are.

        Args:
            image: An array (channels, z, y, x), where a 2-D image is (channels, 1, y, x); or an image of SimpleITK or
                nibabel; or a list of such images, one for each channel.
            spacing: mm per voxel along z, y, x; for arrays alone.
            probabilities: Whether the probabilities of all classes are returned too.

        Returns:
            The label map: values of classes; with regions the values of ``regions_class_order``; in an instance task
            numbers of objects. It is an array (z, y, x) on the voxels of the image, or an image of the kind that was
            given, on the same grid. With ``probabilities``, the pair of the label map and an array (classes, z, y, x)
            float32 on the same voxels; with regions, that of every region.

        Raises:
            UserError: The image does not have as many channels as the model, a value is not finite, the spacing is not
                positive, or there is not enough memory.
        """
        given = given_image(image, spacing)
        prepared = self._prepare(given)
        if probabilities:
            with self._network:
                label_map, found = self.model.probabilities(prepared)
            return given.like(label_map), found
        with self._network:
            label_map = self.model.segment(prepared).label_map
        return given.like(self.model.finish(label_map, self.model.turn_of(prepared)))

    def predict_batch(
        self, images: Sequence[Any], spacings: Sequence[Spacing | None] | Spacing | None = None
    ) -> list[Any]:
        """Segment several images: the next is prepared while the network works, and small 2-D ones share batches.

        Args:
            images: Images as ``predict`` takes them.
            spacings: The spacing of each array, or one for all; None for images that state theirs.

        Returns:
            The label map of each, as ``predict`` returns it.

        Raises:
            UserError: An image cannot be segmented; see ``predict``.
            ValueError: The numbers of images and spacings differ.
        """
        pairs = list(zip(images, _each_spacing(spacings, len(images)), strict=True))
        label_maps: list[Any] = [None] * len(pairs)
        errors: list[Exception] = []
        stop = Stop()

        def fail(_: int, error: Exception) -> None:
            errors.append(error)
            stop.set()

        def write(group: Sequence[tuple[int, tuple[GivenImage, NDArray[Any], Any]]]) -> None:
            for number, (given, label_map, turn) in group:
                label_maps[number] = given.like(self.model.finish(label_map, turn))

        def read(number: int) -> tuple[GivenImage, Any]:
            given = given_image(*pairs[number])
            return given, self._prepare(given)

        stages = Stages(read, lambda pair: self.model.is_small(pair[1]), lambda _: True, self._compute, write, fail)
        run_stages(iter(range(len(pairs))), stages, stop)
        if errors:
            raise errors[0]
        return label_maps

    def predict_iter(
        self, images: Iterable[Any], spacing: Spacing | None = None, *, on_error: OnError = "raise"
    ) -> Iterator[Any]:
        """Segment images as they come, such as those of a server: each label map is there before the next image is.

        The next image is prepared, in a thread, while the network works on this one. ``images`` is advanced in that
        thread, too, and may wait there.

        Args:
            images: Images as ``predict`` takes them, or pairs of an array and its spacing.
            spacing: The spacing of arrays that come alone.
            on_error: Whether the error of an image that cannot be segmented is raised, which ends the iteration, or
                returned in place of its label map.

        Yields:
            The label map of each image, in order, as ``predict`` returns it.

        Raises:
            UserError: An image cannot be segmented; see ``predict``.
        """
        source, hand = iter(images), Hand("preparing")
        try:
            following = hand.submit(lambda: self._next(source, spacing))
            while (given := result_of(following)) is not None:
                following = hand.submit(lambda: self._next(source, spacing))
                result = self._outcome(given)
                if on_error == "raise" and isinstance(result, Exception):
                    raise result
                yield result
        finally:
            # It may wait for an image that never comes.
            hand.close(wait=False)

    def predict_files(
        self,
        inputs: str | PathLike[str] | Sequence[str | PathLike[str]],
        output: str | PathLike[str],
        *,
        quiet: bool = False,
        resume: bool = True,
        overwrite: bool = False,
        recursive: bool = False,
        part: tuple[int, int] | None = None,
        outputs: Sequence[CaseOutput] = (),
    ) -> list[Path]:
        """Segment image files, or every image of folders.

        A case that cannot be segmented does not stop the others. The output folder gets the label maps ``CASE.ext``, a
        ``dataset.json`` that names their labels, and ``predictions.jsonl``, which records what was written. Cases that
        fail are listed in ``failures.json``. Several processes may write into one folder: each takes the next case that
        no other has.

        Args:
            inputs: Files, folders of ``CASE_0000.ext`` (one file per channel), or patterns; one or several.
            output: Folder for predictions alone.
            quiet: Whether to show no progress bars.
            resume: Whether files are kept that this model made with these options of the same images.
            overwrite: Whether files are replaced that umseg did not write, or that were changed since.
            recursive: Whether folders within the input folders are searched; their label maps stand in folders of the
                same names.
            part: Which share of the cases is segmented, of how many: ``(0, 4)`` is every fourth case from the first.
            outputs: What is written of each case besides its label map.

        Returns:
            The files of the label maps of all cases, those that were kept among them.

        Raises:
            FailedCasesError: Some cases could not be segmented; its ``problems`` say why, its ``written`` are the files
                of the others.
            UserError: There is no input, or the output folder is not one for predictions or cannot be written.
        """
        named = [inputs] if isinstance(inputs, (str, PathLike)) else inputs
        request = FileRequest(
            inputs=tuple(map(Path, named)),
            output=Path(output),
            quiet=quiet,
            resume=resume,
            overwrite=overwrite,
            recursive=recursive,
            part=part,
            products=self.products(outputs),
        )
        return self.segment_files(request).label_maps

    def segment_files(self, request: FileRequest) -> FileResult:
        """The same as ``predict_files``, with more to ask for and more to know afterwards."""
        return segment_files(self.model, self._network, request)

    def products(
        self,
        outputs: Sequence[CaseOutput] = (),
        choice: LabelChoice | None = None,
        ending: Callable[[Case, str], str] | None = None,
        probabilities: ProbabilityChoice | None = None,
    ) -> Products:
        """What is written of each case, for a ``FileRequest``.

        Args:
            outputs: What is written besides the label map.
            choice: Change of the label maps before they are written.
            ending: The ending of the label map of a case; None: as its image suggests.
            probabilities: Which files of probabilities are written; None: none.
        """
        return Products(self.card.dataset.file_ending, tuple(outputs), choice, ending, probabilities)

    def predict_cases(self, cases: Sequence[Case], output: Path, *, quiet: bool = False) -> list[Path]:
        """Segment the given cases into a folder that umseg keeps for itself, such as that of a fold's validation.

        Earlier label maps are replaced, and nothing is recorded.

        Raises:
            UserError: A case cannot be segmented. Label maps that were written before are kept.
        """
        return segment_cases(self.model, self._network, cases, output, quiet)

    def target(self, case: Case, output: Path) -> Path:
        """The file of a case's label map in an output folder."""
        return self.products().label_map(case, output)

    def _prepare(self, given: GivenImage) -> Any:
        return self.model.prepare(given.array, given.spacing, given.axes)

    def _compute(
        self, group: Sequence[tuple[int, tuple[GivenImage, Any]]]
    ) -> list[tuple[GivenImage, NDArray[Any], Any]]:
        several = [prepared for _, (_, prepared) in group]
        with self._network:
            found = [self.model.segment(several[0])] if len(several) == 1 else self.model.segment_small(several)
        return [
            (given, segmentation.label_map, self.model.turn_of(prepared))
            for (_, (given, prepared)), segmentation in zip(group, found, strict=True)
        ]

    def _next(self, source: Iterator[Any], spacing: Spacing | None) -> tuple[GivenImage, Any] | Exception | None:
        """The next image, prepared; the error if that fails, and None behind the last."""
        try:
            image = next(source)
        except StopIteration:
            return None
        try:
            if isinstance(image, tuple) and len(image) == 2 and isinstance(image[0], np.ndarray):
                given = given_image(*image)
            else:
                given = given_image(image, spacing if isinstance(image, np.ndarray) else None)
            return given, self._prepare(given)
        except Exception as error:  # it concerns this image, and stands in its place
            return error

    def _outcome(self, prepared: tuple[GivenImage, Any] | Exception) -> Any:
        """The label map of an image, or the error that stands in its place."""
        if isinstance(prepared, Exception):
            return prepared
        try:
            ((given, label_map, turn),) = self._compute([(0, prepared)])
            return given.like(self.model.finish(label_map, turn))
        except Exception as error:  # as above
            return error


def _each_spacing(spacings: Sequence[Spacing | None] | Spacing | None, count: int) -> Sequence[Spacing | None]:
    """The spacing of each of several images."""
    if spacings is None:
        return [None] * count
    if len(spacings) == 3 and all(isinstance(size, (int, float)) for size in spacings):
        return [cast("Spacing", spacings)] * count
    return cast("Sequence[Spacing | None]", spacings)
