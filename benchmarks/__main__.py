"""Lists, runs and records the benchmarks.

    python -m benchmarks list
    python -m benchmarks run NAME [--json [FILE] [--add]] [-- OPTIONS]
    python -m benchmarks tables [--check]

``run`` passes OPTIONS to the benchmark (``-- --help`` shows them). With ``--json`` it records date, commit, machine,
versions and figures in FILE, by default ``benchmarks/results/NAME.json``; with ``--add`` the rows join those of earlier
runs in FILE, so that the parts of a long benchmark may be measured one after the other. ``tables`` writes the recorded
figures into the documentation, between ``<!-- benchmark: NAME -->`` and ``<!-- end -->``; with ``--check`` it only
lists the pages that are out of date.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from benchmarks import common

DOCS = common.FOLDER.parent / "docs"
_MARKED = re.compile(r"(<!-- benchmark: (\w+) -->\n)(.*?)(<!-- end -->)", flags=re.DOTALL)


@dataclass(frozen=True)
class Benchmark:
    """The description of one benchmark.

    Attributes:
        measures: Measured quantity, and the peer that umseg is compared with.
        needs: Data, peers and hardware that the benchmark needs; empty if it runs anywhere.
        folder: Package below `benchmarks` that has the module; empty if it lies in `benchmarks` itself.
    """

    measures: str
    needs: str = ""
    folder: str = ""


_PEER = "a virtual environment with nnunetv2"
_HIPPOCAMPUS = "Dataset004_Hippocampus in raw format"
BENCHMARKS = {
    "fingerprint": Benchmark("time and memory of measuring and planning, compared with nnU-Net", f"data sets, {_PEER}"),
    "preprocess": Benchmark("time and memory of preprocessing, compared with nnU-Net", _PEER),
    "loader": Benchmark("augmented batches per second, compared with nnU-Net", f"{_HIPPOCAMPUS}, {_PEER}"),
    "network": Benchmark("a step and an inference of the networks on a CPU, compared with nnU-Net's if it is given"),
    "training": Benchmark(
        "a training iteration with its data loading, compared with nnU-Net", f"{_HIPPOCAMPUS}, {_PEER}"
    ),
    "training_step": Benchmark("a training step on a CPU for typical data, by preset"),
    "training_cuda": Benchmark("a training iteration at the paper's abdominal plan", "an NVIDIA GPU"),
    "evaluate": Benchmark(
        "time and memory of scoring label maps, compared with surface-distance, panoptica, MONAI and scikit-image",
        "a virtual environment with these packages",
    ),
    "agreement": Benchmark(
        "scores of masks, compared with those of six other packages",
        "virtual environments with surface-distance, monai, panoptica, medpy, seg-metrics and SimpleITK",
    ),
    "parity": Benchmark("losses and batches, compared with nnU-Net's number by number", f"{_HIPPOCAMPUS}, {_PEER}"),
    "scan": Benchmark(
        "the selective scan on a CPU, compared with a convolution on as many voxels and with a plain loop"
    ),
    "scan_cuda": Benchmark(
        "the selective scan on a GPU, compared with the memory bandwidth and mamba-ssm", "an NVIDIA GPU"
    ),
    "predict": Benchmark(
        "all that prediction promises: labels, memory, time, faults, confidence; compared with nnU-Net and KonfAI",
        f"real data, {_PEER}, another one with konfai",
    ),
    "export": Benchmark(
        "label maps from logits on a CPU, compared with interpolating every logit", folder="prediction"
    ),
    "runtimes": Benchmark(
        "prediction by onnxruntime, compared with torch on the same weights",
        "a trained model and images in .nii.gz",
        folder="prediction",
    ),
    "confidence": Benchmark(
        "how well the confidence of a prediction tells good cases from bad ones",
        "a trained model and labelled images that it has not seen",
    ),
    "memory": Benchmark("memory of a training step, compared with the predicted memory"),
    "recipes": Benchmark("the score of --recipe quick in a tenth of the iterations", "a planned workspace, hours"),
    "ssm_training": Benchmark("scores with and without Mamba layers", "a planned workspace, hours"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name all benchmarks, what they measure and what they need")
    run_parser = commands.add_parser("run", help="run one benchmark")
    run_parser.add_argument("name", choices=BENCHMARKS, metavar="NAME")
    run_parser.add_argument("--json", nargs="?", const="", metavar="FILE", help="record the run")
    run_parser.add_argument("--add", action="store_true", help="add to what is recorded instead of replacing it")
    tables_parser = commands.add_parser("tables", help="write recorded figures into the documentation")
    tables_parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is out of date")
    runner_arguments, options = _split(sys.argv[1:] if arguments is None else list(arguments))
    given = parser.parse_args(runner_arguments)
    if given.command == "list":
        print(overview())
        return 0
    if given.command == "tables":
        return update_pages(check=given.check)
    result = run(given.name, options)
    if given.json is not None:
        path = Path(given.json) if given.json else common.RESULTS / f"{given.name}.json"
        if given.add and path.exists():
            result = common.joined(common.load_file(path), result)
        common.save(path, result)
        print(f"Recorded in {path}.")
    return 0


def overview() -> str:
    """A text that lists every benchmark, what it measures and what it needs."""
    width = max(map(len, BENCHMARKS))
    lines = []
    for name, benchmark in BENCHMARKS.items():
        lines.append(f"{name:{width}}  {benchmark.measures}")
        if benchmark.needs:
            lines.append(f"{'':{width}}  needs {benchmark.needs}")
    return "\n".join(lines)


def run(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Run a benchmark with its own options, print its table and return its record."""
    place = ["benchmarks", *filter(None, [BENCHMARKS[name].folder]), name]
    module = importlib.import_module(".".join(place))
    printed = io.StringIO()
    with _arguments("/".join(place) + ".py", options), contextlib.redirect_stdout(_Both(sys.stdout, printed)):
        rows: Sequence[common.Row] | None = module.main()
    common.show(rows or [])
    return common.record(name, options, rows, printed.getvalue())


