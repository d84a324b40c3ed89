"""The log: who did what to which name, and when; every entry's hash covers the one before it.

An entry is appended in the transaction of the change it tells of, so neither is there without the
other. The hash makes alterations show: whoever notes the last one can tell later that nothing up to
it was changed. Each entry is written to a file too, before the commit, so that the database can be
made anew from blobs and entries; see `registry.maintenance.rebuild`.
"""

import getpass
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy import Row, Table, insert, select, update
from sqlalchemy.orm import Session

from registry.errors import DatabaseError, ManifestError
from registry.fields import Json
from registry.refs import AdapterRef
from registry.storage.files import Digest
from registry.storage.records import RecordStore
from registry.tables.models import LogEntry

Action = Literal[
    "publish",
    "alias",
    "unalias",
    "yank",
    "unyank",
    "delete",
    "gc",
    "quarantine",
    "fetch",
    "rebuild",
]

START = "0" * 64
"""What the first entry has for the hash of the one before it."""

_BATCH = 1000

# Without the ORM: a registry may have a million entries, and each is read or written once.
_LOG: Table = LogEntry.metadata.tables["log"]
_HEAD: Table = LogEntry.metadata.tables["log_head"]


class Entry(BaseModel):
    """One change of the catalog.

    Attributes:
        record: Always 1: the schema of this.
        sequence: Its place in the log, from 1 on without a gap.
        at: When, in UTC.
        actor: Who: the user of the process.
        action: What.
        name: To which adapter, without version; empty if to none.
        details: What else there is to know; enough to do it again.
        previous: The hash of the entry before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    record: Literal[1] = 1
    sequence: Annotated[int, Field(ge=1, lt=2**63)]
    at: str
    actor: Annotated[str, StringConstraints(max_length=256)]
    action: Action
    name: Annotated[str, StringConstraints(max_length=256)]
    details: Mapping[str, Json]
    previous: Digest

    @property
    def hash(self) -> str:
        """SHA-256 of `to_json()`."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Return the canonical bytes of the entry's file."""
        return _canonical(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, content: bytes, source: str) -> Self:
        """Read an entry's file.

        Raises:
            ManifestError: It is not one.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise ManifestError(f"{source} is no entry of a log: {problem}.", source) from error


@dataclass(frozen=True, slots=True)
class Chain:
    """What is wrong with a log.

    Attributes:
        length: How many entries it should have.
        hash: The hash of the last one, to compare with what was noted earlier.
        problems: Sentences, each of which names an entry; none if the log is sound.
    """

    length: int
    hash: str
    problems: tuple[str, ...]


class Log:
    """The log of one registry.

    Args:
        root: The registry's folder.
    """

    def __init__(self, root: Path) -> None:
        """Touch nothing yet."""
        self.records = RecordStore(root)

    def append(
        self, session: Session, action: Action, ref: AdapterRef | None = None, **details: Any
    ) -> None:
        """Add an entry; the last thing to do in a write transaction.

        From here to the commit, others wait: the entry's place in the log is taken.

        Args:
            session: The transaction of the change.
            action: What was done.
            ref: To which adapter; default: to none.
            details: JSON values; those that are None are left out.

        Raises:
            StorageError: The entry's file cannot be written.
        """
        head = session.execute(
            update(_HEAD)
            .values(sequence=_HEAD.c.sequence + 1)
            .returning(_HEAD.c.sequence, _HEAD.c.hash)
        ).one()
        entry = Entry(
            sequence=head.sequence,
            at=datetime.now(UTC).isoformat(),
            actor=current_user(),
            action=action,
            name=str(ref.repository) if ref else "",
            details={key: value for key, value in details.items() if value is not None},
            previous=head.hash,
        )
        self.write(session, entry)
        if head.sequence > 1 and not self.records.has(head.sequence - 1):
            self.write_missing_records(session, head.sequence - 1)

    def write(self, session: Session, entry: Entry) -> None:
        """Make `entry` the last one: its row, the head and its file.

        Raises:
            StorageError: The entry's file cannot be written.
        """
        content = entry.to_json()
        digest = hashlib.sha256(content).hexdigest()
        session.execute(
            insert(_LOG).values(
                sequence=entry.sequence,
                at=datetime.fromisoformat(entry.at),
                actor=entry.actor,
                action=entry.action,
                name=entry.name,
                folded=AdapterRef.parse(entry.name).folded if entry.name else "",
                details=_canonical(entry.details).decode(),
                previous=entry.previous,
                hash=digest,
            )
        )
        session.execute(update(_HEAD).values(sequence=entry.sequence, hash=digest))
        self.records.put(entry.sequence, content)

    def entries(self, session: Session, ref: AdapterRef | None = None) -> Iterator[Entry]:
        """Yield the entries about an adapter, or all of them, oldest first.

        Raises:
            DatabaseError: An entry cannot be read, because somebody altered it.
        """
        return map(_entry, _rows(session, ref))

    def verify(self, session: Session) -> Chain:
        """Follow the chain from the first entry to the last."""
        head = session.execute(select(_HEAD)).first()
        if head is None:
            return Chain(0, START, ("The log has lost its head, the row of the table log_head.",))
        problems = []
        expected, previous = 1, START
        for row in _rows(session):
            if row.sequence != expected:
                problems.append(f"{_span(expected, row.sequence - 1)} missing from the log.")
            elif row.previous != previous:
                problems.append(f"Entry {row.sequence} does not follow the one before it.")
            try:
                intact = _entry(row).hash == row.hash
            except DatabaseError:
                intact = False
            if not intact:
                problems.append(f"Entry {row.sequence} was altered: its hash is another.")
            expected, previous = row.sequence + 1, row.hash
        if expected <= head.sequence:
            problems.append(f"{_span(expected, head.sequence)} missing from the end of the log.")
        elif (expected - 1, previous) != (head.sequence, head.hash):
            problems.append(f"Entry {expected - 1} is not the one that the log's head names.")
        return Chain(head.sequence, head.hash, tuple(problems))

    def missing_records(self, session: Session) -> list[int]:
        """Return the entries whose file is missing, or holds something else."""
        return [
            entry.sequence
            for entry in self.entries(session)
            if self.records.get(entry.sequence) != entry.to_json()
        ]

    def write_missing_records(self, session: Session, last: int) -> None:
        """Write the files of the entries up to `last`, back to the first that is there.

        Raises:
            StorageError: A file cannot be written.
        """
        while last >= 1 and not self.records.has(last):
            row = session.execute(select(_LOG).where(_LOG.c.sequence == last)).first()
            if row is not None:
                self.records.put(last, _entry(row).to_json())
            last -= 1


def current_user() -> str:
    """Return the name of the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return "unknown"


def _rows(session: Session, ref: AdapterRef | None = None) -> Iterator[Row[Any]]:
    after = 0
    while True:
        statement = select(_LOG).where(_LOG.c.sequence > after)
        if ref is not None:
            statement = statement.where(_LOG.c.folded == ref.folded)
        rows = session.execute(statement.order_by(_LOG.c.sequence).limit(_BATCH)).all()
        if not rows:
            return
        yield from rows
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
        raise DatabaseError(
            f"Entry {row.sequence} of the log cannot be read: {error}. Somebody altered it; "
            "restore a backup, or run `hubkit rebuild`.",
            row.sequence,
        ) from error


def _canonical(value: object) -> bytes:
    return json.dumps(
        dict(value) if isinstance(value, Mapping) else value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    ).encode()


def _span(first: int, last: int) -> str:
    return f"Entry {first} is" if first == last else f"Entries {first} to {last} are"
