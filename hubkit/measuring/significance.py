"""Whether paired values differ by more than chance. Loads no torch; SciPy only when called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.05
"""Below this p-value, a difference is not put down to chance."""

SEED = 0
"""Of all that is drawn, so that the same values give the same answer."""

Test = Literal["mcnemar", "permutation", "bootstrap"]

_PERMUTATIONS = 9999
_BATCH = 100


def is_yes_or_no(values: np.ndarray) -> bool:
    """Whether each value is 0 or 1: a row is right or wrong."""
    import numpy as np

    return bool(np.isin(values, (0.0, 1.0)).all())


def paired_test(first: np.ndarray, second: np.ndarray) -> tuple[float, Test]:
    """How often chance alone gives such a difference of two means, and which test tells.

    McNemar's exact test (1947) where all values are 0 or 1; otherwise a permutation test, which
    exchanges the two values of a pair.

    Args:
        first: Values that are paired with those of ``second``, *shape* ``(rows,)``.
        second: The others.

    Returns:
        The two-sided p-value, from 0 to 1, and the name of the test.
    """
    import numpy as np
    from scipy.stats import binomtest, permutation_test

    if is_yes_or_no(first) and is_yes_or_no(second):
        differing = int((first != second).sum())
        if not differing:
            return 1.0, "mcnemar"
        return float(binomtest(int((second > first).sum()), differing, 0.5).pvalue), "mcnemar"
    found = permutation_test(
        (first, second),
        lambda one, other, axis: np.mean(other - one, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        batch=_BATCH,
        rng=SEED,
    )
    return float(found.pvalue), "permutation"
