"""Record measurements beside a version, which itself never changes."""

from collections.abc import Sequence

from sqlalchemy import Connection

from registry.refs import AdapterRef
from registry.store import Store
from registry.tables.lookup import find_row
from registry.tables.measurements import (
    Measurement,
    add_measurements,
    load_measurements,
    unrecorded,
)
from registry.tables.versions import Version

_BATCH = 200
"""Measurements in one entry of the log: the size of an entry is limited."""


def record_measurements(
    store: Store, ref: AdapterRef, measurements: Sequence[Measurement]
) -> list[Measurement]:
    """Add measurements of a version, and return those that are new; see `Catalog.record`."""
    new: list[Measurement] = []
    for start in range(0, len(measurements), _BATCH):
        batch = measurements[start : start + _BATCH]

        def change(connection: Connection, batch: Sequence[Measurement] = batch) -> None:
            row, version = find_row(connection, ref)
            added = unrecorded(connection, row.id, batch)
            if not added:
                return
            add_measurements(connection, row, added)
            values = [one.model_dump(mode="json") for one in added]
            store.log.append(
                connection, "measure", version.ref, number=version.number, measurements=values
            )
            new.extend(added)

        store.database.transact(change)
    return new


def copy_measurements(version: Version, source: Store, target: Store, copied: Version) -> None:
    """Copy the measurements of a version in one registry to its copy in another."""
    with source.database.read() as connection:
        measured = load_measurements(connection, [version]).get(version.ref, ())
    record_measurements(target, copied.ref, measured[::-1])
