"""The text of ``umseg best``: the candidates, and what was chosen."""

from __future__ import annotations

from umseg.common.text import counted, table
from umseg.inference.best import Best, Candidate
from umseg.inference.postprocessing.classes import described


def format_best(best: Best) -> str:
    """A table with a row per candidate, the best first, and what predicts from now on.

    Args:
        best: The choice.
    """
    names = tuple(member.model for member in best.members)
    rows = [("model", f"mean {best.metric}", ""), *(_row(candidate, names) for candidate in best.candidates)]
    chosen = " and ".join(f"{member.model} (folds {', '.join(member.folds)})" for member in best.members)
    lines = [*table(rows), "", f"Chosen on {counted(best.cases, 'validation case')}: {chosen}."]
    single = next((one for one in best.candidates if len(one.models) == 1 and one.score is not None), None)
    if len(best.members) > 1 and single is not None and single.score is not None:
        lines.append(
            f"Prediction takes the time of {len(best.members)} models. The best single model, {single.models[0]}, "
            f"has a mean {best.metric} that is lower by {best.score - single.score:.4f}."
        )
    if best.cleaning is not None:
        lines.append(
            f"Post-processing: {described(best.cleaning)}. This raises the mean {best.metric} from {best.score:.4f} to "
            f"{best.score_after:.4f} on the same cases."
        )
    elif best.metric == "DSC":
        lines.append("Post-processing: none, because none raises the mean DSC.")
    return "\n".join(lines)


def _row(candidate: Candidate, chosen: tuple[str, ...]) -> tuple[str, str, str]:
    score = "-" if candidate.score is None else f"{candidate.score:.4f}"
    notes = ["chosen"] if candidate.models == chosen else []
    return " + ".join(candidate.models), score, "; ".join([*notes, *filter(None, [candidate.note])])
