"""The names of repositories over time: an entry of the log has the name of its day."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, select

from registry.errors import AlteredLogError, InvalidNameError, reason_of
from registry.log.entry import Entry
from registry.places import Kind, folded_name, parse_place
from registry.refs import AdapterRef
from registry.store import Store
from registry.tables.models import LOG

_BATCH = 200


def subject(entry: Entry) -> tuple[Kind, AdapterRef] | None:
    """Return the kind and the name of an entry's repository; None if it is about none.

    Raises:
        InvalidNameError: No repository can have this name.
    """
    place = entry.name or entry.details.get("repository")
    return parse_place(str(place)) if place else None


class Trails:
    """The names that each repository had, from its moves in the log.

    A former name of a repository is never given to another: each name belongs to one for good.

    Args:
        entries: The entries with the action ``move``, in their order; others are ignored.

    Raises:
        InvalidNameError: An entry has a name that no repository can have.
        KeyError: An entry lacks the new name.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Follow the moves."""
        self._now: dict[str, str] = {}
        self._former: dict[str, set[str]] = defaultdict(set)
        for entry in entries:
            about = subject(entry)
            if entry.action == "move" and about is not None:
                self._move(folded_name(*about), folded_name(*parse_place(str(entry.details["to"]))))

    def _move(self, before: str, after: str) -> None:
        before = self.now(before)
        names = ({before} | self._former.pop(before, set())) - {after}
        self._now.pop(after, None)
        self._now.update(dict.fromkeys(names, after))
        if names:
            self._former[after] = names

    def now(self, folded: str) -> str:
        """Return the current name of the repository that has this name, or had it."""
        return self._now.get(folded, folded)

    def former(self, folded: str) -> frozenset[str]:
        """Return the former names of the repository that has this name now."""
        return frozenset(self._former.get(folded, ()))


def read_trails(store: Store) -> Trails:
    """Return the names that repositories had.

    Raises:
        AlteredLogError: A move cannot be understood.
    """
    with store.database.read() as connection:
        moves = [*store.log.entries(connection, actions=["move"])]
    for entry in moves:
        with understood(entry):
            Trails([entry])
    return Trails(moves)


def name_pages(store: Store, trails: Trails) -> Iterator[list[str]]:
    """Yield the current names of all adapters in the log, in batches."""
    last, moved = "", set[str]()
    while True:
        with store.database.read() as connection:
            names = connection.scalars(
                select(LOG.c.folded)
                .where(LOG.c.folded > last)
                .distinct()
                .order_by(LOG.c.folded)
                .limit(_BATCH)
            ).all()
        if not names:
            return
        last, page = names[-1], []
        for name in map(trails.now, names):
            if name not in moved:
                page.append(name)
                if trails.former(name):  # there may be entries under several names
                    moved.add(name)
        yield page


def entries_about(
    store: Store, connection: Connection, names: Collection[str], trails: Trails
) -> Iterator[tuple[Entry, str]]:
    """Yield all entries about adapters with some current names, oldest first, each with the name.

    Raises:
        DatabaseError: An entry cannot be read, because it was altered.
    """
    ever = {*names}.union(*map(trails.former, names))
    for entry in store.log.entries(connection, sorted(ever)):
        yield entry, trails.now(AdapterRef.parse(entry.name).folded)


@contextmanager
def understood(entry: Entry) -> Iterator[None]:
    """Refuse an entry that cannot be understood.

    Raises:
        AlteredLogError: In place of an error in the block that says so.
    """
    try:
        yield
    except (InvalidNameError, KeyError, TypeError, ValueError) as error:
        raise AlteredLogError(
            f"Entry {entry.sequence} of the log does not say what was done to which repository "
            f"({reason_of(error)}): it was altered.",
            entry.sequence,
        ) from error
