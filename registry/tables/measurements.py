"""Measurements of a version after its publication: rows that the log has, too."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError
from sqlalchemy import Connection, delete, insert, select

from registry.errors import DamagedDatabaseError
from registry.fields import Finite, Positive, Word
from registry.refs import AdapterRef
from registry.storage.files import Digest
from registry.tables.listings import list_newest
from registry.tables.models import MEASUREMENTS, REPOSITORIES, REVISIONS
from registry.tables.versions import AnyRow, Version, batches

DIGITS = 12
"""Digits of the digest of rows that stand after the name of a data set."""


class Measurement(BaseModel):
    """A number, measured on rows with a known digest.

    Attributes:
        metric: For example ``accuracy``.
        value: Finite, in the metric's own unit.
        higher_is_better: False for losses and errors.
        low: The lower end of the 95 % confidence interval of `value`; None if there is none.
        high: Its upper end.
        rows: How many rows were measured on.
        data_sha256: Digest of these rows, as `Training.data_sha256` is of those of a training.
        dataset: The name of the data; other data may have the same name.
        split: The part of it, for example ``test``.
        measured_at: The time, in UTC.
        actor: The user of the process.
        hubkit: The version of hubkit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    metric: Word
    value: Finite
    higher_is_better: bool
    low: Finite | None = None
    high: Finite | None = None
    rows: Positive
    data_sha256: Digest
    dataset: Word
    split: Word
    measured_at: AwareDatetime
    actor: Annotated[str, StringConstraints(max_length=256)]
    hubkit: Word

    @property
    def data(self) -> str:
        """The name of the data with the digest of its rows, as in metrics of trainings."""
        return f"{self.dataset}#{self.data_sha256[:DIGITS]}"


_COLUMNS = (*Measurement.model_fields,)


def measurement_rows(
    revision_id: int, measurements: Iterable[Measurement], start: int = 0
) -> list[dict[str, Any]]:
    """Return the rows of measurements of a revision, the first at position `start`."""
    return [
        {"revision_id": revision_id, "position": position, **dict(one)}
        for position, one in enumerate(measurements, start)
    ]


def measured(details: Mapping[str, Any]) -> list[Measurement]:
    """Return the measurements in an entry of the log."""
    return [Measurement.model_validate(one) for one in details["measurements"]]


def load_measurements(
    connection: Connection, versions: Collection[Version]
) -> dict[AdapterRef, tuple[Measurement, ...]]:
    """Return the measurements of some versions, by their refs, the newest first."""
    wanted = {version.ref for version in versions}
    found: dict[AdapterRef, list[Measurement]] = defaultdict(list)
    for batch in batches(sorted({version.manifest_digest for version in versions})):
        rows = connection.execute(
            select(REPOSITORIES.c.owner, REPOSITORIES.c.name, REVISIONS.c.number, MEASUREMENTS)
            .join_from(MEASUREMENTS, REVISIONS, REVISIONS.c.id == MEASUREMENTS.c.revision_id)
            .join(REPOSITORIES, REPOSITORIES.c.id == REVISIONS.c.repository_id)
            .where(REVISIONS.c.manifest_digest.in_(batch), REVISIONS.c.number.is_not(None))
            .order_by(MEASUREMENTS.c.measured_at.desc(), MEASUREMENTS.c.position)
        )
        for row in rows:
            ref = AdapterRef(row.owner, row.name, version=row.number)
            if ref in wanted:
                found[ref].append(measurement_of(row))
    return {ref: tuple(ones) for ref, ones in found.items()}


def measurement_of(row: AnyRow) -> Measurement:
    """Return the measurement in a row with the columns of the table.

    Raises:
        DamagedDatabaseError: It is no measurement.
    """
    try:
        return Measurement(**{name: row._mapping[name] for name in _COLUMNS})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise DamagedDatabaseError(
            f"The database is damaged: a row of measurements has a malformed {field}: "
            f"{problem['msg']}.",
            field,
        ) from error


def counting(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return the measurements that count: for each metric and rows, the newest, listed first."""
    found: dict[tuple[str, str], Measurement] = {}
    for one in measurements:
        found.setdefault((one.metric, one.data_sha256), one)
    return [*found.values()]


def unrecorded(
    connection: Connection, revision_id: int, given: Iterable[Measurement]
) -> list[Measurement]:
    """Return the measurements that are not stored yet.

    One with the value of the newest stored for its metric and rows is not new. Neither is one that
    a second pull brings again.
    """
    there = [
        measurement_of(row)
        for row in connection.execute(
            select(MEASUREMENTS).where(MEASUREMENTS.c.revision_id == revision_id)
        )
    ]
    known = set(there)
    newest: dict[tuple[str, str], tuple[datetime, float]] = {}
    for one in there:
        key, found = (one.metric, one.data_sha256), (one.measured_at, one.value)
        newest[key] = max(newest.get(key, found), found, key=lambda pair: pair[0])
    new = []
    for one in sorted(given, key=lambda one: one.measured_at):
        key, last = (one.metric, one.data_sha256), newest.get((one.metric, one.data_sha256))
        if one in known or (last is not None and last[1] == one.value):
            continue
        new.append(one)
        known.add(one)
        if last is None or last[0] <= one.measured_at:
            newest[key] = one.measured_at, one.value
    return new


def add_measurements(
    connection: Connection, revision: AnyRow, measurements: Sequence[Measurement]
) -> None:
    """Insert measurements after the existing ones, and update the listing of the adapter.

    Args:
        connection: A transaction that writes.
        revision: Has the revision's ``id`` and ``repository_id``.
        measurements: The measurements to add.
    """
    last = connection.scalar(
        select(MEASUREMENTS.c.position)
        .where(MEASUREMENTS.c.revision_id == revision.id)
        .order_by(MEASUREMENTS.c.position.desc())
        .limit(1)
    )
    start = 0 if last is None else last + 1
    connection.execute(insert(MEASUREMENTS), measurement_rows(revision.id, measurements, start))
    list_newest(connection, revision.repository_id)


def rewrite_measurements(
    connection: Connection, revision_id: int, measurements: Sequence[Measurement]
) -> None:
    """Write all measurements of a revision again."""
    connection.execute(delete(MEASUREMENTS).where(MEASUREMENTS.c.revision_id == revision_id))
    if rows := measurement_rows(revision_id, measurements):
        connection.execute(insert(MEASUREMENTS), rows)
