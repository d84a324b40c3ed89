"""The log: who did what to which name, and when. The hash of each entry covers the one before it.

An entry is appended in the transaction of its change, so neither exists without the other. The
hashes show alterations: with a copy of the last hash, one can check later that no entry before it
changed. Each entry is also written to the records before the commit, and gets its final name there
after it. So the database can be made again from blobs and records; see `registry.log.records` and
`registry.maintenance.rebuild`.
"""

import getpass
import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from registry.database.database import after_commit
from registry.errors import (
    AlteredLogError,
    AlteredRowsError,
    DamagedDatabaseError,
    DatabaseError,
    OutdatedDatabaseError,
    StorageError,
    reason_of,
)
from registry.fields import check_text
from registry.log.entry import Action, Entry, canonical
from registry.log.records import RecordStore
from registry.refs import AdapterRef
from registry.tables.models import LOG, LOG_HEAD
from registry.tables.versions import Version

START = "0" * 64
"""The hash before that of the first entry."""

_BATCH = 1000
_LOST_HEAD = "The log has lost its head, the row of the table log_head."

_ADD_ENTRY = insert(LOG)  # built once, as in `registry.tables.record`


@dataclass(frozen=True, slots=True)
class Chain:
    """The result of verifying a log.

    Attributes:
        length: How many entries it should have.
        hash: The hash of the last one, to compare with an earlier copy.
        problems: A sentence for each problem; empty if the log is sound.
        lost: A sentence for each span of entries that a rebuild could not bring back.
    """

    length: int
    hash: str
    problems: tuple[str, ...]
    lost: tuple[str, ...] = ()


