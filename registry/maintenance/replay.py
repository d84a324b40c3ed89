"""Apply the entries in the records of a log to a database."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from registry.accounts.from_log import apply_entry
from registry.errors import (
    AlteredLogError,
    CorruptBlobError,
    HubkitError,
    ManifestError,
    NotFoundError,
    reason_of,
)
from registry.history.from_log.replay import HISTORY, replay_history, replay_publication
from registry.history.from_log.trails import Trails, subject
from registry.history.versions import is_committed
from registry.log.entry import Entry
from registry.log.records import RecordStore
from registry.places import Kind, folded_name
from registry.refs import AdapterRef
from registry.store import Store
from registry.tables.edit import delete_adapter, drop_alias, point_alias, set_yank
from registry.tables.lookup import find_row
from registry.tables.measurements import add_measurements, measured
from registry.tables.origins import set_origin
from registry.tables.record import Publication, record_version, reserve_number


class Records:
    """The entries in the records that count, in order.

    Args:
        records: The records.
        known: The number of the last entry that the database has.
        head: The hash of that entry, which the next one names.

    Attributes:
        last: The highest number of a record.
        problems: A sentence for each record that is missing or does not count; complete after one
            pass over the entries.
    """

    def __init__(self, records: RecordStore, known: int, head: str) -> None:
        """List them."""
        self._records, self._known, self._head = records, known, head
        self._pending: dict[int, list[str]] = defaultdict(list)
        for sequence, digest in records.pending():
            self._pending[sequence].append(digest)
        self._settled = max(records.sequences(), default=0)
        self.last = max([self._settled, *self._pending])
        self.problems: list[str] = []
        self._lost: list[int] = []

    @property
    def lost(self) -> tuple[tuple[int, int], ...]:
        """The first and the last number of each span of lost entries."""
        spans: list[tuple[int, int]] = []
        for number in self._lost:
            if spans and spans[-1][1] == number - 1:
                spans[-1] = (spans[-1][0], number)
            else:
                spans.append((number, number))
        return tuple(spans)

    def __iter__(self) -> Iterator[Entry]:
        """Yield them.

        Raises:
            AlteredLogError: The first one does not follow the last entry of the database.
        """
        self.problems, self._lost = [], []
        here, then = self._following(self._known + 1), self._candidates(self._known + 2)
        for number in range(self._known + 1, self.last + 1):
            after = self._candidates(number + 2)
            chosen = self._choose(number, here, then, after)
            if chosen is not None:
                yield chosen
            elif number <= self._settled:  # one that was only put may be half-written: no loss
                self._note_lost(number, here)
            here, then = then, after

    def _note_lost(self, number: int, here: list[Entry]) -> None:
        if here:
            found = "other content than the entry after it says"
        else:
            found = "no entry that can be read" if self._records.has(number) else "nothing"
        self._lost.append(number)
        place = self._records.location(number)
        self.problems.append(
            f"Entry {number} of the log is lost: expected it in {place}, found {found}."
        )

    def _following(self, number: int) -> list[Entry]:
        """Return the candidates for the entry after the database's last one."""
        found = self._candidates(number)
        following = [entry for entry in found if entry.previous == self._head]
        if found and not following and number <= self._settled:
            place = self._records.location(number)
            raise AlteredLogError(
                f"{place} does not follow entry {number - 1} of the database: expected it to name "
                f"{self._head[:12]}, found {found[0].previous[:12]}. Another registry keeps its "
                "records there, or it was altered. Nothing was changed. Give each registry a "
                "storage of its own, or move that file away to continue without it.",
                place,
                expected=self._head,
                found=found[0].previous,
            )
        return following

    def _candidates(self, number: int) -> list[Entry]:
        """Return the candidates for an entry: the settled record first, then those only put."""
        found: dict[str, Entry] = {}
        for digest in (None, *self._pending.get(number, ())):
            content = self._records.get(number, digest)
            with suppress(ManifestError):
                entry = Entry.from_json(content or b"", self._records.location(number))
                if entry.sequence == number and digest in (None, entry.hash):
                    found.setdefault(entry.hash, entry)
        return [*found.values()]

    def _choose(
        self, number: int, here: list[Entry], then: list[Entry], after: list[Entry]
    ) -> Entry | None:
        """Return the entry of a number, given its candidates and those of the next two numbers.

        The hash of an entry is in the next one, and that of the last is in the name of its record.
        """
        claimed = {entry.previous for entry in then}
        named = self._pending.get(number, ())
        for entry in here:
            if entry.hash in claimed:
                return entry
        if number >= self._settled and named:
            return next((entry for entry in here if entry.hash in named), None)
        # The next one names another entry: it counts if it is named itself, or is the last.
        later = {entry.previous for entry in after} | {*self._pending.get(number + 1, ())}
        if any(entry.hash in later for entry in then) or (then and not after):
            return None
        return here[0] if here else None


