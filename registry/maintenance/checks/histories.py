"""Compare the history of each repository with the log, and write it again from there.

If they may differ, the changes in the log are repeated in a transaction that is rolled back: the
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
from registry.history.from_log.remake import LoggedHistory, remake
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
from registry.tables.record import find_account_id
from registry.tables.versions import batches

_BATCH = 200
_COPIED = ("kind", "visibility", "library", "pipeline_tag", "card", "downloads")
_LISTED = ("listing", "words to find it by", "parts of its name")


def check_histories(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding for each repository whose history differs from the log.

    A repository is skipped if bytes needed for the comparison are damaged: the check of the blobs
    reports them.

    Args:
        catalog: The registry.
        repair: Whether to write such rows again.
    """
    for logged, former in chain.from_iterable(_doubtful(catalog, page) for page in _pages(catalog)):
        try:
            different = _remake(catalog, logged, former, keep=repair)
        except (CorruptBlobError, ManifestError, StorageError):
            continue
        except (HubkitError, KeyError, TypeError, ValueError) as error:
            yield Finding(
                f"{logged.place}: its history cannot be compared with the log: {reason_of(error)}."
            )
            continue
        if different:
            text = f"{logged.place}: the log says something else of its {', '.join(different)}."
            if repair:
                yield Finding(f"{text} It is as the log says again.", "repaired")
            else:
                yield Finding(text, about=AlteredRowsError)
    yield from _check_lacking(catalog, repair)  # which the log does not have


def describe(connection: Connection, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of some repositories and their histories, without ids.

    Args:
        connection: A transaction.
        names: Their names, as in `registry.places.folded_name`.
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
    """Return the name of each part of a history, the column of its repository, and its rows."""
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
    catalog: Catalog, page: Sequence[tuple[LoggedHistory, frozenset[str]]]
) -> list[tuple[LoggedHistory, frozenset[str]]]:
    """Return the repositories whose rows may differ from the log.

    To repeat the changes in the log takes 5 ms and the right to write; to look, a tenth of that.
    """
    doubtful = []
    with catalog.database.read() as connection:
        rows = describe(connection, [logged.folded for logged, _ in page])
        owners = {logged.owner for logged, _ in page}
        accounts = {owner: _account(connection, owner) for owner in owners}
        for logged, former in page:
            try:
                found = rows.get(logged.folded, {})
                expected = _expected(logged, former, accounts[logged.owner])
                is_same = expected is not None and expected.items() <= found.items()
                if not is_same or not _is_listed(catalog, connection, logged, found):
                    doubtful.append((logged, former))
            except (HubkitError, KeyError, TypeError, ValueError):
                doubtful.append((logged, former))
    return doubtful


def _account(connection: Connection, owner: str | None) -> str | None:
    id = find_account_id(connection, owner)
    return connection.scalar(select(ACCOUNTS.c.folded).where(ACCOUNTS.c.id == id))


def _expected(
    logged: LoggedHistory, former: frozenset[str], account: str | None
) -> dict[str, Any] | None:
    """Return what `describe` should, without listings; None if the log alone does not say."""
    state = logged.state()
    if state is None:
        return None
    expected: dict[str, Any] = {
        "kind": logged.kind,
        "account": account,
        "visibility": logged.visibility,
        "former names": {(name,) for name in former},
        "commits": {(oid, *said) for oid, said in state.commits.items()},
        "branches": {(oid, name) for name, oid in state.branches.items()},
        "tags": {(oid, name, *said) for name, (oid, *said) in state.tags.items()},
    }
    if logged.kind != "model":
        expected["name"] = (logged.ref.owner, logged.ref.name)
        expected["dates"] = (logged.created_at, logged.deleted_at)
    return expected


