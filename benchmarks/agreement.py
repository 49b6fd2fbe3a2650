"""umseg's scores beside those of other packages, on the same twenty pairs of generated masks.

    python -m benchmarks run agreement -- --peer VENV [VENV ...]

The virtual environments hold surface-distance, monai, panoptica, medpy, seg-metrics and SimpleITK; only these packages
are taken from them. Every package computes its metrics as its documentation shows, with the spacing of the masks and a
tolerance of 1 mm where it takes one; its average distance stands beside that of umseg's two that averages in the same
way. ``umseg`` and ``package`` are means over the twenty cases, ``equal cases`` counts
those that agree to one part in a million (in float32, as MONAI computes, to one in ten thousand), ``largest
difference`` is that of a single case. docs/metrics.md says why packages differ.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Row, show
from benchmarks.evaluating.blobs import blobs

CASES = 20
TOLERANCE = 1.0
Masks = tuple[np.ndarray, np.ndarray, tuple[float, float, float]]


def umseg(masks: Masks) -> dict[str, float]:
    """umseg's scores."""
    from umseg.evaluation.metrics.measurements import Measurements
    from umseg.evaluation.metrics.registry import choose_metrics

    prediction, reference, spacing = masks
    measured = Measurements(prediction, reference, spacing, TOLERANCE, complete=True)
    metrics = choose_metrics(["dsc", "nsd", "hd", "hd95", "assd", "assd_pooled"])
    return {metric.key: metric.function(measured) for metric in metrics}


def surface_distance(masks: Masks) -> dict[str, float]:
    """The package surface-distance."""
    peer = import_module("surface_distance")
    prediction, reference, spacing = masks
    distances = peer.compute_surface_distances(reference, prediction, spacing)
    return {
        "dsc": peer.compute_dice_coefficient(reference, prediction),
        "nsd": peer.compute_surface_dice_at_tolerance(distances, TOLERANCE),
        "hd": peer.compute_robust_hausdorff(distances, 100),
        "hd95": peer.compute_robust_hausdorff(distances, 95),
        "assd": float(np.mean(peer.compute_average_surface_distance(distances))),
    }


def monai(masks: Masks, subvoxels: bool = False) -> dict[str, float]:
    """MONAI; its NSD by voxels, or by elements of marching cubes."""
    import torch

    peer = import_module("monai.metrics")
    prediction, reference = (torch.from_numpy(mask)[None, None] for mask in masks[:2])
    spacing = list(masks[2])
    # The functions leave out the first channel unless they are told that it is no background.
    whole: dict[str, Any] = {"include_background": True}
    surface = peer.compute_surface_dice(
        prediction, reference, [TOLERANCE], spacing=spacing, use_subvoxels=subvoxels, **whole
    )
    if subvoxels:
        return {"nsd": float(surface)}
    hausdorff = peer.compute_hausdorff_distance
    return {
        "dsc": float(peer.compute_dice(prediction, reference, **whole)),
        "nsd": float(surface),
        "hd": float(hausdorff(prediction, reference, spacing=spacing, **whole)),
        "hd95": float(hausdorff(prediction, reference, percentile=95, spacing=spacing, **whole)),
        "assd_pooled": float(
            peer.compute_average_surface_distance(prediction, reference, symmetric=True, spacing=spacing, **whole)
        ),
    }


def panoptica(masks: Masks) -> dict[str, float]:
    """panoptica, with the mask as one instance that is matched already."""
    peer, kinds = import_module("panoptica"), import_module("panoptica.metrics")
    names = {key: kinds.Metric[key.upper()] for key in ("dsc", "nsd", "hd", "hd95", "assd")}
    evaluator = peer.Panoptica_Evaluator(
        expected_input=peer.InputType.MATCHED_INSTANCE, instance_metrics=list(names.values()), global_metrics=[]
    )
    maps = (mask.astype(np.uint8) for mask in masks[:2])
    result = evaluator.evaluate(*maps, voxelspacing=masks[2], result_all=False, verbose=False)["ungrouped"]
    return {key: float(result.get_list_metric(metric, kinds.MetricMode.ALL)[0]) for key, metric in names.items()}


def medpy(masks: Masks) -> dict[str, float]:
    """MedPy."""
    peer = import_module("medpy.metric.binary")
    prediction, reference, spacing = masks
    functions = {"hd": peer.hd, "hd95": peer.hd95, "assd_pooled": peer.assd}
    scores = {key: float(function(prediction, reference, spacing)) for key, function in functions.items()}
    return {"dsc": float(peer.dc(prediction, reference)), **scores}


def simple_itk(masks: Masks) -> dict[str, float]:
    """The filters of SimpleITK; its average is that of the Hausdorff filter."""
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks[:2]]
    for image in images:
        image.SetSpacing(masks[2][::-1])
    overlap, distance = sitk.LabelOverlapMeasuresImageFilter(), sitk.HausdorffDistanceImageFilter()
    overlap.Execute(images[1], images[0])
    distance.Execute(images[1], images[0])
    return {
        "dsc": overlap.GetDiceCoefficient(),
        "hd": distance.GetHausdorffDistance(),
        "assd": distance.GetAverageHausdorffDistance(),
    }


def seg_metrics(masks: Masks) -> dict[str, float]:
    """The package seg-metrics, which takes the spacing in the order of the axes."""
    peer = import_module("seg_metrics.seg_metrics")
    prediction, reference, spacing = masks
    found = peer.write_metrics(
        labels=[1],
        gdth_img=reference.astype(np.uint8),
        pred_img=prediction.astype(np.uint8),
        spacing=spacing,
        metrics=["dice", "hd", "hd95", "msd"],
    )[0]
    names = {"dsc": "dice", "hd": "hd", "hd95": "hd95", "assd_pooled": "msd"}
    return {key: float(found[name][0]) for key, name in names.items()}


PACKAGES: Mapping[str, Callable[[Masks], dict[str, float]]] = {
    "surface-distance": surface_distance,
    "MONAI": monai,
    "MONAI, use_subvoxels": lambda masks: monai(masks, subvoxels=True),
    "panoptica": panoptica,
    "MedPy": medpy,
    "SimpleITK": simple_itk,
    "seg-metrics": seg_metrics,
}


def compare() -> list[Row]:
    """A row for each package and metric."""
    cases = [blobs(seed) for seed in range(CASES)]
    own = [umseg(case) for case in cases]
    rows: list[Row] = []
    for package, function in PACKAGES.items():
        theirs = [function(case) for case in cases]
        for key in theirs[0]:
            mine, other = (np.array([scores[key] for scores in side]) for side in (own, theirs))
            precision = 1e-4 if package.startswith("MONAI") else 1e-6
            rows.append(
                {
                    "package": package,
                    "metric": key,
                    "umseg": f"{mine.mean():.4f}",
                    "package's": f"{other.mean():.4f}",
                    "equal cases": int(np.isclose(mine, other, rtol=precision, atol=0).sum()),
                    "largest difference": f"{np.abs(mine - other).max():.1e}",
                }
            )
    return rows


def main() -> list[Row]:
    """Parse the arguments, compare and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, nargs="+", required=True)
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    for peer in parser.parse_args().peer:
        # At the end, so that numpy and scipy are those of this environment.
        sys.path.append(subprocess.check_output([peer / "bin" / "python", "-c", find], text=True).strip())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compare()


if __name__ == "__main__":
    show(main())
