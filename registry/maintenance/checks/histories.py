"""Compare the history of each repository with the log, and write it again from there.

Where they may differ, what the log says is done again, in a transaction that is rolled back: the
rows must be the same.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Column, Connection, Select, select

from registry.catalog.catalog import Catalog
from registry.errors import (
    AlteredRowsError,
    CorruptBlobError,
    HubkitError,
    ManifestError,
    StorageError,
    reason_of,
)
from registry.history.cards import grams_of, listing_row
from registry.history.commits import find_branch
from registry.history.from_log.remake import Told, remake
from registry.history.from_log.trails import (
    Trails,
    entries_about,
    name_pages,
    read_trails,
    subject,
    understood,
)
from registry.history.repositories import find_repository
from registry.history.versions import complete_commits, facts_at, lacking_commits
from registry.log.entry import Entry
from registry.maintenance.findings import Finding
from registry.places import folded_name
from registry.tables.models import (
    ACCOUNTS,
    BRANCHES,
    COMMIT_TAGS,
    COMMITS,
    FORMER_NAMES,
    HUB_LISTINGS,
    HUB_TAGS,
    NAME_GRAMS,
    REPOSITORIES,
    REVISIONS,
    TREES,
)
from registry.tables.record import account_of
from registry.tables.versions import batches

_BATCH = 200
_COPIED = ("kind", "visibility", "library", "pipeline_tag", "card", "downloads")
_LISTED = ("listing", "words to find it by", "parts of its name")


def check_histories(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding for each repository whose history differs from the log.

    Those whose bytes are damaged that would tell are passed over: a check of the blobs names them.

    Args:
        catalog: Whose rows.
        repair: Whether to write such rows again.
    """
    for told, former in chain.from_iterable(_doubtful(catalog, page) for page in _pages(catalog)):
        try:
            different = _remake(catalog, told, former, keep=repair)
        except (CorruptBlobError, ManifestError, StorageError):
            continue
        except (HubkitError, KeyError, TypeError, ValueError) as error:
            yield Finding(
                f"{told.place}: its history cannot be compared with the log: {reason_of(error)}."
            )
            continue
        if different:
            text = f"{told.place}: the log says something else of its {', '.join(different)}."
            if repair:
                yield Finding(f"{text} It is as the log says again.", "repaired")
            else:
                yield Finding(text, about=AlteredRowsError)
    yield from _check_lacking(catalog, repair)  # of which the log does not tell


