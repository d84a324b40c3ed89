"""Do again what the log says was done to the history of repositories."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, update

from registry.errors import AlteredLogError, RevisionNotFoundError
from registry.history.commits import (
    Commit,
    add_commit,
    drop_branch,
    drop_tag,
    find_branch,
    find_commit,
    forget_unreachable,
    make_branch,
    make_tag,
    point_branch,
    tag_version,
)
from registry.history.repositories import (
    Kind,
    Repository,
    find_repository,
    load_repository,
    make_repository,
    parse_place,
    rename_repository,
)
from registry.history.trees import Tree
from registry.history.versions import (
    commit_version,
    facts_of_version,
    list_again,
    message_of,
    opener,
    tree_of,
)
from registry.log.entry import Entry
from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.store import Store
from registry.tables.edit import remove_history
from registry.tables.lookup import find_row
from registry.tables.models import HUB_LISTINGS, REPOSITORIES
from registry.tables.record import Publication, account_of

HISTORY = frozenset(
    ("create", "commit", "squash", "branch", "unbranch", "tag", "untag", "settings", "move")
)
"""The actions of the log that are about the history of a repository alone."""


def replay_history(
    store: Store, connection: Connection, entry: Entry, kind: Kind, ref: AdapterRef
) -> None:
    """Apply an entry about the history of a repository, or about one that is kept as files.

    Raises:
        HubkitError: It cannot be applied.
        KeyError: It does not say all that it should; so for TypeError and ValueError.
    """
    details: dict[str, Any] = dict(entry.details)
    if entry.action == "create":
        _create(store, connection, kind, ref, details)
        return
    repository = find_repository(connection, kind, ref)
    if repository is None:
        return  # it could not be brought back, which is told
    match entry.action:
        case "commit":
            _commit(store, connection, repository, details)
        case "squash":
            _commit(store, connection, repository, details)
            forget_unreachable(connection, repository.id)
        case "branch":
            at = _find(connection, repository, details["commit"])
            make_branch(connection, repository.full_name, details["branch"], at)
        case "unbranch":
            drop_branch(connection, repository.id, repository.full_name, details["branch"])
        case "tag":
            at = _find(connection, repository, details["commit"])
            make_tag(
                connection,
                repository.full_name,
                details["tag"],
                at,
                message=details.get("message"),
                created_at=datetime.fromisoformat(details["created_at"]),
            )
        case "untag":
            drop_tag(connection, repository.id, repository.full_name, details["tag"])
        case "settings":
            visibility = details["visibility"]
            for table, key in (
                (REPOSITORIES, REPOSITORIES.c.id),
                (HUB_LISTINGS, HUB_LISTINGS.c.repository_id),
            ):
                connection.execute(
                    update(table).where(key == repository.id).values(visibility=visibility)
                )
        case "move":
            _, to = parse_place(details["to"])
            rename_repository(connection, repository, to, account_of(connection, to.owner))
            list_again(store.blobs, connection, load_repository(connection, repository.id))
        case "delete":  # an adapter's is applied with its versions
            remove_history(connection, repository.id)
            at_ = datetime.fromisoformat(details["deleted_at"])
            connection.execute(
                update(REPOSITORIES)
                .where(REPOSITORIES.c.id == repository.id)
                .values(deleted_at=at_)
            )


def replay_publication(
    store: Store,
    connection: Connection,
    entry: Entry,
    ref: AdapterRef,
    revision_id: int,
    manifest: Manifest,
) -> None:
    """Make the commit of a version that an entry published.

    Raises:
        AlteredLogError: It would not be the one that the entry names.
        CorruptBlobError: The list of its files is missing or altered.
    """
    details: dict[str, Any] = dict(entry.details)
    publication = Publication.from_log(details)
    if details.get("tree") is None:
        # Of before there were commits.
        open_file = opener(store, ref, manifest)
        tree = tree_of(manifest, open_file)
        facts = facts_of_version(manifest, tree, open_file)
        commit_version(connection, revision_id, publication, tree, facts)
        return
    repository = find_repository(connection, "model", ref)
    assert repository is not None  # the version was recorded in it just now
    commit = _commit(store, connection, repository, details, revision_id=revision_id)
    tag_version(connection, repository.full_name, commit, publication.created_at)


def _create(
    store: Store, connection: Connection, kind: Kind, ref: AdapterRef, details: dict[str, Any]
) -> None:
    repository = make_repository(
        connection,
        kind,
        ref,
        account_id=account_of(connection, details["account"]),
        visibility=details["visibility"],
        at=datetime.fromisoformat(details["created_at"]),
    )
    _commit(store, connection, repository, details)


def _commit(
    store: Store,
    connection: Connection,
    repository: Repository,
    details: dict[str, Any],
    *,
    revision_id: int | None = None,
) -> Commit:
    tree = Tree.read(store.blobs, details["tree"])
    number = details.get("number")
    if revision_id is None and number is not None:
        row, _ = find_row(connection, repository.ref.at(number))
        revision_id = row.id
    parent = details.get("parent")
    message = details["message"]
    commit = add_commit(
        connection,
        repository.id,
        tree,
        parent=None if parent is None else _find(connection, repository, parent),
        author=details["author"],
        message=message if number is None else message_of(message, number),
        at=datetime.fromisoformat(details["created_at"]),
        revision_id=revision_id,
        reason=details.get("reason"),
    )
    if commit.oid != details["commit"]:
        raise AlteredLogError(
            f"{repository.full_name}: the log says that this made the commit "
            f"{details['commit'][:12]}, but it makes {commit.oid[:12]}.",
            commit.oid,
        )
    branch = details.get("branch")
    if branch is not None:
        point_branch(connection, commit, branch)
    head = find_branch(connection, repository.id)
    if head is not None and head.id == commit.id:
        list_again(store.blobs, connection, repository)
    return commit


def _find(connection: Connection, repository: Repository, oid: str) -> Commit:
    found = find_commit(connection, repository.id, oid)
    if found is None:
        raise RevisionNotFoundError(f"{repository.full_name} has no commit {oid}.", oid)
    return found
