"""Ranking adapters by what was measured on one data set."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, exists, select

from registry.database.prepared import Prepared
from registry.errors import InvalidNameError
from registry.manifest import Metric
from registry.search.conditions import Meaning, find_base, has_base, versions_of
from registry.tables.listings import LISTINGS
from registry.tables.models import table
from registry.tables.versions import WIDTH, Version, look_up

if TYPE_CHECKING:
    from registry.catalog.catalog import Catalog

_METRICS = table("metrics")
_KINDS = (
    select(_METRICS.c.name, _METRICS.c.higher_is_better)
    .where(_METRICS.c.dataset == bindparam("dataset"))
    .order_by(_METRICS.c.name)
    .limit(1)
)
_FIRST_METRIC = Prepared(_KINDS)
_METRIC = Prepared(_KINDS.where(_METRICS.c.name == bindparam("metric")))


@dataclass(frozen=True, slots=True)
class Rank:
    """A row of a leaderboard.

    Attributes:
        version: The adapter.
        metric: What it is ranked by.
    """

    version: Version
    metric: Metric


def leaderboard(
    catalog: "Catalog",
    dataset: str,
    *,
    metric: str | None = None,
    split: str | None = None,
    task: str | None = None,
    base: str | None = None,
    limit: int = 20,
) -> tuple[Rank, ...]:
    """Rank adapters by a metric on a data set, the best first; of each, the newest version.

    Args:
        catalog: Where to look.
        dataset: What they were measured on.
        metric: The metric's name; default: of those on `dataset`, the first in the alphabet.
        split: The part of the data set; default: all, so that an adapter may be there twice.
        task: The exact task; default: any.
        base: As in `search`; default: any.
        limit: At most this many, from 1 to 1000.

    Raises:
        InvalidNameError: `limit` is out of range.
    """
    if not 1 <= limit <= 1000:
        raise InvalidNameError(f"A leaderboard has 1 to 1000 rows, not {limit}.", limit)
    values = {"dataset": dataset, "metric": metric, "split": split, "task": task}
    with catalog.database.look_up() as transaction:
        kinds = (_FIRST_METRIC if metric is None else _METRIC).rows(transaction, **values)
        meanings: tuple[Meaning, ...] = ()
        if base is not None:
            meanings, found = find_base(transaction, base)
            values |= found
        if not kinds or (base is not None and not meanings):
            return ()
        values["metric"], higher_is_better = kinds[0]
        statement = _ranking(bool(higher_is_better), split is not None, task is not None, meanings)
        rows = look_up(transaction, statement, **values, limit=limit)
    return tuple(Rank(version, version.metrics[row[WIDTH]]) for row, version in rows)


@lru_cache(maxsize=128)
def _ranking(
    higher_is_better: bool, of_split: bool, of_task: bool, base: tuple[Meaning, ...]
) -> Prepared:
    measured = [_METRICS.c.dataset == bindparam("dataset"), _METRICS.c.name == bindparam("metric")]
    if of_split:
        measured.append(_METRICS.c.split == bindparam("split"))
    conditions = [LISTINGS.c.revision_id == _METRICS.c.revision_id]
    if of_task:
        conditions.append(LISTINGS.c.task == bindparam("task"))
    if base:
        conditions.append(has_base(base))
    order = (_METRICS.c.value, _METRICS.c.revision_id)
    page = (
        select(_METRICS.c.revision_id, _METRICS.c.value.label("key"), _METRICS.c.position)
        # Not a join, lest all adapters of the task be sorted to find the few best.
        .where(*measured, exists().where(*conditions).correlate(_METRICS))
        .order_by(*(c.desc() if higher_is_better else c.asc() for c in order))
        .limit(bindparam("limit"))
    )
    return Prepared(versions_of(page, ascending=not higher_is_better, extra=("position",)))
