"""What of the card that a version came with goes on into the card that hubkit writes for a hub."""

from __future__ import annotations

from typing import Any

from registry.folders.card import Card

# YAML can say in a few lines what takes for ever to write out.
_MOST_VALUES = 10_000

# What the stock client's class of a card takes for its own settings.
_RESERVED = {"self", "ignore_metadata_errors", "eval_results", "model_name", "tags"}


def own_fields(card: Card) -> dict[str, Any]:
    """Return the fields of a card that another card can hold, whatever they mean."""
    return {
        name: value
        for name, value in card.data.items()
        if isinstance(name, str) and name not in _RESERVED and _is_small(value)
    }


def _is_small(value: Any) -> bool:
    """Whether a value, written out, is of a sane size; one that contains itself is of none."""
    pending, count = [value], 0
    while pending:
        count += 1
        if count > _MOST_VALUES:
            return False
        one = pending.pop()
        if isinstance(one, dict):
            pending += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set):
            pending += one
    return True
