"""Warn of rows that may make results look better than they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hubkit.tasks.rows import Rows

if TYPE_CHECKING:
    from hubkit.tasks.task import TaskType

logger = logging.getLogger(__name__)

_PAIRS = (("source", "target"), ("text", "text_pair"), ("question", "context"))
"""Columns that hold two texts of a row."""


def note_doubts(task: TaskType[Any], parts: Sequence[tuple[Rows, Rows | None]]) -> None:
    """Warn once, with a count, of what may make results look better than they are.

    Args:
        task: Says what is read and what is learned.
        parts: What each adapter is trained on, and what its best epoch is chosen by; None if
            nothing is. The rows of one adapter are not compared with those of another.
    """
    inputs, targets = task.asked_and_answered
    name = parts[0][0].name
    held_out = [(train, rows) for train, rows in parts if rows is not None]
    others = [(train, rows) for train, rows in held_out if rows.sha256 != train.sha256]
    if len(others) < len(held_out):
        logger.warning(
            "%s, which the best epoch is chosen by, has the same rows as are trained on: what is "
            "measured says nothing about other rows.",
            next(rows.name for train, rows in held_out if rows.sha256 == train.sha256),
        )
    if both := sum(_in_both(train, rows, inputs) for train, rows in others):
        logger.warning(
            "%d of the %d rows of %s that the best epoch is chosen by are trained on, too.",
            both,
            sum(len(rows) for _, rows in others),
            others[0][1].name,
        )
    for one, other in _PAIRS:
        pairs = [train for train, _ in parts if one in train and other in train]
        same = sum(a == b for train in pairs for a, b in zip(train[one], train[other], strict=True))
        if same:
            logger.warning(
                "%s: %d of %d rows have the same text as %s and as %s.",
                name,
                same,
                sum(map(len, pairs)),
                one,
                other,
            )
    torn = [key for train, rows in parts for key in _torn(train, rows, inputs, targets)]
    if torn:
        logger.warning(
            "%s: %d %s in several rows with different %s; one of them is %s.",
            name,
            len(torn),
            "text is" if len(torn) == 1 else "texts are",
            " or ".join(name for name in targets if name in parts[0][0]),
            torn[0][:100],
        )


def _in_both(train: Rows, validation: Rows, inputs: Sequence[str]) -> int:
    """How many rows of the second are in the first, whatever their targets."""
    seen = set(train.keys(inputs))
    return sum(key in seen for key in validation.keys(inputs))


def _torn(
    train: Rows, validation: Rows | None, inputs: Sequence[str], targets: Sequence[str]
) -> list[str]:
    """The inputs that several rows have, with different targets."""
    if not any(name in train for name in targets):
        return []
    meanings: dict[str, set[str]] = {}
    for rows in filter(None, (train, validation)):
        for key, target in zip(rows.keys(inputs), rows.keys(targets), strict=True):
            meanings.setdefault(key, set()).add(target)
    return [key for key, found in meanings.items() if len(found) > 1]