def describe(connection: Connection, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return all that the rows say of some repositories and their histories, without ids.

    Args:
        connection: A transaction.
        names: What they are called, as in `registry.history.repositories.folded_name`.
    """
    found = connection.execute(
        select(REPOSITORIES, ACCOUNTS.c.folded.label("account"))
        .outerjoin(ACCOUNTS, ACCOUNTS.c.id == REPOSITORIES.c.account_id)
        .where(REPOSITORIES.c.folded.in_(names))
    ).all()
    described: dict[int, dict[str, Any]] = {
        row.id: {
            "name": (row.owner, row.name),
            "kind": row.kind,
            "account": row.account,
            "visibility": row.visibility,
            "dates": (row.created_at, row.deleted_at),
        }
        for row in found
    }
    for part, id, rows in _parts():
        for one in described.values():
            one[part] = set()
        for row in connection.execute(rows.where(id.in_(described))):
            described[row[-1]][part].add(tuple(row[:-1]))
    return {row.folded: described[row.id] for row in found}


@cache
def _parts() -> tuple[tuple[str, Column[int], Select[Any]], ...]:
    """Return what the parts of a history are called, whose they are, and their rows."""
    return tuple((part, id, rows.add_columns(id)) for part, id, rows in _make_parts())


def _make_parts() -> Iterator[tuple[str, Column[int], Select[Any]]]:
    before, of = COMMITS.alias(), COMMITS.c.oid
    yield (
        "commits",
        COMMITS.c.repository_id,
        select(
            *(of, TREES.c.digest, before.c.oid, REVISIONS.c.manifest_digest),
            *(COMMITS.c.author, COMMITS.c.message, COMMITS.c.created_at, COMMITS.c.reason),
        )
        .select_from(COMMITS)
        .join(TREES, TREES.c.id == COMMITS.c.tree_id)
        .outerjoin(before, before.c.id == COMMITS.c.parent_id)
        .outerjoin(REVISIONS, REVISIONS.c.id == COMMITS.c.revision_id),
    )
    for part, table, more, copied in (
        ("branches", BRANCHES, (of,), ("name",)),
        ("tags", COMMIT_TAGS, (of,), ("name", "message", "created_at")),
        ("listing", HUB_LISTINGS, (of, ACCOUNTS.c.folded), _COPIED),
    ):
        rows = select(*more, *(table.c[name] for name in copied)).select_from(table)
        rows = rows.join(COMMITS, COMMITS.c.id == table.c.commit_id)
        if table is HUB_LISTINGS:
            rows = rows.outerjoin(ACCOUNTS, ACCOUNTS.c.id == HUB_LISTINGS.c.account_id)
        yield part, table.c.repository_id, rows
    for part, column in (
        ("former names", FORMER_NAMES.c.folded),
        ("words to find it by", HUB_TAGS.c.tag),
        ("parts of its name", NAME_GRAMS.c.gram),
    ):
        yield part, column.table.c.repository_id, select(column)


def _doubtful(
    catalog: Catalog, page: Sequence[tuple[Told, frozenset[str]]]
) -> list[tuple[Told, frozenset[str]]]:
    """Return those of some repositories whose rows may not be as the log says.

    To do again what the log says takes 5 ms and the right to write; to look, a tenth of that.
    """
    doubtful = []
    with catalog.database.read() as connection:
        rows = describe(connection, [told.folded for told, _ in page])
        owners = {told.owner for told, _ in page}
        accounts = {owner: _account(connection, owner) for owner in owners}
        for told, former in page:
            try:
                found = rows.get(told.folded, {})
                expected = _expected(told, former, accounts[told.owner])
                is_same = expected is not None and expected.items() <= found.items()
                if not is_same or not _is_listed(catalog, connection, told, found):
                    doubtful.append((told, former))
            except (HubkitError, KeyError, TypeError, ValueError):
                doubtful.append((told, former))
    return doubtful


def _account(connection: Connection, owner: str | None) -> str | None:
    id = account_of(connection, owner)
    return connection.scalar(select(ACCOUNTS.c.folded).where(ACCOUNTS.c.id == id))


def _expected(told: Told, former: frozenset[str], account: str | None) -> dict[str, Any] | None:
    """Return what `describe` should, without what is listed; None where only bytes tell."""
    state = told.state()
    if state is None:
        return None
    expected: dict[str, Any] = {
        "kind": told.kind,
        "account": account,
        "visibility": told.visibility,
        "former names": {(name,) for name in former},
        "commits": {(oid, *said) for oid, said in state.commits.items()},
        "branches": {(oid, name) for name, oid in state.branches.items()},
        "tags": {(oid, name, *said) for name, (oid, *said) in state.tags.items()},
    }
    if told.kind != "model":
        expected["name"] = (told.ref.owner, told.ref.name)
        expected["dates"] = (told.created_at, told.deleted_at)
    return expected


def _is_listed(catalog: Catalog, connection: Connection, told: Told, found: dict[str, Any]) -> bool:
    """Whether a repository is listed as its files on ``main`` say.

    Raises:
        CorruptBlobError: These are damaged.
    """
    if not any(found[part] for part in _LISTED):
        return True
    repository = find_repository(connection, told.kind, told.ref)
    head = None if repository is None else find_branch(connection, repository.id)
    if repository is None or head is None:
        return False
    facts = facts_at(catalog.blobs, connection, repository.full_name, head, strict=True)
    row = listing_row(repository, head, facts)
    return [found[part] for part in _LISTED] == [
        {(head.oid, found["account"], *(row[name] for name in _COPIED))},
        {(tag,) for tag in facts.tags},
        {(gram,) for gram in grams_of(repository.full_name)},
    ]


def _remake(catalog: Catalog, told: Told, former: frozenset[str], *, keep: bool) -> list[str]:
    """Do again what the log says of a repository, and return which rows differ from that.

    Args:
        catalog: Whose repository.
        told: What the log says of it.
        former: What else it was called.
        keep: Whether to leave the rows as the log says; default: they stay as they are.
    """
    with catalog.database.write() as connection:
        before = describe(connection, [told.folded]).get(told.folded, {})
        point = connection.begin_nested()
        try:
            remake(catalog.store, connection, told, former)
            after = describe(connection, [told.folded]).get(told.folded, {})
            different = [part for part, rows in after.items() if rows != before.get(part)]
            if not any(before.get(part) for part in _LISTED):
                # What an account has claimed is listed when a hub starts.
                different = [part for part in different if part not in _LISTED]
        except BaseException:
            point.rollback()
            raise
        point.commit() if keep and different else point.rollback()
    return different


def missing_commits(catalog: Catalog) -> Iterator[str]:
    """Yield the repositories of which a branch or tag in the log is not in the rows.

    Only where the list of the files is stored: no row refers to these, but they are no garbage.
    Nothing is changed.
    """
    lost = {*_lost_heads(catalog)}
    if lost:
        # The log is read before the rows: what was deleted in between is not lost the next time.
        yield from sorted(lost.intersection(_lost_heads(catalog)))


def _lost_heads(catalog: Catalog) -> Iterator[str]:
    for page in _pages(catalog):
        there = defaultdict(set)
        with catalog.database.read() as connection:
            for table in (BRANCHES, COMMIT_TAGS):
                rows = connection.execute(
                    select(REPOSITORIES.c.folded, table.c.name, COMMITS.c.oid)
                    .join(table, table.c.repository_id == REPOSITORIES.c.id)
                    .join(COMMITS, COMMITS.c.id == table.c.commit_id)
                    .where(REPOSITORIES.c.folded.in_([told.folded for told, _ in page]))
                )
                for row in rows:
                    there[row.folded].add((table.name, row.name, row.oid))
        for told, _ in page:
            lost = told.named().keys() - there[told.folded]
            if any(catalog.blobs.size(told.named()[one]) is not None for one in lost):
                yield told.place


def _pages(catalog: Catalog) -> Iterator[list[tuple[Told, frozenset[str]]]]:
    """Yield what the log says of each repository, and what else it was called, some at a time."""
    trails = read_trails(catalog.store)

    def told(about: Mapping[str, Sequence[Entry]]) -> list[tuple[Told, frozenset[str]]]:
        found = []
        for name, entries in about.items():
            with understood(entries[-1]):
                one = Told.of(entries)
            assert one is not None  # there is an entry
            found.append((one, trails.former(name)))
        return found

    for names in name_pages(catalog.store, trails):
        about: dict[str, list[Entry]] = defaultdict(list)
        with catalog.database.read() as connection:
            for entry, name in entries_about(catalog.store, connection, names, trails):
                about[name].append(entry)
        yield told(about)
    for name, sequences in _kept_as_files(catalog, trails).items():
        with catalog.database.read() as connection:
            entries = [
                entry
                for batch in batches(sequences)
                for entry in catalog.log.entries(connection, sequences=batch)
            ]
        yield told({name: entries})


def _kept_as_files(catalog: Catalog, trails: Trails) -> dict[str, list[int]]:
    """Return the numbers of the entries about each repository that is no model."""
    found = defaultdict(list)
    with catalog.database.read() as connection:
        for entry in catalog.log.entries(connection, [""]):
            with understood(entry):
                about = subject(entry)
            if about is not None:
                found[trails.now(folded_name(*about))].append(entry.sequence)
    return found


def _check_lacking(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding if there are versions that no commit holds."""
    with catalog.database.read() as connection:
        lacking = len(lacking_commits(connection))
    if not lacking:
        return
    text = f"{lacking} versions have no commit."
    if not repair:
        yield Finding(text, about=AlteredRowsError)
        return
    complete_commits(catalog.store)
    with catalog.database.read() as connection:
        left = len(lacking_commits(connection))
    if left < lacking:
        yield Finding(f"{text} {lacking - left} of them have one again.", "repaired")
