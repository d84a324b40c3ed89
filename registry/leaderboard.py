"""Ranking adapters by what was measured on one data set."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import exists, select

from registry.errors import InvalidNameError
from registry.manifest import Metric
from registry.tables.conditions import has_base, versions_of
from registry.tables.listings import LISTINGS
from registry.tables.models import table
from registry.tables.versions import Version, load_rows

if TYPE_CHECKING:
    from registry.catalog import Catalog

_METRICS = table("metrics")


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
    measured = select(_METRICS.c.name, _METRICS.c.higher_is_better).where(
        _METRICS.c.dataset == dataset
    )
    if metric is not None:
        measured = measured.where(_METRICS.c.name == metric)
    with catalog.database.look_up() as connection:
        kind = connection.execute(measured.order_by(_METRICS.c.name).limit(1)).first()
        if kind is None:
            return ()
        measured_so = [_METRICS.c.dataset == dataset, _METRICS.c.name == kind.name]
        if split is not None:
            measured_so.append(_METRICS.c.split == split)
        conditions = [LISTINGS.c.revision_id == _METRICS.c.revision_id]
        if task is not None:
            conditions.append(LISTINGS.c.task == task)
        if base is not None:
            conditions.append(has_base(connection, base))
        order = (_METRICS.c.value, _METRICS.c.revision_id)
        page = (
            select(
                _METRICS.c.revision_id,
                _METRICS.c.value.label("key"),
                _METRICS.c.position,
            )
            # Not a join, lest all adapters of the task be sorted to find the few best.
            .where(*measured_so, exists().where(*conditions).correlate(_METRICS))
            .order_by(*(c.desc() if kind.higher_is_better else c.asc() for c in order))
            .limit(limit)
        )
        rows = load_rows(
            connection, versions_of(page, ascending=not kind.higher_is_better, extra="position")
        )
    return tuple(Rank(version, version.metrics[row.position]) for row, version in rows)
