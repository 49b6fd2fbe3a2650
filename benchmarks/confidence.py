"""How well the confidence of `umseg predict --statistics` tells good cases from bad ones.

    python -m benchmarks.confidence MODEL... --images FOLDER --references FOLDER --scratch FOLDER [--title TEXT]
                                    [--degrade]

MODELs are model folders that predict together, or a best.json. IMAGES are cases that none of their folds was trained
with. The area under the risk-coverage curve (AURC) is the mean error of the cases that are accepted, over all
coverages; a random order gives the mean error of all cases, and the order of the errors themselves the least. "excess
left" is 0 for that order and 1 for a random one. ``--degrade`` also measures a series of which half of the images are
degraded by noise, blur, a bias field or movement.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common import Row, show
from benchmarks.prediction.confidence import held_out
from benchmarks.prediction.degrade import degrade_folder


def main() -> list[Row]:
    """Parse the arguments, run the benchmark and return its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--references", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--title", default="held-out cases")
    parser.add_argument("--folds", help="as in umseg predict")
    parser.add_argument("--degrade", action="store_true")
    arguments = parser.parse_args()
    options = [] if arguments.folds is None else ["--folds", arguments.folds]
    models, references, scratch = arguments.models, arguments.references, arguments.scratch
    rows = [held_out(arguments.title, models, arguments.images, references, scratch / "as_they_are", options)]
    if arguments.degrade:
        degrade_folder(arguments.images, scratch / "degraded_images")
        title = f"{arguments.title}, half degraded"
        rows.append(held_out(title, models, scratch / "degraded_images", references, scratch / "degraded", options))
    show(rows)
    return rows


if __name__ == "__main__":
    main()