class Replay:
    """Applies entries, and collects those that cannot be applied.

    Args:
        store: The registry, which has the manifests.
        entries: All entries to come. They tell which adapters are deleted later: the bytes of those
            may be missing.
    """

    def __init__(self, store: Store, entries: Iterable[Entry]) -> None:
        """Look for deletions and moves."""
        self._store = store
        changes = [entry for entry in entries if entry.action in ("delete", "move")]
        self._trails = Trails(changes)
        self._deleted = {
            self._trails.now(folded_name(*about)): entry.sequence
            for entry in changes
            if entry.action == "delete" and (about := subject(entry)) is not None
        }
        self.problems: list[str] = []

    def _is_gone(self, entry: Entry, kind: Kind, ref: AdapterRef) -> bool:
        """Whether the repository of an entry is deleted later."""
        name = self._trails.now(folded_name(kind, ref))
        return self._deleted.get(name, 0) > entry.sequence

    def apply(self, connection: Connection, entry: Entry) -> None:
        """Apply an entry; if that fails, add to the `problems`."""
        details = dict(entry.details)
        place = entry.name or str(details.get("repository", ""))
        try:
            with connection.begin_nested():
                about = subject(entry)
                if about is None:
                    apply_entry(connection, entry)
                    return
                kind, ref = about
                if entry.action in HISTORY or kind != "model":
                    is_gone = self._is_gone(entry, kind, ref)
                    replay_history(self._store, connection, entry, kind, ref, is_gone=is_gone)
                else:
                    self._apply(connection, entry, ref, details)
        except (HubkitError, KeyError, TypeError, ValueError) as error:
            if not isinstance(error, NotFoundError):  # its version is among the problems already
                what = f"{entry.action} {place}".rstrip()
                self.problems.append(f"Entry {entry.sequence} ({what}): {reason_of(error)}.")

    def _apply(
        self, connection: Connection, entry: Entry, ref: AdapterRef, details: dict[str, Any]
    ) -> None:
        match entry.action:
            case "publish":
                self._publish(connection, entry, ref, details)
            case "alias":
                point_alias(connection, ref.at(details["number"]), details["alias"])
            case "unalias":
                drop_alias(connection, ref, details["alias"])
            case "yank":
                at = datetime.fromisoformat(details["yanked_at"])
                set_yank(connection, ref.at(details["number"]), at, details["reason"])
            case "unyank":
                set_yank(connection, ref.at(details["number"]), None, None)
            case "measure":
                revision, _ = find_row(connection, ref.at(details["number"]))
                add_measurements(connection, revision, measured(details))
            case "delete":
                delete_adapter(connection, ref, datetime.fromisoformat(details["deleted_at"]))
            case _:
                pass

    def _publish(
        self, connection: Connection, entry: Entry, ref: AdapterRef, details: dict[str, Any]
    ) -> None:
        # In any case, its name and number are taken.
        created_at = datetime.fromisoformat(details["created_at"])
        reserve_number(connection, ref, details["number"], created_at)
        if self._is_gone(entry, "model", ref):
            return
        named = ref.at(details["number"])
        try:
            manifest = self._store.manifest(named, details["digest"])
        except (CorruptBlobError, ManifestError) as error:
            self.problems.append(f"{named} cannot be brought back. {error}")
            # Later commits can be brought back.
            with suppress(HubkitError), connection.begin_nested():
                replay_history(self._store, connection, entry, "model", ref)
            return
        publication = Publication.from_log(details)
        revision, is_new = record_version(connection, ref, manifest, publication)
        if not is_committed(connection, revision):
            try:
                with connection.begin_nested():
                    replay_publication(self._store, connection, entry, ref, revision, manifest)
            except HubkitError as error:
                self.problems.append(f"{named} is brought back without its commit. {error}")
        if not is_new and publication.origin is not None:
            # The database was taken back to a state from before the log and origins existed.
            set_origin(connection, revision, publication.origin)
