"""Compare two adapters on the same rows: the difference, its interval, and whether it is chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hubkit.measuring.answers import Answers
from hubkit.measuring.intervals import bootstrapped_mean, percentiles, resamples
from hubkit.measuring.significance import LEVEL, Test, paired_test
from registry import Version
from registry.errors import DataError, LabelError


@dataclass(frozen=True)
class Difference:
    """How two adapters differ in one metric on the same rows.

    Attributes:
        metric: Its name.
        higher_is_better: Whether more of it is better.
        first: The value of the first adapter.
        second: The value of the second.
        difference: Second less first.
        low: Where the 95 % confidence interval of the difference starts; None where there is none.
        high: Where it ends.
        p: How often chance alone gives such a difference, or a larger one, between two adapters
            that are equally good; None where nothing tells.
        test: How `p` was found: McNemar's exact test (1947) where rows are right or wrong, a
            permutation of the two answers to each row where the metric is another mean over rows,
            and the paired bootstrap otherwise.
    """

    metric: str
    higher_is_better: bool
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    test: Test | None

    @property
    def better(self) -> Literal["first", "second"] | None:
        """Which adapter is better; None if chance alone may explain it."""
        if self.p is None or self.p >= LEVEL or not self.difference:
            return None
        return "second" if (self.difference > 0) == self.higher_is_better else "first"


def differences(first: Answers, second: Answers) -> tuple[Difference, ...]:
    """Compare what two adapters answer to the same rows, the metric that sums up first.

    Args:
        first: Of one adapter.
        second: Of another of the same task type, on the same rows; its base model may be another.

    Raises:
        LabelError: They have different labels.
    """
    _require_same_labels(first, second)
    ones, others = first.metrics(), second.metrics()
    by_row, by_row_too = first.row_values(), second.row_values()
    means = [name for name in by_row if name in by_row_too]
    both = [name for name in ones if name in others]
    rest = [name for name in both if name not in means and name not in first.task.together]
    enough = len(first.rows) > 1
    samples = np.empty((0, 0))
    if rest and enough:
        # Both on the same draws, so that what makes a draw easy or hard does not count.
        samples = resamples(len(first.rows), rest, lambda rows: _less(first, second, rows))
    middle = percentiles(rest, samples) if samples.size else {}
    found = []
    for name in sorted(both, key=[*first.task.metrics_up, *both].index):
        interval, p = None, None
        test: Test | None = None
        if name in means:
            one, other = by_row[name], by_row_too[name]
            both_have = np.isfinite(one) & np.isfinite(other)
            if both_have.sum() > 1:
                one, other = one[both_have], other[both_have]
                interval = bootstrapped_mean(other - one)
                p, test = paired_test(one, other)
        elif name in middle:
            interval = middle[name]
            p, test = _two_sided(samples[rest.index(name)]), "bootstrap"
        found.append(
            Difference(
                name,
                first.task.metrics_up.get(name, False),
                ones[name],
                others[name],
                others[name] - ones[name],
                None if interval is None else interval[0],
                None if interval is None else interval[1],
                p,
                test,
            )
        )
    return tuple(found)


def require_comparable(first: Version, second: Version) -> None:
    """Make sure that there are two adapters of one task type, before anything is loaded.

    Raises:
        DataError: They have different ones, or they are the same version.
    """
    if first.manifest_digest == second.manifest_digest:
        said = f"{second.ref} was given twice"
        if first.ref != second.ref:
            said = f"{second.ref} has the content of {first.ref}"
        raise DataError(
            f"{said}: an adapter does not differ from itself. Name two that differ.", second.ref
        )
    if first.task_type != second.task_type:
        raise DataError(
            f"Adapters are compared on rows of one task type, but {first.ref} is for "
            f"{first.task_type} and {second.ref} for {second.task_type}.",
            second.ref,
            expected=first.task_type,
            found=second.task_type,
        )


def _require_same_labels(first: Answers, second: Answers) -> None:
    labels, others = first.plan.labels, second.plan.labels
    if {*labels} != {*others} or first.plan.problem_type != second.plan.problem_type:
        raise LabelError(
            "Adapters are compared where they choose among the same labels: the first has "
            f"{', '.join(map(repr, labels)) or 'none'}, the second "
            f"{', '.join(map(repr, others)) or 'none'}.",
            others,
            expected=labels,
            found=others,
        )


def _less(first: Answers, second: Answers, rows: Sequence[int]) -> dict[str, float]:
    one, other = first.select(rows).metrics(), second.select(rows).metrics()
    return {name: other[name] - one[name] for name in one.keys() & other.keys()}


def _two_sided(differences: np.ndarray) -> float:
    """The two-sided p of resampled differences; never 0."""
    numbers = differences[np.isfinite(differences)]
    least = min(int((numbers <= 0).sum()), int((numbers >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (len(numbers) + 1))
