"""The statistics of segmented cases: ``statistics/CASE.json`` and ``statistics.json`` (docs/outputs.md)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from umseg.common.record import Record, SparseRecord
from umseg.dataset.io.grid import Unit
from umseg.dataset.io.orientation import AxisCodes

Count = Annotated[int, Field(ge=0)]


class Box(SparseRecord):
    """First index of a structure along each axis of the file, and one behind its last; no z in 2-D files."""

    sparse = ("z",)

    x: tuple[int, int]
    y: tuple[int, int]
    z: tuple[int, int] | None = None


class Size(SparseRecord):
    """Number of voxels along each axis of the file; no z in 2-D files."""

    sparse = ("z",)

    x: Count
    y: Count
    z: Count | None = None


class PerAxis(SparseRecord):
    """A number for each axis of the file; no z in 2-D files."""

    sparse = ("z",)

    x: float
    y: float
    z: float | None = None


class ChannelStatistics(Record):
    """The intensities of a structure in one channel, as the image file states them.

    Attributes:
        channel: Name of the channel.
        mean: Mean over the voxels.
        sd: Standard deviation of these voxels: the sum of squares is divided by their number.
        min: Smallest intensity.
        max: Largest intensity.
    """

    channel: str
    mean: float
    sd: float
    min: float
    max: float


class StructureStatistics(SparseRecord):
    """A class or an object.

    Attributes:
        name: Name of the class.
        value: Its value in the label map; the values of a region; the number of an object.
        voxels: Number of voxels; where it is 0, all that follows but numbers and volumes is null or empty.
        volume_ml: Volume in millilitres; null in images of a single slice and where the size of a voxel is not known.
        area_mm2: Area in square millimetres in an image of a single slice; null elsewhere.
        box: The smallest box of voxels around it.
        extent_mm: Lengths of the edges of that box; null where the size of a voxel is not known.
        centroid: Mean index; 0 is the centre of the first voxel.
        centroid_ras_mm: The same place in the coordinates of NIfTI, which grow to the right, to the front and to the
            top; null where the file does not say where the image lies. DICOM and ITK turn the signs of the first two.
        touches_border: Whether it has a voxel at the border of the image, and so may be cut off.
        intensities: Intensities in every channel.
    """

    name: str
    value: int | tuple[int, ...]
    voxels: Count
    volume_ml: float | None
    area_mm2: float | None
    box: Box | None
    extent_mm: PerAxis | None
    centroid: PerAxis | None
    centroid_ras_mm: tuple[float, float, float] | None
    touches_border: bool
    intensities: tuple[ChannelStatistics, ...]


class ClassStatistics(StructureStatistics):
    """A class, or a region of several label values.

    Attributes:
        components: Number of connected pieces.
        largest_component_voxels: Voxels of the largest of them.
        confidence: Agreement of several predictions of the class, from 0 to 1; left out where there is one prediction.
    """

    sparse = ("confidence",)

    components: Count
    largest_component_voxels: Count
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None


class ObjectStatistics(StructureStatistics):
    """An object of an instance task.

    Attributes:
        diameter_px: Diameter of the ball, or in an image of a single slice of the circle, of as many voxels.
        diameter_mm: Diameter of the ball or circle of the same volume or area; null where that is not known.
    """

    diameter_px: float
    diameter_mm: float | None


class CaseStatistics(SparseRecord):
    """``statistics/CASE.json``: one case.

    Attributes:
        case: Name of the case.
        size: Voxels along each axis of the file.
        spacing: Size of a voxel along each axis, in ``unit``; null where the file does not state it.
        unit: ``mm``; ``px`` where the file states only how long the axes are relative to each other; null where it
            states nothing.
        axes: Sides of the patient to which the axes x, y, z of the file point; null where that is not known.
        connectivity: Neighbours of a voxel that belong to the same piece: 26, or 8 in images of a single slice.
        classes: All classes, those without a voxel among them; none in an instance task.
        objects: All objects of an instance task.
        confidence: Mean confidence of the classes that a prediction has; left out where there is one prediction.
    """

    sparse = ("confidence",)
    most_bytes: ClassVar[int] = 2**28

    schema_version: Literal[1] = 1
    case: str
    size: Size
    spacing: PerAxis | None
    unit: Unit | None
    axes: AxisCodes | None
    connectivity: Literal[8, 26]
    classes: tuple[ClassStatistics, ...] = ()
    objects: tuple[ObjectStatistics, ...] = ()
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None


class Statistics(Record):
    """``statistics.json``: all cases of a folder of predictions, in the order of their names."""

    most_bytes: ClassVar[int] = 2**32

    schema_version: Literal[1] = 1
    cases: tuple[CaseStatistics, ...]