class Log:
    """The log of one registry.

    Args:
        records: The records, beside the database.
    """

    def __init__(self, records: RecordStore) -> None:
        """Touch nothing yet."""
        self.records = records

    @staticmethod
    def head(connection: Connection) -> tuple[int, str]:
        """Return the number of the last entry, 0 if there is none, and its hash."""
        row = connection.execute(select(LOG_HEAD)).first()
        return (row.sequence, row.hash) if row else (0, START)

    @staticmethod
    def lock(connection: Connection) -> None:
        """Keep other processes from appending an entry until this transaction ends."""
        connection.execute(select(LOG_HEAD).with_for_update())

    @staticmethod
    def holds(connection: Connection, sequence: int, hash: str) -> bool:
        """Whether the log has this entry: a log that ends with it is an earlier state."""
        found = connection.scalar(select(LOG.c.hash).where(LOG.c.sequence == sequence))
        return sequence == 0 or found == hash

    def append(
        self,
        connection: Connection,
        action: Action,
        ref: AdapterRef | None = None,
        *,
        actor: str | None = None,
        **details: Any,
    ) -> None:
        """Add an entry; the last step of a write transaction.

        From here to the commit, other writers wait: the entry's place in the log is taken.

        Args:
            connection: The transaction of the change.
            action: The kind of the change.
            ref: The adapter; default: none.
            actor: Who made the change; default: the user of this process.
            details: JSON values; those that are None are left out.

        Raises:
            DatabaseError: The records are of another registry, the database is older than they are,
                or the log does not end with the entry in its head.
            StorageError: The entry's file cannot be written.
        """
        head = connection.execute(select(LOG_HEAD).with_for_update()).first()
        if head is None:
            raise DamagedDatabaseError(_LOST_HEAD)
        last, previous = head.sequence, head.hash
        # After a rebuild, the head may count lost entries at the end.
        if action != "rebuild" and not self.holds(connection, last, previous):
            raise DamagedDatabaseError(
                f"The log does not end with entry {last} ({previous[:12]}), which its head names: "
                "one of them was altered.",
                last,
            )
        entry = Entry(
            sequence=last + 1,
            at=datetime.now(UTC).isoformat(),
            actor=current_user() if actor is None else actor,
            action=action,
            name=str(ref.repository) if ref else "",
            details={key: value for key, value in details.items() if value is not None},
            previous=previous,
        )
        self.write_missing_records(connection, last)
        self._require_latest(last)
        self.insert(connection, entry)
        content = entry.to_json()
        self.records.put(entry.sequence, content)
        after_commit(connection, partial(self._settle, entry.sequence, content, previous))

    def append_publication(
        self,
        connection: Connection,
        version: Version,
        *,
        actor: str | None = None,
        origin: str | None = None,
        **committed: Any,
    ) -> None:
        """Add the entry of a new version, with the facts that its manifest does not have.

        Args:
            connection: The transaction that recorded it.
            version: The version.
            actor: Who published it; default: the user of this process.
            origin: Where it was pulled from; default: not pulled.
            committed: The result of `registry.history.steps.details_of` for its commit.
        """
        self.append(
            connection,
            "publish",
            version.ref,
            actor=actor,
            number=version.number,
            digest=version.manifest_digest,
            author=version.author,
            message=version.message,
            created_at=version.created_at.isoformat(),
            yanked_at=version.yanked_at.isoformat() if version.yanked_at else None,
            yank_reason=version.yank_reason,
            origin=origin,
            **committed,
        )

    @staticmethod
    def insert(connection: Connection, entry: Entry) -> None:
        """Insert the row of `entry` as the last one."""
        digest = entry.hash
        connection.execute(
            _ADD_ENTRY,
            {
                "sequence": entry.sequence,
                "at": datetime.fromisoformat(entry.at),
                "actor": entry.actor,
                "action": entry.action,
                "name": entry.name,
                "folded": _folded(entry.name),
                "details": canonical(entry.details).decode(),
                "previous": entry.previous,
                "hash": digest,
            },
        )
        connection.execute(update(LOG_HEAD).values(sequence=entry.sequence, hash=digest))

    def entries(
        self,
        connection: Connection,
        names: Sequence[str] | None = None,
        *,
        actions: Collection[Action] | None = None,
        sequences: Collection[int] | None = None,
    ) -> Iterator[Entry]:
        """Yield the entries about some adapters, oldest first.

        Args:
            connection: A transaction.
            names: The names of the adapters, as in `AdapterRef.folded`; default: all entries.
            actions: The kinds of the changes; default: any.
            sequences: The numbers of the entries; default: any.

        Raises:
            DatabaseError: An entry cannot be read, because it was altered.
        """
        conditions = [
            column.in_(wanted)
            for column, wanted in (
                (LOG.c.folded, names),
                (LOG.c.action, actions),
                (LOG.c.sequence, sequences),
            )
            if wanted is not None
        ]
        return map(_entry, _rows(connection, *conditions))

    def verify(self, connection: Connection) -> Chain:
        """Follow the chain from the first entry to the last."""
        head = connection.execute(select(LOG_HEAD)).first()
        if head is None:
            return Chain(0, START, (_LOST_HEAD,))
        problems = []
        gaps: list[tuple[int, int]] = []
        lost: dict[tuple[int, int], str] = {}
        expected, previous = 1, START
        for row in _rows(connection):
            if row.sequence != expected:
                gaps.append((expected, row.sequence - 1))
            elif row.previous != previous:
                problems.append(f"Entry {row.sequence} does not follow the one before it.")
            try:
                entry = _entry(row)
            except DatabaseError:
                entry = None
            if entry is None or entry.hash != row.hash:
                problems.append(f"Entry {row.sequence} was altered: its hash differs.")
            elif row.folded != _folded(entry.name):
                problems.append(
                    f"Entry {row.sequence} is filed under {row.folded!r}: expected "
                    f"{_folded(entry.name)!r}, from the name in it."
                )
            elif entry.action == "rebuild":
                spans: Any = entry.details.get("lost") or []
                for first, last in spans:
                    lost[first, last] = entry.at[:10]
            expected, previous = row.sequence + 1, row.hash
        if expected <= head.sequence:
            problems.append(f"{_span(expected, head.sequence)} missing from the end of the log.")
        elif (expected - 1, previous) != (head.sequence, head.hash):
            problems.append(f"Entry {expected - 1} is not the one that the log's head names.")
        problems += [f"{_span(*gap)} missing from the log." for gap in gaps if gap not in lost]
        gone = [
            f"{_span(*gap)} lost: the rebuild of {lost[gap]} could not bring them back."
            for gap in gaps
            if gap in lost
        ]
        return Chain(head.sequence, head.hash, tuple(problems), tuple(gone))

    def missing_records(self, connection: Connection) -> list[int]:
        """Return the entries whose record is missing or differs."""
        return [
            entry.sequence
            for entry in self.entries(connection)
            # A pending record counts only if there is no settled one: else nothing is appended.
            if entry.to_json()
            != (self.records.get(entry.sequence) or self.records.get(entry.sequence, entry.hash))
        ]

    def write_records(self, connection: Connection, sequences: Sequence[int]) -> None:
        """Write these entries to the records again.

        Raises:
            StorageError: One cannot be written.
        """
        for start in range(0, len(sequences), _BATCH):
            batch = sequences[start : start + _BATCH]
            rows = connection.execute(select(LOG).where(LOG.c.sequence.in_(batch)))
            self.records.write([(row.sequence, _entry(row).to_json()) for row in rows])

    def write_missing_records(self, connection: Connection, last: int) -> None:
        """If the record of `last` is missing, write the missing records up to it.

        Raises:
            DatabaseError: There are records of another registry.
            StorageError: A record cannot be written.
        """
        if self._require_own_record(connection, last):
            return
        settled = self._settle_if_put(connection, last)
        if settled and (last == 1 or self.records.has(last - 1)):
            return
        there = {sequence for sequence in self.records.sequences() if sequence < last}
        self._require_own_record(connection, max(there, default=0))
        logged = connection.scalars(select(LOG.c.sequence).where(LOG.c.sequence < last))
        self.write_records(connection, sorted({*logged} - there))
        # Last: this record means that all earlier ones are there.
        self.write_records(connection, [last])

    def settle_pending(self, connection: Connection) -> None:
        """Settle the pending records of this log's entries, also over damaged ones.

        Raises:
            StorageError: One cannot be written.
        """
        for sequence, _ in self.records.pending():
            self._settle_if_put(connection, sequence)

    def require_own_records(self, connection: Connection) -> None:
        """Refuse records of another registry, or of a later state.

        Raises:
            DatabaseError: There are such records.
        """
        last, _ = self.head(connection)
        self._require_own_record(connection, last)
        self._require_latest(last)

    def _require_own_record(self, connection: Connection, sequence: int) -> bool:
        """Refuse the record of an entry from another log; return whether there is a record."""
        content = self.records.get(sequence) if sequence else b""
        if content is None:
            return False
        digest = hashlib.sha256(content).hexdigest()
        row = connection.execute(select(LOG.c.hash).where(LOG.c.sequence == sequence)).first()
        if sequence and row is not None and row.hash != digest:  # no row: lost with a database
            raise AlteredRowsError(
                f"{self.records.location(sequence)} is not entry {sequence} of this registry's "
                "log: another registry keeps its records there, or it was altered. Give each "
                "registry a folder or a storage of its own. If this is the only one there, its "
                "records can be written again.",
                self.records.location(sequence),
            )
        return True

    def _settle_if_put(self, connection: Connection, sequence: int) -> bool:
        """Settle the pending record of a committed entry; return whether there was one.

        A process that is killed right after its commit leaves one. This needs no lock: the row is
        committed, and the record that it names never changes.
        """
        row = connection.execute(
            select(LOG.c.hash, LOG.c.previous).where(LOG.c.sequence == sequence)
        ).first()
        content = None if row is None else self.records.get(sequence, row.hash)
        if row is None or content is None or hashlib.sha256(content).hexdigest() != row.hash:
            return False
        self.records.settle(sequence, content, row.previous)
        return True

    def _settle(self, sequence: int, content: bytes, previous: str) -> None:
        # The change is committed, whatever comes of this; the next one does it otherwise.
        with suppress(StorageError):
            self.records.settle(sequence, content, previous)

    def _require_latest(self, last: int) -> None:
        # A record is settled after its commit: so the database has lost a change that was made.
        if self.records.has(last + 1):
            raise OutdatedDatabaseError(
                f"The database is older than the records beside it: its log ends with entry "
                f"{last}, but there are later ones in {self.records.location()}.",
                self.records.location(),
            )


