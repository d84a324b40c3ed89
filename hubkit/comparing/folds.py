"""Rows to train on and rows to measure on, as often as there are folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from hubkit.tasks.rows import Rows
from hubkit.tasks.task import TaskType
from registry.errors import FoldsError


@dataclass(frozen=True)
class Fold:
    """Positions of rows.

    Attributes:
        train: The rows to train on.
        test: The rows to measure on.
    """

    train: Sequence[int]
    test: Sequence[int]


def folds_of(task: TaskType[Any], rows: Rows, count: int, seed: int) -> list[Fold]:
    """Divide rows into folds, each of which is measured on once.

    Rows that ask the same are in one fold: what is measured on is never trained on. Classes are in
    proportion.

    Args:
        count: How many folds.
        seed: The seed of the division.

    Raises:
        FoldsError: There is one fold only, or fewer different rows than folds, of all or of one
            class.
    """
    if count < 2:
        raise FoldsError(
            f"{count} fold leaves no rows of {rows.name} to train on; expected two or more.",
            given=count,
            expected=2,
        )
    keys = list(rows.keys(task.asked_and_answered[0]))
    strata = task.strata(rows)
    different = len(set(keys))
    if different < count:
        raise FoldsError(
            f"{rows.name} has {different} different rows, fewer than the {count} folds.",
            given=count,
            found=different,
        )
    if strata is not None:
        rarest, rows_of_it = Counter(
            label for _, label in {*zip(keys, strata, strict=True)}
        ).most_common()[-1]
        if rows_of_it < count:
            raise FoldsError(
                f"{rows.name} has {rows_of_it} different rows with the label {rarest!r}, fewer "
                f"than the {count} folds.",
                rarest,
                given=count,
                found=rows_of_it,
            )
    kind = GroupKFold if strata is None else StratifiedGroupKFold
    splits = kind(n_splits=count, shuffle=True, random_state=seed).split(
        np.zeros(len(rows)), strata, groups=keys
    )
    return [Fold(train.tolist(), test.tolist()) for train, test in splits]
