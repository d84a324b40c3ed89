"""Delete adapters. Versions that others are made of stay, without a name: the remains.

An adapter can be deleted even if others are made of it. Before that, each of its versions that
others are made of is published again under the digest of its manifest (`AdapterRef.nameless`). No
list has that name, and the same people as before may read it. When no adapter is made of it any
more, it is deleted, too.

Each of these is a change of its own, with its entry in the log. If the process is killed between
two steps, no adapter loses a part. At worst a version stays that nothing needs; the next deletion
or garbage collection removes it.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import ColumnElement, Connection, exists, select

from registry.errors import ConflictError
from registry.history.repositories import Repository, load_repository, set_visibility
from registry.history.steps import keep_bytes, log_change
from registry.history.versions import commit_version, prepare_commit
from registry.refs import DELETED, AdapterRef
from registry.store import Store
from registry.tables.edit import delete_adapter
from registry.tables.lookup import require_repository
from registry.tables.models import ACCOUNTS, PARENTS, REPOSITORIES, REVISIONS
from registry.tables.record import Publication, record_version
from registry.tables.versions import Version, batches, load_version, load_versions, select_versions

_TRIES = 100


class _StillNeededError(Exception):
    """Another adapter was made of this one meanwhile."""


def delete_model(
    store: Store, find: Callable[[Connection], Repository], actor: str | None = None
) -> list[int]:
    """Delete an adapter; versions that others are made of stay without a name.

    Args:
        store: The registry.
        find: Finds the adapter, in each transaction anew.
        actor: Who deletes it; default: the user of this process.

    Returns:
        The numbers of its versions.

    Raises:
        ConflictError: It is the remains of a deleted adapter.
        CorruptBlobError: A version that others are made of cannot be read.
        HubkitError: What `find` raises.
    """
    for _ in range(_TRIES):
        with store.database.read() as connection:
            repository = find(connection)
            _require_name(repository.ref)
            needed = _needed(connection, repository)
        for version in needed:
            _keep(store, repository, version, actor)
        try:
            numbers, parents = store.database.transact(partial(_delete, store, find, actor))
        except _StillNeededError:
            continue
        remove_unneeded(store, actor, parents)
        return numbers
    raise ConflictError(
        f"{repository.ref} cannot be deleted now: new adapters are made of it all the time. "
        "Try again.",
        repository.ref,
    )


def remove_unneeded(
    store: Store, actor: str | None = None, among: Collection[str] | None = None
) -> int:
    """Delete the remains of deleted adapters that no adapter needs any more; return how many.

    Args:
        store: The registry.
        actor: Who deletes them; default: the user of this process.
        among: Consider only these digests and their parents. Default: all remains, even those that
            a pull has just stored for the versions that follow.
    """
    gone = 0
    while True:
        with store.database.read() as connection:
            unneeded = _unneeded(connection, among)
        if not unneeded:
            return gone
        made_of = set[str]()
        for digest in unneeded:
            parents = store.database.transact(partial(_remove, store, digest, actor))
            if parents is not None:
                made_of |= parents
                gone += 1
        among = made_of


_UNNEEDED = select(REPOSITORIES.c.name).where(
    REPOSITORIES.c.folded.between(f"{DELETED}/", f"{DELETED}/g"),
    REPOSITORIES.c.deleted_at.is_(None),
    ~exists().where(PARENTS.c.digest == REPOSITORIES.c.name),
)


def _unneeded(connection: Connection, among: Collection[str] | None) -> list[str]:
    if among is None:
        return [*connection.scalars(_UNNEEDED)]
    named = (_named(batch) for batch in batches(sorted(among)))
    return [digest for one in named for digest in connection.scalars(_UNNEEDED.where(one))]


def _named(digests: Collection[str]) -> ColumnElement[bool]:
    return REPOSITORIES.c.folded.in_([AdapterRef.nameless(digest).folded for digest in digests])


def _remove(
    store: Store, digest: str, actor: str | None, connection: Connection
) -> set[str] | None:
    """Delete one, and return its parents; None if it is needed, or was deleted."""
    if not _unneeded(connection, [digest]):
        return None
    _, parents = _delete_all(store, connection, AdapterRef.nameless(digest), actor)
    return parents


def _delete_all(
    store: Store, connection: Connection, ref: AdapterRef, actor: str | None
) -> tuple[list[int], set[str]]:
    """Delete an adapter; return its version numbers, and the digests of its parents."""
    of_repository = REVISIONS.c.repository_id == require_repository(connection, ref).id
    links = select(PARENTS.c.digest).join(REVISIONS, REVISIONS.c.id == PARENTS.c.child_id)
    parents = {*connection.scalars(links.where(of_repository))}
    at = datetime.now(UTC)
    numbers = delete_adapter(connection, ref, at)
    store.log.append(
        connection, "delete", ref, actor=actor, numbers=numbers, deleted_at=at.isoformat()
    )
    return numbers, parents


def _require_name(ref: AdapterRef) -> None:
    if ref.is_nameless:
        raise ConflictError(
            f"{ref} is a version of a deleted adapter, and others are made of it. It is deleted "
            "when no adapter is made of it any more.",
            ref,
        )


def _needed(connection: Connection, repository: Repository) -> list[Version]:
    """Return the versions that other adapters are made of, directly or not, oldest first."""
    own, child = REVISIONS.c.repository_id == repository.id, REVISIONS.alias()
    # Not a join: that would read all adapters that are made of it.
    elsewhere = exists().where(
        PARENTS.c.digest == REVISIONS.c.manifest_digest,
        PARENTS.c.child_id == child.c.id,
        child.c.repository_id != repository.id,
    )
    needed = {*connection.scalars(select(REVISIONS.c.manifest_digest).where(own, elsewhere))}
    within = select(REVISIONS.c.manifest_digest, PARENTS.c.digest).join(
        PARENTS, PARENTS.c.child_id == REVISIONS.c.id
    )
    links = connection.execute(within.where(own)).all()
    while more := {digest for made, digest in links if made in needed} - needed:
        needed |= more
    versions = select_versions().where(own, REVISIONS.c.manifest_digest.in_(needed))
    return load_versions(connection, versions.order_by(REVISIONS.c.id))


def _keep(store: Store, repository: Repository, version: Version, actor: str | None) -> None:
    """Publish a version again under its digest, for those who may read it now."""
    manifest = store.manifest(version.ref, version.manifest_digest)
    tree, facts = prepare_commit(store, version.ref, manifest)

    def change(connection: Connection) -> None:
        of = load_repository(connection, repository.id)
        account = select(ACCOUNTS.c.name).where(ACCOUNTS.c.id == of.account_id)
        publication = Publication(
            author=DELETED,
            message="",
            created_at=version.created_at,
            number=1,
            account=connection.scalar(account),
            visibility=of.visibility,
        )
        keep_bytes(connection, store.blobs, {tree.digest, version.manifest_digest})
        ref = AdapterRef.nameless(version.manifest_digest)
        revision, is_new = record_version(connection, ref, manifest, publication)
        if is_new:
            committed = commit_version(connection, revision, publication, tree, facts)
            store.log.append_publication(
                connection,
                load_version(connection, revision),
                actor=actor,
                account=publication.account,
                visibility=publication.visibility,
                **committed,
            )
            return
        kept = load_repository(connection, require_repository(connection, ref).id)
        if of.visibility == "public" and kept.visibility == "private":
            set_visibility(connection, kept.id, "public")
            by = actor or DELETED
            log_change(store.log, connection, "settings", kept, by, visibility="public")

    store.database.transact(change)


def _delete(
    store: Store,
    find: Callable[[Connection], Repository],
    actor: str | None,
    connection: Connection,
) -> tuple[list[int], set[str]]:
    """As `_delete_all`, unless others are made of a version that is not kept.

    Raises:
        _StillNeededError: They are.
    """
    repository = find(connection)
    _require_name(repository.ref)
    digests = {version.manifest_digest for version in _needed(connection, repository)}
    kept = select(REPOSITORIES.c.name).where(_named(digests), REPOSITORIES.c.deleted_at.is_(None))
    if digests - {*connection.scalars(kept)}:
        raise _StillNeededError
    return _delete_all(store, connection, repository.ref, actor)
