"""KonfAI's engine as a peer: the weights of a model folder of umseg, run over images by `konfai.predict_model`.

KonfAI takes any torch module. The network is handed over as a TorchScript file of torch's own operators, as users of
KonfAI have it, because its environment has no umseg. Normalisation, resampling, windows, sums and export are KonfAI's.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import nn

from benchmarks.processes import cpu_of_children, proportional_size, tree
from umseg.inference.model import LoadedModel
from umseg.inference.options import LoadOptions
from umseg.models.norm import InstanceNormAct
from umseg.models.unet import UNet

SCRIPT = """
import json, sys
from pathlib import Path
import konfai, torch
from konfai.data import transform
if __name__ == "__main__":
    settings = json.loads(Path(sys.argv[1]).read_text())
    chain = [getattr(transform, name)(**arguments) for name, arguments in settings["transforms"]]
    konfai.predict_model(
        torch.jit.load(settings["network"]), settings["data"], inputs="IMAGE", output=settings["output"],
        patch=settings["patch"], overlap=settings["overlap"], batch_size=settings["batch"],
        transforms={"IMAGE": chain}, final_transforms=[transform.Argmax(), transform.TensorCast(dtype="uint16")],
        overwrite=True, predictions_dir=Path(settings["runs"]),
    )
"""
_SECONDS_BETWEEN_SAMPLES = 0.1


@dataclass(frozen=True)
class Run:
    """A run of KonfAI.

    Attributes:
        seconds: Wall time.
        cpu: CPU seconds.
        gigabytes: Peak memory of its processes; pages that they share are counted once.
        error: Why it did not end; empty where it did.
        output: Folder with one folder per case.
    """

    seconds: float
    cpu: float
    gigabytes: float
    error: str
    output: Path


def prepare(model: Path, images: Path, scratch: Path, step: float) -> Path:
    """Write the network, links to the images and the settings of a run, and return the settings' file.

    Args:
        model: Model folder of umseg with one channel and three axes.
        images: Folder of ``CASE_0000.nii.gz``.
        scratch: Folder for everything.
        step: Distance of windows as a part of the patch.
    """
    loaded = LoadedModel(model, "cpu", LoadOptions(folds=["0"], precision="fp32"))
    scratch.mkdir(parents=True, exist_ok=True)
    patch = loaded.configuration.patch_size
    traced(loaded.networks[0], patch).save(str(scratch / "network.pt"))
    for path in images.glob("*_0000.nii.gz"):
        link = scratch / "data" / path.name.removesuffix("_0000.nii.gz") / "IMAGE.nii.gz"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(path.absolute())
    settings = {
        "network": str(scratch / "network.pt"),
        "data": f"{scratch / 'data'}:nii.gz",
        "output": f"{scratch / 'out'}:nii.gz",
        "runs": str(scratch / "runs"),
        "patch": patch,
        "overlap": f"{round(100 * (1 - step))}%" if step < 1 else 0,
        "batch": 2,
        "transforms": _transforms(loaded),
    }
    file = scratch / "settings.json"
    file.write_text(json.dumps(settings))
    return file


def traced(network: nn.Module, patch: Sequence[int]) -> Any:
    """The network as TorchScript without umseg's own operators; the network itself is changed."""
    for module in network.modules():
        if isinstance(module, UNet):
            module.joins = [False] * len(module.joins)
    _use_torchs_norm(network)
    with torch.no_grad():
        return torch.jit.trace(network.eval(), torch.zeros(1, 1, *patch), check_trace=False)


def run(venv: Path, settings: Path, most_seconds: float, most_gigabytes: float) -> Run:
    """Run KonfAI in its own environment; it is ended where it takes too long or too much memory."""
    scratch = settings.parent
    script = scratch / "run.py"
    script.write_text(SCRIPT)
    start, before, peak, error = time.perf_counter(), cpu_of_children(), 0.0, ""
    with (scratch / "log").open("w") as log:
        command = [str(venv / "bin" / "python"), str(script), str(settings)]
        process = subprocess.Popen(command, cwd=scratch, stdout=log, stderr=log)
        while process.poll() is None and not error:
            peak = max(peak, sum(proportional_size(member) for member in tree(process.pid)) / 1e3)
            if peak > most_gigabytes:
                error = f"ended at {most_gigabytes:g} GB"
            elif time.perf_counter() - start > most_seconds:
                error = f"ended after {most_seconds:g} s"
            time.sleep(_SECONDS_BETWEEN_SAMPLES)
        process.kill()
        code = process.wait()
    if not error and code:
        last = (scratch / "log").read_text().strip().splitlines()[-1:]
        error = f"exit status {code}: {' '.join(last)}"
    return Run(time.perf_counter() - start, cpu_of_children() - before, peak, error, scratch / "out")


def equal_voxels(run: Run, reference: Path) -> float:
    """The fraction of voxels that are equal to those of a folder of label maps."""
    equal = total = 0
    for path in sorted(run.output.glob("*/PRED.nii.gz")):
        other = reference / f"{path.parent.name}.nii.gz"
        one, two = (sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in (path, other))
        equal, total = equal + int(np.count_nonzero(one == two)), total + one.size
    return equal / total


def _transforms(model: LoadedModel) -> list[tuple[str, dict[str, Any]]]:
    """Normalisation and resampling by the plan, in KonfAI's words; the resampling alone is inverted at the end."""
    (scheme,) = model.configuration.normalization_schemes
    chain: list[tuple[str, dict[str, Any]]] = [("TensorCast", {"dtype": "float32", "inverse": False})]
    if scheme != "CTNormalization":
        return [*chain, ("Standardize", {"inverse": False})]
    statistics = model.card.plan.foreground_intensity_properties_per_channel["0"]
    limits = {"min_value": statistics.percentile_00_5, "max_value": statistics.percentile_99_5}
    moments = {"mean": [statistics.mean], "std": [statistics.std], "inverse": False}
    spacing = list(model.configuration.spacing[::-1])
    return [*chain, ("Clip", limits), ("Standardize", moments), ("Resample", {"spacing": spacing})]


def _use_torchs_norm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, InstanceNormAct):
            norm = nn.InstanceNorm3d(len(child.weight), eps=child.eps, affine=True)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, nn.Sequential(norm, nn.LeakyReLU(child.slope)))
        else:
            _use_torchs_norm(child)
