"""95 % confidence intervals: what a metric could as well have been on other rows of the same kind.

Rows that are right or wrong have Wilson's interval (1927), which also holds where all are right.
Means of other values, and metrics of the rows as a whole such as F1, are bootstrapped: computed
again on rows drawn with replacement (Efron 1979, percentiles). Everything is drawn with one seed,
so that the same answers have the same interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import binomtest, bootstrap
from tqdm.auto import tqdm

from hubkit.measuring.answers import Answers
from hubkit.measuring.significance import SEED, is_yes_or_no

Interval = tuple[float, float]

_OF_MEANS = 9999
WHOLES = 1000
"""The number of resamples for metrics of the rows as a whole."""
_BATCH = 100


def intervals(answers: Answers) -> dict[str, Interval]:
    """The intervals of the metrics of ``answers``, by name; those that have none are left out."""
    if len(answers.rows) < 2:
        return {}
    values = answers.row_values()
    taking_part = {name: of_row[np.isfinite(of_row)] for name, of_row in values.items()}
    found = {name: mean_interval(some) for name, some in taking_part.items() if len(some) > 1}
    metrics = [name for name in answers.metrics() if name not in values]
    return found | resampled(answers, metrics)


def mean_interval(values: np.ndarray) -> Interval:
    """The interval of the mean of values, *shape* ``(rows,)``, of two rows at least."""
    if is_yes_or_no(values):
        wilson = binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
        return float(wilson.low), float(wilson.high)
    return bootstrapped_mean(values)


def bootstrapped_mean(values: np.ndarray) -> Interval:
    """The same by bootstrap, whatever the values are."""
    found = bootstrap(
        (values,), np.mean, n_resamples=_OF_MEANS, batch=_BATCH, method="percentile", rng=SEED
    ).confidence_interval
    return float(found.low), float(found.high)


def resampled(answers: Answers, names: Sequence[str]) -> dict[str, Interval]:
    """The intervals of metrics that are computed from the rows as a whole."""
    names = [name for name in names if name not in answers.task.together]
    if not names:
        return {}
    samples = resamples(len(answers.rows), names, lambda rows: answers.select(rows).metrics())
    return percentiles(names, samples)


def resamples(
    rows: int, names: Sequence[str], metrics: Callable[[Sequence[int]], Mapping[str, float]]
) -> np.ndarray:
    """Metrics of rows drawn with replacement, *shape* ``(metrics, resamples)``; NaN for none."""
    generator = np.random.default_rng(SEED)
    found = np.full((len(names), WHOLES), np.nan)
    # Shown on a terminal only, and only when there is something to wait for.
    for sample in tqdm(range(WHOLES), unit="resample", disable=None, delay=1, leave=False):
        drawn = metrics(generator.integers(rows, size=rows).tolist())
        found[:, sample] = [drawn.get(name, np.nan) for name in names]
    return found


def percentiles(names: Sequence[str], samples: np.ndarray) -> dict[str, Interval]:
    """The middle 95 % of resamples, *shape* ``(metrics, resamples)``, of those that are numbers."""
    found = {}
    for name, values in zip(names, samples, strict=True):
        numbers = values[np.isfinite(values)]
        if len(numbers):
            low, high = np.percentile(numbers, (2.5, 97.5))
            found[name] = float(low), float(high)
    return found
