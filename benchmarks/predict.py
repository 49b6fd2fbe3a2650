"""Everything that prediction promises, measured in one run and beside its peers.

    python -m benchmarks run predict --json -- --scratch FOLDER [--peer VENV] [--konfai VENV] [--data ../shared/data]
    python -m benchmarks run predict --json --add -- --scratch FOLDER --only PART ...

Parts:

reference  all logits in double precision and the whole image in memory give the same labels
memory     a CT of 512x512x600 voxels, file to file: resident memory, what is said of it beforehand, and export
konfai     a CT of fewer slices in umseg and in KonfAI's engine: time and memory
peer       hippocampus with weights that nnU-Net trained: equal voxels, CPU time and memory beside nnUNetv2_predict and
           KonfAI's engine
pictures   small pictures per second, beside nnU-Net and beside the network alone
faults     bad cases, kills, full disks
confidence the area under the risk-coverage curve of held-out cases; needs --models, see benchmarks/confidence.py

``--peer`` is a virtual environment with nnunetv2 2.8.1, ``--konfai`` one with konfai[itk] 1.8.7; what needs one that is
not given is left out and says so. Parts may be measured one after the other: ``--add`` puts their rows into one record.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import Row, show
from benchmarks.prediction import bounds, faults, konfai, nnunet, peers, reference
from benchmarks.prediction.confidence import held_out
from benchmarks.prediction.verdict import at_least, at_most, fact, told

PARTS = ("reference", "memory", "konfai", "peer", "pictures", "faults", "confidence")
_MOST_SECONDS, _MOST_GIGABYTES = 900, 14
"""What KonfAI may take on the hippocampus before it is ended."""


def main() -> list[Row]:
    """Parse the arguments, measure the parts and return their rows."""
    options = _options()
    rows: list[Row] = []
    for part in options.only:
        for row in _rows(part, options):
            rows.append(row)
            print("; ".join(text for text in map(str, row.values()) if text), flush=True)
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for models, images and predictions")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--peer", type=Path, help="virtual environment with nnunetv2")
    parser.add_argument("--konfai", type=Path, help="virtual environment with konfai[itk]")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--settings", nargs="+", choices=bounds.SETTINGS, default=list(bounds.SETTINGS))
    parser.add_argument("--slices", type=int, default=600, help="slices of the CT")
    parser.add_argument("--peer-slices", type=int, default=120, help="slices of the CT for KonfAI")
    parser.add_argument("--images", type=int, default=52, help="images of the hippocampus")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=250, help="of nnU-Net's training of the hippocampus")
    parser.add_argument("--picture-iterations", type=int, default=40, help="of nnU-Net's training of the pictures")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each side, of which the median counts")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--models", nargs="+", default=(), metavar="MODEL:IMAGES:REFERENCES",
        help="models and cases that they have not seen, for the confidence",
    )  # fmt: skip
    return parser.parse_args()


def _rows(part: str, options: argparse.Namespace) -> Iterator[Row]:
    scratch: Path = options.scratch.absolute() / part
    scratch.mkdir(parents=True, exist_ok=True)
    if part == "reference":
        yield from reference.rows(scratch)
    elif part == "memory":
        yield from bounds.rows(scratch, options.data, options.settings, options.slices)
    elif part == "faults":
        yield from faults.rows(scratch, options.kills, options.seed)
    elif part == "confidence":
        yield from _confidence(options.models, scratch)
    elif part == "konfai":
        if options.konfai is None:
            yield told(part, "the same CT", "left out: no --konfai")
        else:
            peer = options.konfai.absolute()
            yield from bounds.beside(scratch, options.data, options.settings, options.peer_slices, peer)
    elif options.peer is None:
        yield told(part, "nnU-Net", "left out: no --peer")
    elif part == "peer":
        yield from _peer(options, scratch)
    else:
        yield from _pictures(options, scratch)


def _peer(options: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    peer, data = options.peer.absolute(), options.data.absolute()
    sides = peers.hippocampus(peer, data, scratch, options.images, options.iterations)
    for row in peers.compare(sides, peer, scratch, ("bf16", "fp32"), options.repeats):
        side = str(row["side"])
        cost = f"{row['seconds']:.1f} s, {row['CPU seconds']:.1f} s of CPU, {row['MB']:.0f} MB"
        yield told("peer", f"{sides.title}: {side}", cost)
        if side == "nnU-Net":
            continue
        equal, count = str(row["equal voxels"]).split(" % of ")
        yield at_least("peer", f"{side}: equal voxels of {count}", float(equal), 99.9, "%")
        if side == "umseg bf16":
            yield at_most("peer", f"{side}: ratio of CPU time", float(row["ratio of CPU time"] or 0), 0.30, "")
            yield at_most("peer", f"{side}: ratio of memory", float(row["ratio of memory"] or 0), 0.6, "")
    yield _not_empty("peer", scratch / "theirs", classes=3)
    if options.konfai is None:
        yield told("peer", f"{sides.title}: KonfAI", "left out: no --konfai")
        return
    settings = konfai.prepare(sides.imported, sides.images, scratch / "konfai", step=0.5)
    run = konfai.run(options.konfai.absolute(), settings, _MOST_SECONDS, _MOST_GIGABYTES)
    cost = f"{run.seconds:.1f} s, {run.cpu:.1f} s of CPU, {1000 * run.gigabytes:.0f} MB"
    equal = "" if run.error else f"; {100 * konfai.equal_voxels(run, scratch / 'theirs'):.4f} % of voxels as nnU-Net"
    yield told("peer", f"{sides.title}: KonfAI", run.error or cost + equal)


def _pictures(options: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    peer, data = options.peer.absolute(), options.data.absolute()
    sides = peers.pictures(peer, data, scratch, options.pictures, options.picture_iterations)
    for row in peers.compare(sides, peer, scratch, ("bf16",), options.repeats):
        rate = options.pictures / float(row["seconds"] or 0)
        yield told("pictures", f"{sides.title}: {row['side']}", f"{rate:.1f} pictures/s ({row['seconds']:.1f} s)")
    yield _not_empty("pictures", scratch / "theirs", classes=2)
    yield told("pictures", "the network alone", f"{peers.bare_loop(sides, 4):.1f} pictures/s")


def _not_empty(part: str, folder: Path, classes: int) -> Row:
    """Whether nnU-Net finds every class: label maps of background alone would agree whatever umseg does."""
    found = [100 * fraction for fraction in nnunet.fractions(folder)]
    text = ", ".join(f"{one:.2f}" for one in found)
    return fact(part, "voxels of each class, %", text, "all classes", len(found) == classes and min(found) > 0)


def _confidence(models: list[str], scratch: Path) -> Iterator[Row]:
    if not models:
        yield told("confidence", "held-out cases", "left out: no --models")
    for number, text in enumerate(models):
        model, images, references = map(Path, text.split(":"))
        row = held_out(model.parent.parent.name, [model], images, references, scratch / str(number))
        found = f"AURC {row['AURC']:.4f}, random order {row['mean error']:.4f}, ideal {row['ideal order']:.4f}"
        yield told("confidence", f"{row['data']}, {row['cases']} cases", found)
        left = f"{row['excess left']:.3f} (95 %: {row['from']:.3f} to {row['to']:.3f})"
        yield told("confidence", f"{row['data']}: of the excess of a random order over the ideal one", left)
        yield at_most("confidence", f"{row['data']}: AURC of random order", float(row["of random"] or 0), 0.5, "")


if __name__ == "__main__":
    show(main())