def update_pages(check: bool) -> int:
    """Write recorded figures into all pages of the documentation.

    The result is the exit status, which is 1 if ``check`` finds pages that are out of date.
    """
    outdated = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        current = fill(text)
        if current != text:
            outdated.append(page.name)
            if not check:
                page.write_text(current, encoding="utf-8")
    if outdated:
        print(("Out of date: " if check else "Updated: ") + ", ".join(outdated))
    return 1 if outdated and check else 0


def fill(text: str) -> str:
    """The text of a page with the recorded figures in its marked places."""
    return _MARKED.sub(lambda match: f"{match[1]}{_figures(common.load(match[2]))}\n{match[4]}", text)


def _figures(result: dict[str, Any]) -> str:
    """The figures of a record, with the machine and versions that they were measured on."""
    rows = result["rows"]
    body = common.markdown(rows) if rows else "\n".join(["```text", *result["output"], "```"])
    captions = "\n\n".join(_caption(run) for run in [*result.get("earlier", []), result])
    return f"{body}\n\n{captions}"


def _caption(result: dict[str, Any]) -> str:
    """Where and how a run was measured."""
    machine, versions = result["machine"], result["versions"]
    place = machine.get("gpu") or f"{machine['cores']} cores of {machine['processor']}"
    options = ["--", *result["arguments"]] if result["arguments"] else []
    command = " ".join(["python -m benchmarks run", result["benchmark"], *options])
    caption = f"`{command}`, {result['date']}, commit {result['commit']}, {place}, torch {versions['torch']}; "
    return caption + f"load at the start {machine['load']}."


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before ``--`` and those after it."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


@contextlib.contextmanager
def _arguments(script: str, options: Sequence[str]) -> Iterator[None]:
    """A block in which ``sys.argv`` holds the options: benchmarks parse it, so that they also run by themselves."""
    before = sys.argv
    sys.argv = [script, *options]
    try:
        yield
    finally:
        sys.argv = before


class _Both(io.TextIOBase):
    """A stream that writes to two other streams."""

    def __init__(self, *targets: TextIO) -> None:
        self._targets = targets

    def write(self, text: str) -> int:
        for target in self._targets:
            target.write(text)
        return len(text)

    def flush(self) -> None:
        for target in self._targets:
            target.flush()


if __name__ == "__main__":
    sys.exit(main())
