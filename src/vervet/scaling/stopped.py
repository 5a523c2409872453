"""Draws that were stopped by what they were: estimates by path counting, unbiased where c / n and pass@k are not.

A rule looks at (draws so far, right ones so far) and stops or goes on. Every order of draws that leads to the same end has
the same probability, so the share of orders whose first k draws all fail is, given the end, free of the unknown rate: its
mean is (1 - p)^k. It knows the rule, which must be named, and nothing of when or why somebody chose it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from vervet.errors import Mistake
from vervet.scaling.counts import Counts
from vervet.scaling.draws import Floats
from vervet.scaling.passk import pass_at_k

Rule = Callable[[int, int], bool]
"""True where drawing stops after n draws of which c were right; never asked at (0, 0)."""


def until(successes: int, cap: int) -> Rule:
    """Stop at so many right draws, or at ``cap`` draws.

    >>> until(1, 60)(3, 1), until(1, 60)(60, 0), until(1, 60)(59, 0)
    (True, True, False)
    """
    return lambda n, c: c >= successes or n >= cap


def first_fail(stops: Rule, n: int, correct: int, k: int) -> Fraction:
    """Chance that the first k draws all fail, given that drawing ended at (n, correct) under the rule: exact.

    1 minus it is the unbiased pass@k of one problem, for any rule that surely stops. Counts paths one by one, n x correct
    additions of whole numbers. Raises Mistake where the rule does not stop at the end given or no path leads there, and
    where it can stop a row of failures before the k-th (then nothing is unbiased at k).

    Reference: Girshick, Mosteller and Savage 1946, Unbiased Estimates for Certain Binomial Sampling Problems, Annals of
    Mathematical Statistics 17: paths through k failures over all paths to the end.

    >>> first_fail(until(2, 10), 5, 2, 1)  # inverse sampling: 1 - (r - 1) / (n - 1)
    Fraction(3, 4)
    >>> first_fail(until(1, 60), 7, 1, 6), first_fail(until(1, 60), 7, 1, 7)
    (Fraction(1, 1), Fraction(0, 1))
    """
    if k < 1 or any(stops(j, 0) for j in range(1, k)):
        raise Mistake(f"expected k >= 1 and a rule that lets {k} failures in a row happen, got {k=}")
    if not stops(n, correct):
        raise Mistake(f"the rule goes on at {correct} right of {n} draws; name the rule that ended them")
    paths = _paths(stops, 0, n, correct)
    if not paths:
        raise Mistake(f"no order of draws ends at {correct} right of {n} under this rule")
    return Fraction(_paths(stops, k, n, correct) if k <= n else 0, paths)


def _paths(stops: Rule, begin: int, n: int, correct: int) -> int:
    """Orders of draws from ``begin`` failures to the end that the rule does not stop on the way."""
    ways = {0: 1}
    for m in range(begin, n):
        going = {c: w for c, w in ways.items() if m == 0 or not stops(m, c)}
        ways = {}
        for c, w in going.items():
            ways[c] = ways.get(c, 0) + w
            if c < correct:
                ways[c + 1] = ways.get(c + 1, 0) + w
    return ways.get(correct, 0)


def stopped_at_k(counts: Counts, ks: Sequence[int]) -> Floats:
    """Unbiased pass@k of problems drawn until ``counts.stopped``: shape (problems, ks), in [0, 1].

    Path counting in closed form. Ended by its r-th right draw at n: the last draw is known to be right, so pass@k of the
    n - 1 others with r - 1 right, and 1 from k = n on; at k = 1 that is (r - 1) / (n - 1). Ended by the cap: pass@k of cap
    draws. Stopped at the first right draw, its mean over problems is the share whose first one came within k draws.
    Raises Mistake for counts that were not stopped so, and for k over the cap: nobody drew further.

    Reference: Girshick, Mosteller and Savage 1946, Annals of Mathematical Statistics 17; Haldane 1945, On a Method of
    Estimating Frequencies, Biometrika 33 (the rate of inverse sampling).

    >>> from vervet.scaling.counts import Stopped
    >>> stopped_at_k(Counts([1, 4, 60], [1, 1, 0], stopped=Stopped(1, 60)), [1, 4, 60]).mean(axis=0).round(3).tolist()
    [0.333, 0.667, 0.667]
    """
    rule = counts.stopped
    if rule is None or not rule.successes:
        raise Mistake(
            "path counting needs counts that were drawn until so many were right; for others use pass_at_k_of"
        )
    bad = [k for k in ks if k < 1 or (rule.cap is not None and k > rule.cap)]
    if bad:
        raise Mistake(f"k must lie between 1 and the cap of {rule.cap} draws, got k={bad[0]}; nobody drew further")
    result = np.ones((counts.n_problems, len(ks)))
    for n, complete in {*zip(counts.n.tolist(), (counts.correct == rule.successes).tolist(), strict=True)}:
        rows = (counts.n == n) & ((counts.correct == rule.successes) == complete)
        known = n - complete  # the last draw of a complete row had to be right
        columns = [j for j, k in enumerate(ks) if k <= known]
        if columns:
            values = pass_at_k(known, counts.correct[rows] - complete, [ks[j] for j in columns])
            result[np.ix_(rows, columns)] = values
    return result
