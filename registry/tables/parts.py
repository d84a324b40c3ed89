"""What a version may have several of, aliases, tags and metrics, for many versions at once."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Double,
    Integer,
    String,
    bindparam,
    cast,
    literal,
    null,
    select,
    union_all,
)

from registry.database.prepared import Prepared, Transaction
from registry.manifest import Metric
from registry.tables.models import table

_TAGS = table("tags")
_METRICS = table("metrics")
_REFS = table("refs")

_ALIAS, _TAG, _METRIC = range(3)
_NO_TEXT, _NO_NUMBER, _NO_TRUTH = (cast(null(), kind) for kind in (String, Double, Boolean))


def _select_parts(condition: Callable[[ColumnElement[int]], ColumnElement[bool]]) -> Any:
    """Select what there may be several of in one query: aliases, tags and metrics."""
    return union_all(
        select(
            _REFS.c.revision_id.label("revision_id"),
            literal(_ALIAS).label("kind"),
            literal(0).label("position"),
            _REFS.c.name.label("name"),
            _NO_TEXT.label("dataset"),
            _NO_TEXT.label("split"),
            _NO_NUMBER.label("value"),
            _NO_TRUTH.label("higher_is_better"),
        ).where(condition(_REFS.c.revision_id)),
        select(
            _TAGS.c.revision_id,
            literal(_TAG),
            _TAGS.c.position,
            _TAGS.c.tag,
            _NO_TEXT,
            _NO_TEXT,
            _NO_NUMBER,
            _NO_TRUTH,
        ).where(condition(_TAGS.c.revision_id)),
        select(
            _METRICS.c.revision_id,
            literal(_METRIC),
            _METRICS.c.position,
            _METRICS.c.name,
            _METRICS.c.dataset,
            _METRICS.c.split,
            _METRICS.c.value,
            _METRICS.c.higher_is_better,
        ).where(condition(_METRICS.c.revision_id)),
    )


@cache
def _parts_of(count: int) -> Prepared:
    """Return the statement for that many revisions."""
    return Prepared(
        _select_parts(
            lambda column: column.in_(
                [bindparam(f"id_{place}", type_=Integer) for place in range(count)]
            )
        )
    )


Parts: TypeAlias = tuple[list[str], list[tuple[int, str]], list[tuple[int, Metric]]]


def load_parts(transaction: Transaction, ids: Sequence[int]) -> dict[int, Parts]:
    """Return aliases, and tags and metrics with their positions, of every revision."""
    parts: dict[int, Parts] = {revision_id: ([], [], []) for revision_id in ids}
    _add_parts(parts, _part_rows(transaction, ids))
    return parts


def _part_rows(transaction: Transaction, ids: Sequence[int]) -> list[tuple[Any, ...]]:
    # Filled up to a power of two, so that there are few statements to compile.
    count = 1 << (len(ids) - 1).bit_length()
    padded = [*ids, *[ids[-1]] * (count - len(ids))]
    return _parts_of(count).rows(
        transaction, **{f"id_{place}": value for place, value in enumerate(padded)}
    )


def _add_parts(parts: dict[int, Parts], rows: Iterable[Sequence[Any]]) -> None:
    for row in rows:
        revision_id, kind, position, name, dataset, split, value, higher_is_better = row
        aliases, tags, metrics = parts[revision_id]
        if kind == _ALIAS:
            aliases.append(name)
        elif kind == _TAG:
            tags.append((position, name))
        else:
            metric = Metric(
                dataset=dataset,
                split=split,
                name=name,
                value=value,
                higher_is_better=higher_is_better,
            )
            metrics.append((position, metric))