def _is_listed(
    catalog: Catalog, connection: Connection, logged: LoggedHistory, found: dict[str, Any]
) -> bool:
    """Whether the listing of a repository agrees with its files on ``main``.

    Raises:
        CorruptBlobError: The files are damaged.
    """
    if not any(found[part] for part in _LISTED):
        return True
    repository = find_repository(connection, logged.kind, logged.ref)
    head = None if repository is None else find_branch(connection, repository.id)
    if repository is None or head is None:
        return False
    facts = facts_at(catalog.store, connection, repository, head, strict=True)
    row = listing_row(repository, head, facts)
    return [found[part] for part in _LISTED] == [
        {(head.oid, found["account"], *(row[name] for name in _COPIED))},
        {(tag,) for tag in facts.tags},
        {(gram,) for gram in grams_of(repository.full_name)},
    ]


def _remake(
    catalog: Catalog, logged: LoggedHistory, former: frozenset[str], *, keep: bool
) -> list[str]:
    """Repeat the changes of a repository in the log, and return which rows differ from that.

    Args:
        catalog: The registry.
        logged: The repository in the log.
        former: Its former names.
        keep: Whether to keep the new rows.
    """
    with catalog.database.write() as connection:
        before = describe(connection, [logged.folded]).get(logged.folded, {})
        point = connection.begin_nested()
        try:
            remake(catalog.store, connection, logged, former)
            after = describe(connection, [logged.folded]).get(logged.folded, {})
            different = [part for part, rows in after.items() if rows != before.get(part)]
            if not any(before.get(part) for part in _LISTED):
                # A repository that an account has claimed is listed when a hub starts.
                different = [part for part in different if part not in _LISTED]
        except BaseException:
            point.rollback()
            raise
        point.commit() if keep and different else point.rollback()
    return different


def missing_commits(catalog: Catalog) -> Iterator[str]:
    """Yield the repositories that have a branch or tag in the log without a row.

    Only commits whose file list is still stored count. No row refers to that list, but it is not
    garbage. Nothing is changed.
    """
    lost = {*_lost_heads(catalog)}
    if lost:
        # The log is read before the rows: what others change in between is not lost the next time.
        # They may change the same repository again, but not what the first look missed.
        yield from sorted({place for place, _ in lost.intersection(_lost_heads(catalog))})


def _lost_heads(catalog: Catalog) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yield each repository and what the log has of it, but no row: table, name and commit."""
    for page in _pages(catalog):
        there = defaultdict(set)
        with catalog.database.read() as connection:
            for table in (BRANCHES, COMMIT_TAGS):
                rows = connection.execute(
                    select(REPOSITORIES.c.folded, table.c.name, COMMITS.c.oid)
                    .join(table, table.c.repository_id == REPOSITORIES.c.id)
                    .join(COMMITS, COMMITS.c.id == table.c.commit_id)
                    .where(REPOSITORIES.c.folded.in_([logged.folded for logged, _ in page]))
                )
                for row in rows:
                    there[row.folded].add((table.name, row.name, row.oid))
        for logged, _ in page:
            named = logged.named()
            for one in named.keys() - there[logged.folded]:
                if catalog.blobs.size(named[one]) is not None:
                    yield logged.place, one


def _pages(catalog: Catalog) -> Iterator[list[tuple[LoggedHistory, frozenset[str]]]]:
    """Yield each repository in the log and its former names, in batches."""
    trails = read_trails(catalog.store)

    def logged(about: Mapping[str, Sequence[Entry]]) -> list[tuple[LoggedHistory, frozenset[str]]]:
        found = []
        for name, entries in about.items():
            with understood(entries[-1]):
                one = LoggedHistory.of(entries)
            assert one is not None  # there is an entry
            found.append((one, trails.former(name)))
        return found

    for names in name_pages(catalog.store, trails):
        about: dict[str, list[Entry]] = defaultdict(list)
        with catalog.database.read() as connection:
            for entry, name in entries_about(catalog.store, connection, names, trails):
                about[name].append(entry)
        yield logged(about)
    for name, sequences in _kept_as_files(catalog, trails).items():
        with catalog.database.read() as connection:
            entries = [
                entry
                for batch in batches(sequences)
                for entry in catalog.log.entries(connection, sequences=batch)
            ]
        yield logged({name: entries})


def _kept_as_files(catalog: Catalog, trails: Trails) -> dict[str, list[int]]:
    """Return the numbers of the entries about each data set and space."""
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
