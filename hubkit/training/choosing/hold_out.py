"""Hold out rows to choose the best epoch by, with the labels in proportion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sklearn.model_selection import train_test_split

from hubkit.tasks.rows import Rows
from registry.errors import DataError, RareLabelError, TooFewRowsError

_FRACTION = 0.2
_MOST = 500


def hold_out(
    rows: Rows, strata: Sequence[str] | None, seed: int, fraction: float | None = None
) -> tuple[Rows, Rows]:
    """Training and validation rows, with the strata in proportion.

    Args:
        rows: What there is.
        strata: The stratum of each row; None if nothing is to be in proportion.
        seed: The seed of the choice.
        fraction: The part to validate with, over 0 and below 1; default: a fifth, at most 500 rows.

    Raises:
        RareLabelError: A stratum has a single row.
        TooFewRowsError: There are too few rows.
        DataError: The fraction is out of range.
    """
    if fraction is not None and not 0 < fraction < 1:
        raise DataError(
            f"The part of {rows.name} to validate with must be over 0 and below 1, not {fraction}.",
            rows.name,
            given=fraction,
        )
    if len(rows) < 2:
        raise TooFewRowsError(
            f"{rows.name} has a single row; at least two are needed, one to train on and one to "
            "validate with, where no others are given for that.",
            rows.name,
        )
    size = int(len(rows) * (_FRACTION if fraction is None else fraction))
    size = max(1, size if fraction is not None else min(_MOST, size))
    least = 1
    if strata is not None:
        rarest, count = Counter(strata).most_common()[-1]
        if count < 2:
            raise RareLabelError(
                f"{rows.name} has a single row with the label {rarest!r}; at least two are needed, "
                "one to train on and one to validate with. Add rows.",
                rarest,
            )
        least = len(set(strata))
        size = max(size, least)
    if len(rows) - size < least:
        raise TooFewRowsError(
            f"{rows.name} has {len(rows)} rows: with {size} of them to validate with, "
            f"{len(rows) - size} are left to train on; expected at least {least}.",
            rows.name,
            given=fraction,
            expected=least,
            found=len(rows) - size,
        )
    trained, held_out = train_test_split(
        range(len(rows)), test_size=size, random_state=seed, stratify=strata
    )
    return rows.select(sorted(trained)), rows.select(sorted(held_out))
