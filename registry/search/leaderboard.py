"""Rank adapters by what was measured on one data set."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, exists, select

from registry.errors import AmbiguousDataSetError, InvalidNameError
from registry.fields import check_texts
from registry.manifest import Metric
from registry.search.conditions import has_base, versions_of
from registry.tables.models import LISTINGS, METRICS
from registry.tables.versions import WIDTH, Version, load_rows

if TYPE_CHECKING:
    from registry.catalog.catalog import Catalog


_SHOWN = 5


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
        dataset: What they were measured on: its name, or its name with the digest of its rows,
            ``reviews.csv#0123456789ab``. The name is enough where one data set has it.
        metric: The metric's name; default: of those on `dataset`, the first in the alphabet.
        split: The part of the data set; default: all, so that an adapter may be there twice.
        task: The exact task; default: any.
        base: As in `search`; default: any.
        limit: At most this many, from 1 to 1000.

    Raises:
        InvalidNameError: `limit` is out of range, or a text cannot be stored.
        AmbiguousDataSetError: Data sets with other rows have the same name.
    """
    if not 1 <= limit <= 1000:
        raise InvalidNameError(f"A leaderboard has 1 to 1000 rows, not {limit}.", limit)
    check_texts(dataset=dataset, metric=metric, split=split, task=task, base=base)
    with catalog.database.read() as connection:
        dataset = _full_name(connection, dataset)
        kinds = (
            select(METRICS.c.name, METRICS.c.higher_is_better)
            .where(METRICS.c.dataset == dataset)
            .order_by(METRICS.c.name)
            .limit(1)
        )
        if metric is not None:
            kinds = kinds.where(METRICS.c.name == metric)
        kind = connection.execute(kinds).one_or_none()
        of_base = None if base is None else has_base(connection, base)
        if kind is None or (base is not None and of_base is None):
            return ()
        measured = [METRICS.c.dataset == dataset, METRICS.c.name == kind.name]
        if split is not None:
            measured.append(METRICS.c.split == split)
        listed = [LISTINGS.c.revision_id == METRICS.c.revision_id]
        if task is not None:
            listed.append(LISTINGS.c.task == task)
        if of_base is not None:
            listed.append(of_base)
        ascending = not kind.higher_is_better
        order = (METRICS.c.value, METRICS.c.revision_id)
        page = (
            select(METRICS.c.revision_id, METRICS.c.value.label("key"), METRICS.c.position)
            # Not a join, which would sort all adapters of the task to find the few best.
            .where(*measured, exists().where(*listed).correlate(METRICS))
            .order_by(*(column.asc() if ascending else column.desc() for column in order))
            .limit(limit)
        )
        rows = load_rows(connection, versions_of(page, ascending=ascending, extra=("position",)))
    return tuple(Rank(version, version.metrics[row[WIDTH]]) for row, version in rows)


def _full_name(connection: Connection, dataset: str) -> str:
    """The name of a data set with the digest of its rows, where metrics have one."""
    exact = select(METRICS.c.dataset).where(METRICS.c.dataset == dataset).limit(1)
    if "#" in dataset or connection.execute(exact).first() is not None:
        return dataset
    named = (
        select(METRICS.c.dataset)
        .where(METRICS.c.dataset.startswith(f"{dataset}#", autoescape=True))
        .distinct()
        .order_by(METRICS.c.dataset)
    )
    found = [row.dataset for row in connection.execute(named)]
    if len(found) > 1:
        shown = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
        raise AmbiguousDataSetError(
            f"{len(found)} data sets with other rows are called {dataset}: {shown}. What was "
            "measured on one cannot be ranked with what was measured on another.",
            dataset,
            given=dataset,
            found=found,
        )
    return found[0] if found else dataset
