"""The comparison of methods: scores, tests of every pair, stability of the order, and what could be seen at all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from umseg.common.record import Record
from umseg.evaluation.comparison.methods import Methods, Quantity
from umseg.evaluation.records import Description, Score
from umseg.evaluation.statistics.describe import describe
from umseg.evaluation.statistics.paired import holm, permutation_test, standardised_effect, wilcoxon_test
from umseg.evaluation.statistics.ranks import rank_stability
from umseg.evaluation.statistics.seeds import NestedDifference


class MethodScores(Record):
    """One method and one quantity.

    Attributes:
        method: Its name.
        scores: Scores of its cases, each the mean over its seeds.
        rank: 1 for the best mean; equal ones share the better rank.
        mean_rank: Mean rank over the draws of a bootstrap.
        ranks: Interval of 95 % of its rank.
        first: Share of draws in which no method is better.
    """

    method: str
    scores: Description
    rank: int
    mean_rank: Score
    ranks: tuple[Score, Score]
    first: Score


class PairTest(Record):
    """Two methods and one quantity: the first minus the second, on the cases where both have a score.

    Attributes:
        first: Name of the first method.
        second: Name of the second method.
        difference: Mean difference.
        interval: Its 95 % interval, by cases and seeds.
        p: Two-sided p by Student's t, with the variance of cases and seeds.
        p_permutation: Two-sided p by random signs of the cases' differences.
        p_wilcoxon: Two-sided p of Wilcoxon's signed-rank test.
        p_holm: The p that counts, corrected for all pairs: that of random signs or, with several seeds, of ``p``.
        effect: Mean over standard deviation of the cases' differences.
        smallest_visible: Smallest difference that a test finds with 80 % probability.
    """

    first: str
    second: str
    difference: Score
    interval: tuple[Score, Score]
    p: Score
    p_permutation: Score
    p_wilcoxon: Score
    p_holm: Score
    effect: Score
    smallest_visible: Score


class QuantityComparison(Record):
    """All methods by one quantity.

    Attributes:
        key: Name of the metric.
        class_name: The class; None: each case has the mean over its classes.
        title: Name of the metric in tables.
        better: Which scores are better.
        n_cases: Number of cases that have a finite score by all methods; all figures are of these.
        not_scored: The other cases.
        methods: The methods, in the order in which they were named.
        pairs: Every two methods.
    """

    key: str
    class_name: str | None
    title: str
    better: Literal["higher", "lower", "zero"]
    n_cases: int
    not_scored: tuple[str, ...]
    methods: tuple[MethodScores, ...]
    pairs: tuple[PairTest, ...]


class Comparison(Record):
    """What ``umseg compare --json`` prints.

    Attributes:
        methods: Names of the methods.
        seeds: Number of trainings of each.
        cases: Cases that all have.
        left_out: Cases that only some have.
        quantities: One comparison per metric, or per metric and class.
    """

    schema_version: Literal[1] = 1
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    left_out: tuple[str, ...]
    quantities: tuple[QuantityComparison, ...]


def compare(methods: Methods) -> Comparison:
    """Compare methods by every quantity."""
    return Comparison(
        methods=methods.names,
        seeds=methods.seeds,
        cases=methods.cases,
        left_out=methods.left_out,
        quantities=tuple(_compared(methods, quantity) for quantity in methods.quantities),
    )


def _compared(methods: Methods, quantity: Quantity) -> QuantityComparison:
    finite = quantity.finite
    scores = [values[:, finite] for values in quantity.scores]
    merit = [values[:, finite].mean(axis=0) for values in quantity.merit]
    return QuantityComparison(
        key=quantity.key,
        class_name=quantity.class_name,
        title=quantity.title,
        better=quantity.better,
        n_cases=int(finite.sum()),
        not_scored=tuple(case for case, is_finite in zip(methods.cases, finite, strict=True) if not is_finite),
        methods=_scores(methods.names, scores, np.array(merit)),
        pairs=_tests(methods.names, scores),
    )


def _scores(names: Sequence[str], scores: Sequence[np.ndarray], merit: np.ndarray) -> tuple[MethodScores, ...]:
    nan = math.nan
    if not merit.shape[1]:
        empty = describe(np.empty(0))
        return tuple(
            MethodScores(method=name, scores=empty, rank=1, mean_rank=nan, ranks=(nan, nan), first=nan)
            for name in names
        )
    means = merit.mean(axis=1)
    found = []
    for name, values, mean, stable in zip(names, scores, means, rank_stability(merit), strict=True):
        rank = 1 + int(np.count_nonzero(means > mean))
        found.append(
            MethodScores(
                method=name,
                scores=describe(values.mean(axis=0)),
                rank=rank,
                mean_rank=stable.mean,
                ranks=(stable.low, stable.high),
                first=stable.first,
            )
        )
    return tuple(found)


def _tests(names: Sequence[str], scores: Sequence[np.ndarray]) -> tuple[PairTest, ...]:
    pairs = list(itertools.combinations(range(len(names)), 2))
    nested = [NestedDifference.of(scores[one], scores[other]) for one, other in pairs]
    differences = [scores[one].mean(axis=0) - scores[other].mean(axis=0) for one, other in pairs]
    signs = [permutation_test(values) for values in differences]
    several = [len(scores[one]) > 1 or len(scores[other]) > 1 for one, other in pairs]
    corrected = holm([found.p if seeds else sign for found, sign, seeds in zip(nested, signs, several, strict=True)])
    tests = []
    for (one, other), found, values, sign, p in zip(pairs, nested, differences, signs, corrected, strict=True):
        tests.append(
            PairTest(
                first=names[one],
                second=names[other],
                difference=found.mean,
                interval=found.interval(),
                p=found.p,
                p_permutation=sign,
                p_wilcoxon=wilcoxon_test(values),
                p_holm=p,
                effect=standardised_effect(values),
                smallest_visible=found.smallest_visible(),
            )
        )
    return tuple(tests)
