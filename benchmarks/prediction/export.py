"""Label maps from logits: the time of the export alone, and beside interpolating every logit.

    python -m benchmarks.prediction.export [--classes 14 118] [--threads 2] [--slab 8]

The first rows are a CT of 512x512x600 voxels of 0.8x0.8x1.25 mm, whose logits are on a grid of 1.5 mm: 17.6 GB with 118
classes, which are made and handed on in slabs of a few planes. Logits fall by one per voxel from the surfaces of
ellipsoids, one for every class. Only the export is timed.

The other rows are a smaller image of 14 classes, beside a brute force that interpolates every class in double precision
and takes the largest; both give the same labels, which is checked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Row, seconds, show
from umseg.inference.export.label_map import LabelExport
from umseg.inference.windows.slab import Slab, Strip
from umseg.planning.intensity import IntensityStatistics
from umseg.planning.plan import Configuration, Plan
from umseg.preprocess.case import CaseProperties
from umseg.preprocess.resampling.resample import resample

Shape = tuple[int, int, int]

SPACING, IMAGE_SPACING = (1.5, 1.5, 1.5), (1.25, 0.8, 0.8)
LARGE: tuple[Shape, Shape] = ((500, 273, 273), (600, 512, 512))
SMALL: tuple[Shape, Shape] = ((67, 137, 137), (80, 256, 256))
SMALL_CLASSES = 14
WEIGHT = 3.0


@dataclass(frozen=True)
class Organs:
    """Logits of ellipsoids on a grid, made a few planes at a time.

    Attributes:
        squares: For each axis the squared distances from the centres in radii, (voxels, ellipsoids).
        slope: Voxels per radius of each ellipsoid.
    """

    squares: tuple[Tensor, Tensor, Tensor]
    slope: Tensor

    @classmethod
    def make(cls, classes: int, shape: Shape) -> Organs:
        """As many ellipsoids as there are classes beside the background."""
        draw = np.random.default_rng(classes)
        squares, radii = [], []
        for size in shape:
            centre, radius = (draw.uniform(*limits, size=classes - 1) * size for limits in ((0.1, 0.9), (0.04, 0.12)))
            squares.append(torch.from_numpy(((np.arange(size)[:, None] - centre) / radius) ** 2).float())
            radii.append(radius)
        z, y, x = squares
        return cls((z, y, x), torch.from_numpy(np.mean(radii, axis=0)).float())

    def slab(self, start: int, stop: int) -> Slab:
        """Planes of the grid."""
        z, y, x = self.squares
        sums = torch.empty(min(stop, len(z)) - start, len(y), len(x), len(self.slope) + 1)
        sums[..., 0] = 0
        for plane, values in enumerate(sums):
            distance = (y[:, None] + x[None] + z[start + plane]).sqrt_()
            values[..., 1:] = distance.neg_().add_(1).mul_(self.slope * WEIGHT)
        return Slab(sums.permute(3, 0, 1, 2), torch.full(sums.shape[:3], WEIGHT), start, Strip(0, len(y)))


def export_of(shapes: tuple[Shape, Shape]) -> LabelExport:
    """The export from the first shape to the second."""
    configuration = Configuration(
        spacing=SPACING,
        median_image_size_in_voxels=(128.0,) * 3,
        patch_size=(96,) * 3,
        batch_size=2,
        normalization_schemes=("CTNormalization",),
        use_mask_for_norm=(False,),
        batch_dice=False,
        features_per_stage=(32, 64),
        kernel_sizes=((3,) * 3,) * 2,
        strides=((1,) * 3, (2,) * 3),
        num_pool_per_axis=(1,) * 3,
        n_conv_per_stage=(2, 2),
        n_conv_per_stage_decoder=(2,),
    )
    statistics = IntensityStatistics(mean=0, median=0, std=1, min=-1, max=1, percentile_00_5=-1, percentile_99_5=1)
    plan = Plan(
        dataset_name="Dataset001_CT",
        preset="default",
        original_median_spacing_after_transp=IMAGE_SPACING,
        original_median_shape_after_transp=shapes[1],
        transpose_forward=(0, 1, 2),
        transpose_backward=(0, 1, 2),
        foreground_intensity_properties_per_channel={"0": statistics},
        configurations={"3d_fullres": configuration},
    )
    depth, height, width = shapes[1]
    properties = CaseProperties(
        spacing=IMAGE_SPACING,
        shape_before_cropping=shapes[1],
        bbox=((0, depth), (0, height), (0, width)),
        shape_after_cropping=shapes[1],
        shape_after_resampling=shapes[0],
    )
    return LabelExport(properties, plan, configuration)


def measure_large(classes: int, planes: int) -> Row:
    """The time that the export of the large image takes."""
    export_of(SMALL).add(Organs.make(classes, SMALL[0]).slab(0, 2))  # kernels are compiled
    organs, export = Organs.make(classes, LARGE[0]), export_of(LARGE)
    wall = cpu = 0.0
    for start in range(0, LARGE[0][0], planes):
        slab = organs.slab(start, start + planes)
        before = time.process_time()
        wall += seconds(lambda slab=slab: export.add(slab))  # type: ignore[misc]
        cpu += time.process_time() - before
    wall += seconds(export.label_map)
    sums = 4 * classes * np.prod(LARGE[0], dtype=float)
    return _row("512x512x600", classes, "umseg", wall, cpu, sums / wall / 1e9)


def measure_small() -> list[Row]:
    """The times of the export and of a brute force."""
    slab = Organs.make(SMALL_CLASSES, SMALL[0]).slab(0, SMALL[0][0])
    logits = (slab.sums / slab.weights).contiguous().numpy()

    def by_export() -> np.ndarray:
        export = export_of(SMALL)
        export.add(slab)
        return export.label_map()

    def by_force() -> np.ndarray:
        interpolated = np.stack([resample(one[None], SMALL[1], SPACING, IMAGE_SPACING, 1)[0] for one in logits])
        labels: np.ndarray = interpolated.argmax(axis=0)
        return labels

    if not np.array_equal(by_export(), by_force()):
        raise SystemExit("the export and the brute force give different labels")
    rows: list[Row] = []
    functions: tuple[tuple[str, Callable[[], np.ndarray]], ...] = (("umseg", by_export), ("brute force", by_force))
    for side, function in functions:
        before = time.process_time()
        wall = seconds(function)
        rows.append(
            _row("256x256x80", SMALL_CLASSES, side, wall, time.process_time() - before, logits.nbytes / wall / 1e9)
        )
    return rows


def _row(image: str, classes: int, side: str, wall: float, cpu: float, rate: float) -> Row:
    figures: dict[str, str | float | None] = {
        "classes": classes,
        "side": side,
        "seconds": wall,
        "CPU seconds": cpu,
        "GB/s of logits": rate,
    }
    return {"image": image, **figures}


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=(14, 118))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slab", type=int, default=8, help="planes of a slab")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return [*measure_small(), *(measure_large(classes, options.slab) for classes in options.classes)]


if __name__ == "__main__":
    show(main())
