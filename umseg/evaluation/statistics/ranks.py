"""How stable an order of methods is when other cases of the same kind are drawn (docs/rules.md, Statistics)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from umseg.evaluation.statistics.intervals import LEVEL, Values, bootstrap_means

DRAWS = 1000


@dataclass(frozen=True)
class RankStability:
    """The ranks of a method over the draws of a bootstrap; 1 is the best, and equal methods share the mean rank.

    Attributes:
        mean: Mean rank.
        low: Lower bound of the interval.
        high: Upper bound.
        first: Share of the draws in which no method is better.
    """

    mean: float
    low: float
    high: float
    first: float


def rank_stability(scores: Values, draws: int = DRAWS, seed: int = 0, level: float = LEVEL) -> list[RankStability]:
    """The ranks of methods by their mean score over cases that are drawn with replacement.

    Args:
        scores: (methods, cases), finite; higher is better.
        draws: Number of draws.
        seed: Seed of the draws.
        level: Coverage of the interval.
    """
    means = bootstrap_means(scores, draws, seed)
    ranks = stats.rankdata(-means, axis=0)
    low, high = np.quantile(ranks, [(1 - level) / 2, (1 + level) / 2], axis=1)
    first = (means >= means.max(axis=0)).mean(axis=1)
    return [RankStability(*map(float, row)) for row in zip(ranks.mean(axis=1), low, high, first, strict=True)]
