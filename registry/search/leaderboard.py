"""Rank adapters by a metric on one data set.

A data set is identified by the digest of its rows, if there is one: names are not unique.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Table,
    and_,
    exists,
    or_,
    select,
)

from registry.errors import AmbiguousDataSetError, InvalidNameError, listed
from registry.fields import check_texts
from registry.manifest import Metric
from registry.search.conditions import has_base, may_read
from registry.tables.measurements import DIGITS, Measurement, measurement_of
from registry.tables.models import LISTINGS, MEASUREMENTS, METRICS, REVISIONS
from registry.tables.reader import Reader
from registry.tables.versions import Version, load_rows, select_versions

if TYPE_CHECKING:
    from registry.catalog.catalog import Catalog


_WITH_DIGEST = re.compile(r"(.+)#([0-9a-f]{12,64}|)", re.DOTALL)
"""The name of a data set, with digits of the digest of its rows; none if it has no digest."""


@dataclass(frozen=True, slots=True)
class Rank:
    """A row of a leaderboard.

    Attributes:
        version: The adapter.
        metric: The metric that it is ranked by.
        measurement: The recorded measurement; None if the metric is in the manifest.
    """

    version: Version
    metric: Metric
    measurement: Measurement | None = None


@dataclass(frozen=True, slots=True)
class _Data:
    """One data set.

    Attributes:
        names: Its names in metrics.
        digest: The first digits of the digest of its rows; None if it is not known.
    """

    names: frozenset[str]
    digest: str | None


@dataclass(frozen=True, slots=True)
class _View:
    """The rows of a leaderboard that a reader may see.

    Attributes:
        connection: A transaction.
        reader: The reader; None for the owner of the registry.
    """

    connection: Connection
    reader: Reader | None

    def seen(self, table: Table) -> Sequence[ColumnElement[bool]]:
        """Return the conditions on values of versions that the reader may see."""
        if self.reader is None:
            return ()
        listed = exists().where(
            LISTINGS.c.revision_id == table.c.revision_id, may_read(self.reader)
        )
        return (listed.correlate(table),)


@dataclass(frozen=True, slots=True)
class _Question:
    """The conditions of a leaderboard.

    Attributes:
        data: The data set.
        metric: The metric's name.
        higher_is_better: Which way it is better.
        split: The part of the data set; None: all.
        listed: Conditions on the listing of an adapter.
        limit: The most rows.
    """

    data: _Data
    metric: str
    higher_is_better: bool
    split: str | None
    listed: list[ColumnElement[bool]]
    limit: int

    def best(
        self, connection: Connection, table: Table, *conditions: ColumnElement[bool]
    ) -> Sequence[Row[Any]]:
        """The best rows of a table of values that newest versions have."""
        # Not a join: that would sort all adapters of the task to find the few best.
        newest = exists().where(LISTINGS.c.revision_id == table.c.revision_id, *self.listed)
        in_split = [] if self.split is None else [table.c.split == self.split]
        order = (table.c.value, table.c.revision_id)
        return connection.execute(
            select(table)
            .where(*conditions, *in_split, newest.correlate(table))
            .order_by(*(c.desc() if self.higher_is_better else c.asc() for c in order))
            .limit(self.limit)
        ).all()


def leaderboard(
    catalog: "Catalog",
    dataset: str,
    *,
    metric: str | None = None,
    split: str | None = None,
    task: str | None = None,
    base: str | None = None,
    limit: int = 20,
    reader: Reader | None = None,
) -> tuple[Rank, ...]:
    """Rank adapters by a metric on a data set, the best first; of each, the newest version.

    A recorded measurement on these rows counts before the metrics of the manifest; of several
    measurements, the newest counts.

    Args:
        catalog: The registry.
        dataset: The data set: its name; its name with the digest of its rows, such as
            ``reviews.csv#0123456789ab``; or its name with ``#``, if no digest is known. The name is
            enough if only one data set has it.
        metric: The metric's name; default: of those on `dataset`, the first in the alphabet.
        split: The part of the data set; default: all, so an adapter may occur twice.
        task: The exact task; default: any.
        base: As in `search`; default: any.
        limit: At most this many, from 1 to 1000.
        reader: The reader on a hub; adapters, metrics and data sets that they may not read do not
            count. Default: the owner of the registry, who may read everything.

    Raises:
        InvalidNameError: `limit` is out of range, or a text cannot be stored.
        AmbiguousDataSetError: Data sets with other rows have the same name.
    """
    if not 1 <= limit <= 1000:
        raise InvalidNameError(f"A leaderboard has 1 to 1000 rows, not {limit}.", limit)
    check_texts(dataset=dataset, metric=metric, split=split, task=task, base=base)
    with catalog.database.read() as connection:
        view = _View(connection, reader)
        data = _find_data(view, dataset)
        kind = None if data is None else _find_kind(view, data, metric)
        of_base = None if base is None else has_base(connection, base)
        if data is None or kind is None or (base is not None and of_base is None):
            return ()
        name, higher_is_better = kind
        listed: list[ColumnElement[bool]] = []
        if task is not None:
            listed.append(LISTINGS.c.task == task)
        if of_base is not None:
            listed.append(of_base)
        if reader is not None:
            listed.append(may_read(reader))
        asked = _Question(data, name, higher_is_better, split, listed, limit)
        found = [*_measured(connection, asked), *_came_with(connection, asked)]
        found.sort(key=lambda one: (one[1].value, one[0]), reverse=higher_is_better)
        del found[limit:]
        chosen = select_versions().where(REVISIONS.c.id.in_({one[0] for one in found}))
        versions = {row.id: version for row, version in load_rows(connection, chosen)}
    return tuple(Rank(versions[key], metric, recorded) for key, metric, recorded in found)


def name_exactly(dataset: str) -> str:
    """Return the name of a data set in a form that no other of the same name has."""
    return dataset if _WITH_DIGEST.fullmatch(dataset) else f"{dataset}#"


_Found = tuple[int, Metric, Measurement | None]


def _measured(connection: Connection, asked: _Question) -> list[_Found]:
    """The best recorded measurements; for each version, the newest on these rows."""
    if asked.data.digest is None:
        return []
    newer = MEASUREMENTS.alias()
    is_newer = or_(
        newer.c.measured_at > MEASUREMENTS.c.measured_at,
        and_(
            newer.c.measured_at == MEASUREMENTS.c.measured_at,
            newer.c.position > MEASUREMENTS.c.position,
        ),
    )
    same = (newer.c[name] == MEASUREMENTS.c[name] for name in ("revision_id", "metric"))
    outdated = exists().where(*same, _has_digest(asked.data.digest, newer), is_newer)
    rows = asked.best(
        connection,
        MEASUREMENTS,
        _has_digest(asked.data.digest),
        MEASUREMENTS.c.metric == asked.metric,
        ~outdated.correlate(MEASUREMENTS),
    )
    found: list[_Found] = []
    for row in rows:
        one = measurement_of(row)
        shown = Metric(
            dataset=one.data,
            split=one.split,
            name=one.metric,
            value=one.value,
            higher_is_better=one.higher_is_better,
        )
        found.append((row.revision_id, shown, one))
    return found


def _came_with(connection: Connection, asked: _Question) -> list[_Found]:
    """The best metrics of versions without recorded measurements on these rows."""
    conditions = [METRICS.c.dataset.in_(asked.data.names), METRICS.c.name == asked.metric]
    if asked.data.digest is not None:
        recorded = exists().where(
            MEASUREMENTS.c.revision_id == METRICS.c.revision_id,
            MEASUREMENTS.c.metric == METRICS.c.name,
            _has_digest(asked.data.digest),
        )
        conditions.append(~recorded.correlate(METRICS))
    fields = (*Metric.model_fields,)
    return [
        (row.revision_id, Metric(**{name: row._mapping[name] for name in fields}), None)
        for row in asked.best(connection, METRICS, *conditions)
    ]


def _has_digest(digest: str, table: FromClause = MEASUREMENTS) -> ColumnElement[bool]:
    # A range rather than LIKE, which SQLite answers without the index.
    within: ColumnElement[bool] = table.c.data_sha256.between(digest, f"{digest}g")
    return within


def _find_kind(view: _View, data: _Data, metric: str | None) -> tuple[str, bool] | None:
    """The metric to rank by, and whether higher is better; None if it was not measured."""
    statements = [
        select(METRICS.c.name, METRICS.c.higher_is_better).where(
            METRICS.c.dataset.in_(data.names), *view.seen(METRICS)
        )
    ]
    names = [METRICS.c.name]
    if data.digest is not None:
        recorded = select(MEASUREMENTS.c.metric, MEASUREMENTS.c.higher_is_better)
        seen = view.seen(MEASUREMENTS)
        statements.append(recorded.where(_has_digest(data.digest), *seen))
        names.append(MEASUREMENTS.c.metric)
    kinds = []
    for statement, name in zip(statements, names, strict=True):
        if metric is not None:
            statement = statement.where(name == metric)
        kinds += [(*row,) for row in view.connection.execute(statement.order_by(name).limit(1))]
    return min(kinds, key=lambda kind: kind[0], default=None)


def _find_data(view: _View, dataset: str) -> _Data | None:
    """The data set of a name, with or without the digest of its rows; None if there is none.

    Raises:
        AmbiguousDataSetError: Data sets with other rows have the same name.
    """
    parts = _WITH_DIGEST.fullmatch(dataset)
    if parts is not None and not parts[2]:
        return _Data(frozenset({parts[1]}), None)
    if parts is not None:
        return _with_digest(view, parts[1], parts[2])
    connection, of_metrics = view.connection, view.seen(METRICS)
    exact = select(METRICS.c.dataset).where(METRICS.c.dataset == dataset, *of_metrics).limit(1)
    # A range rather than LIKE, which SQLite answers without the index; digits end before g.
    digits = METRICS.c.dataset.between(f"{dataset}#", f"{dataset}#g")
    named = select(METRICS.c.dataset).where(digits, *of_metrics).distinct()
    recorded = (
        select(MEASUREMENTS.c.data_sha256)
        .where(MEASUREMENTS.c.dataset == dataset, *view.seen(MEASUREMENTS))
        .distinct()
    )
    found = {
        row.dataset
        for row in connection.execute(named)
        if (one := _WITH_DIGEST.fullmatch(row.dataset)) and one[1] == dataset
    }
    found |= {f"{dataset}#{digest[:DIGITS]}" for digest in connection.scalars(recorded)}
    if connection.execute(exact).first() is not None:
        found.add(f"{dataset}#")
    if len(found) > 1:
        names = sorted(found)
        raise AmbiguousDataSetError(
            f"{len(names)} data sets with other rows are called {dataset}: {listed(names)}. "
            "Values that were measured on one cannot be ranked with those of another.",
            dataset,
            given=dataset,
            found=names,
        )
    return _find_data(view, found.pop()) if found else None


def _with_digest(view: _View, name: str, digest: str) -> _Data:
    """The data set with a digest, under all names in its measurements.

    No index finds the metrics of manifests by the digest alone.
    """
    others = view.connection.scalars(
        select(MEASUREMENTS.c.dataset)
        .where(_has_digest(digest), *view.seen(MEASUREMENTS))
        .distinct()
    )
    short = digest[:DIGITS]
    return _Data(frozenset(f"{one}#{short}" for one in {name, *others}), digest)
