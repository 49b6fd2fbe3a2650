"""The options of ``umseg predict``, in the groups of its help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from umseg.common.errors import UserError
from umseg.common.text import printable

WHAT, HOW, OUTPUT, RUN = "What to segment", "How to segment", "Output", "Memory and speed"

Models = Annotated[
    list[Path],
    typer.Option(
        "--model",
        help="Model folder: .../models/<model>__<configuration>; bundle: FILE.umseg; hf://organisation/name; what "
        "`umseg export --onnx` wrote: FILE.onnx or a folder; or best.json of `umseg best`. Several are averaged.",
        rich_help_panel=WHAT,
    ),
]
Inputs = Annotated[
    list[Path],
    typer.Option(
        "--input",
        help="Image, folder of CASE_0000.ext files or of DICOM folders, or pattern in quotes; repeat for several.",
        rich_help_panel=WHAT,
    ),
]
MoreInputs = Annotated[list[Path] | None, typer.Argument(help="Further inputs.", show_default=False)]
Recursive = Annotated[
    bool,
    typer.Option(
        "--recursive",
        help="Search folders within the input folders, too; their label maps stand in folders of the same names.",
        rich_help_panel=WHAT,
    ),
]
Folds = Annotated[
    str | None,
    typer.Option(
        help="Folds whose predictions are averaged, e.g. 0,1,2; 'all' is the one model of `umseg train --fold "
        "all`. [default: every trained fold]",
        rich_help_panel=HOW,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="Weights of the last epoch (final), or of the epoch with the best validation Dice (best).",
        rich_help_panel=HOW,
    ),
]
Mirror = Annotated[
    bool,
    typer.Option(
        "--mirror",
        help="Average over mirrored images, if the model was trained with them; slower.",
        rich_help_panel=HOW,
    ),
]
Step = Annotated[
    float,
    typer.Option(
        help="Distance of neighbouring windows as a fraction of the patch, from 0.05 to 1.", rich_help_panel=HOW
    ),
]
Postprocessing = Annotated[
    bool,
    typer.Option(
        "--postprocessing/--no-postprocessing",
        help="Clean label maps as validation chose it: those of objects, and those that best.json names rules for.",
        rich_help_panel=HOW,
    ),
]
Output = Annotated[Path, typer.Option("--output", help="Folder for the label maps.", rich_help_panel=OUTPUT)]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Formats of the output, e.g. nrrd or nii.gz,dicom-seg: a label map's ending (nii.gz, nrrd, mha, ...), "
        "dicom-seg, rtstruct. [default: as the images]",
        rich_help_panel=OUTPUT,
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        help="Keep only these classes, by name or value, e.g. liver,spleen. [default: all]",
        rich_help_panel=OUTPUT,
    ),
]
Statistics = Annotated[
    bool,
    typer.Option(
        "--statistics",
        help="Measure every class or object: volume, intensity, place, pieces; as JSON and CSV.",
        rich_help_panel=OUTPUT,
    ),
]
Preview = Annotated[bool, typer.Option("--preview", help="Draw a picture of every case (PNG).", rich_help_panel=OUTPUT)]
Probabilities = Annotated[
    str | None,
    typer.Option(
        "--probabilities",
        metavar="KIND",
        help="Write the probabilities of all classes: npz (float16), nii or nii.gz (4-D).",
        rich_help_panel=OUTPUT,
    ),
]
ProbabilityGrid = Annotated[
    str | None,
    typer.Option(
        "--probability-grid",
        help="Grid of the probabilities: image, or model, which is smaller. [default: image]",
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object about the run on standard output, and everything else on standard error.",
        rich_help_panel=OUTPUT,
    ),
]
SkipEmpty = Annotated[
    bool,
    typer.Option(
        "--skip-empty",
        help="Leave out windows outside of the body, whose voxels become background; quicker.",
        rich_help_panel=HOW,
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory",
        min=0.001,
        max=1e6,
        help="GB that the sums of a case may take at once; larger cases are segmented in strips, which takes longer. "
        "[default: most of what is free, on a CPU at most 3]",
        rich_help_panel=RUN,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        help="Keep label maps that the same model and options made of the same images, or make all of them anew.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace files of the output folder that umseg did not write.", rich_help_panel=OUTPUT
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        help="Segment a share of the cases, e.g. 0/4, 1/4, 2/4 and 3/4 on four machines. Without it, processes that "
        "write to one folder share its cases by themselves. [default: all]",
        rich_help_panel=RUN,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", help="Number format of the convolutions: auto, fp32, bf16 or fp16.", rich_help_panel=RUN
    ),
]

Runtime = Annotated[
    str,
    typer.Option(
        help="What computes the network: torch, onnx (onnxruntime, on the CPU), or auto: torch for a model folder.",
        rich_help_panel=RUN,
    ),
]

_PART = re.compile(r"(\d{1,9})/(\d{1,9})")


def parse_part(text: str | None) -> tuple[int, int] | None:
    """The share of the cases that ``--part`` names.

    Raises:
        UserError: It is none.
    """
    if text is None:
        return None
    match = _PART.fullmatch(text.strip())
    if match is None or not int(match[1]) < int(match[2]):
        raise UserError(
            "--part is not valid.",
            found=printable(text),
            expected="two whole numbers, the first of which is smaller, such as 0/4, 1/4, 2/4 and 3/4 for four parts",
            remedy="Correct --part.",
        )
    return int(match[1]), int(match[2])
