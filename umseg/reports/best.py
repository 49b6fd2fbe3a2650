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
    rows = [("model", f"mean {best.metric}", ""), *(_row(candidate) for candidate in best.candidates)]
    chosen = " and ".join(f"{member.model} (folds {', '.join(member.folds)})" for member in best.members)
    lines = [*table(rows), "", f"Chosen on {counted(best.cases, 'validation case')}: {chosen}."]
    if best.cleaning is not None:
        lines.append(
            f"Post-processing: {described(best.cleaning)}; mean {best.metric} {best.score:.4f} before, "
            f"{best.score_after:.4f} after."
        )
    return "\n".join(lines)


def _row(candidate: Candidate) -> tuple[str, str, str]:
    score = "-" if candidate.score is None else f"{candidate.score:.4f}"
    return " + ".join(candidate.models), score, candidate.note
