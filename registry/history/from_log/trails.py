"""What repositories were called: an entry of the log is filed under the name of its day."""

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
    """Return the kind and the name of what an entry is about; None if it is no repository.

    Raises:
        InvalidNameError: Nothing can be called that.
    """
    place = entry.name or entry.details.get("repository")
    return parse_place(str(place)) if place else None


class Trails:
    """The names that each repository had, as the log tells of its moves.

    A name that a repository once had is given to no other: each belongs to one of them for good.

    Args:
        entries: Those with the action ``move``, in their order; others do not matter.

    Raises:
        InvalidNameError: One names what nothing can be called.
        KeyError: One does not say where to.
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
        """Return what the repository is called now that is, or was, called this."""
        return self._now.get(folded, folded)

    def former(self, folded: str) -> frozenset[str]:
        """Return what else the repository was called that is called this now."""
        return frozenset(self._former.get(folded, ()))


def read_trails(store: Store) -> Trails:
    """Return what repositories were called.

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
    """Yield what all adapters in the log are called now, a batch a time."""
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
    """Yield all entries about adapters that are called some names now, oldest first, each with it.

    Raises:
        DatabaseError: An entry cannot be read, because somebody altered it.
    """
    ever = {*names}.union(*map(trails.former, names))
    for entry in store.log.entries(connection, sorted(ever)):
        yield entry, trails.now(AdapterRef.parse(entry.name).folded)


@contextmanager
def understood(entry: Entry) -> Iterator[None]:
    """Refuse an entry that cannot be understood.

    Raises:
        AlteredLogError: In place of what the block raises.
    """
    try:
        yield
    except (InvalidNameError, KeyError, TypeError, ValueError) as error:
        raise AlteredLogError(
            f"Entry {entry.sequence} of the log does not say what was done to what "
            f"({reason_of(error)}): somebody altered it.",
            entry.sequence,
        ) from error