def current_user() -> str:
    """Return the name of the user of this process.

    Raises:
        InvalidNameError: It cannot be stored.
    """
    try:
        return check_text("name of this process's user", getpass.getuser(), most=256)
    except (KeyError, OSError):  # a container may run as a number without a name
        return "unknown"


def _folded(name: str) -> str:
    return AdapterRef.parse(name).folded if name else ""


def _rows(connection: Connection, *conditions: ColumnElement[bool]) -> Iterator[Row[Any]]:
    after = 0
    while True:
        statement = select(LOG).where(LOG.c.sequence > after, *conditions)
        rows = connection.execute(statement.order_by(LOG.c.sequence).limit(_BATCH)).all()
        yield from rows
        if len(rows) < _BATCH:
            return
        after = rows[-1].sequence


def _entry(row: Row[Any]) -> Entry:
    try:
        return Entry(
            sequence=row.sequence,
            at=row.at.isoformat(),
            actor=row.actor,
            action=row.action,
            name=row.name,
            details=json.loads(row.details),
            previous=row.previous,
        )
    except ValueError as error:
        raise AlteredLogError(
            f"Entry {row.sequence} of the log cannot be read: {reason_of(error)}. It was altered.",
            row.sequence,
        ) from error


def _span(first: int, last: int) -> str:
    return f"Entry {first} is" if first == last else f"Entries {first} to {last} are"
