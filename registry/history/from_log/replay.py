"""Repeat the changes to the history of repositories that the log has."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from registry.errors import AlteredLogError, RevisionNotFoundError
from registry.history.cards import drop_listing
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
    take_number,
)
from registry.history.names import MAIN
from registry.history.repositories import (
    Repository,
    delete_repository,
    find_deleted,
    find_repository,
    load_repository,
    make_repository,
    rename_repository,
    set_visibility,
)
from registry.history.trees import Tree
from registry.history.versions import commit_version, list_again, message_of, prepare_commit
from registry.log.entry import Entry
from registry.manifest import Manifest
from registry.places import Kind, parse_place
from registry.refs import AdapterRef
from registry.store import Store
from registry.tables.models import REPOSITORIES, REVISIONS
from registry.tables.record import Publication, find_account_id

HISTORY = frozenset(
    ("create", "commit", "squash", "branch", "unbranch", "tag", "untag", "settings", "move")
)
"""The actions of the log that are about the history of a repository alone."""


def replay_history(
    store: Store,
    connection: Connection,
    entry: Entry,
    kind: Kind,
    ref: AdapterRef,
    *,
    is_gone: bool = False,
) -> None:
    """Apply an entry about the history of a repository, or about one that is kept as files.

    Args:
        store: Where the bytes are.
        connection: A write transaction.
        entry: The change.
        kind: The kind of the repository.
        ref: The name that it had then.
        is_gone: Whether it was deleted later: its bytes may be gone, so only names and numbers are
            reserved.

    Raises:
        HubkitError: It cannot be applied.
        KeyError, TypeError, ValueError: A detail is missing or malformed.
    """
    details: dict[str, Any] = dict(entry.details)
    if entry.action == "create":
        _create(connection, kind, ref, details)
    repository = find_repository(connection, kind, ref)
    if repository is None and entry.action == "move":  # it got its name back, to be made anew
        repository = find_deleted(connection, kind, ref)
        if repository is not None:
            _, to = parse_place(details["to"])
            rename_repository(connection, repository, to, find_account_id(connection, to.owner))
        return
    if repository is None:
        return  # it could not be brought back, which is reported
    match entry.action:
        case "settings":
            set_visibility(connection, repository.id, details["visibility"])
        case "move":
            _, to = parse_place(details["to"])
            rename_repository(connection, repository, to, find_account_id(connection, to.owner))
            list_again(store, connection, load_repository(connection, repository.id))
        case "delete":  # an adapter's is applied with its versions
            at = datetime.fromisoformat(details["deleted_at"])
            delete_repository(connection, repository.id, at)
        case "tag" if is_gone:
            take_number(connection, repository.id, details["tag"])
        case "publish" if details.get("tree") is None:
            return  # a version from before commits existed, which cannot be brought back
        case _ if not is_gone:
            replay_change(store, connection, repository, entry)
            _list_again(store, connection, repository, entry)


def _create(connection: Connection, kind: Kind, ref: AdapterRef, details: dict[str, Any]) -> None:
    account, visibility = find_account_id(connection, details["account"]), details["visibility"]
    at = datetime.fromisoformat(details["created_at"])
    there = find_repository(connection, kind, ref)
    if there is None:
        make_repository(connection, kind, ref, account_id=account, visibility=visibility, at=at)
        return
    # The database was taken back to a state from before histories existed.
    facts = {"account_id": account, "visibility": visibility, "created_at": at}
    connection.execute(update(REPOSITORIES).where(REPOSITORIES.c.id == there.id).values(facts))


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
    if entry.details.get("tree") is None:  # from before commits existed
        tree, facts = prepare_commit(store, ref, manifest)
        publication = Publication.from_log(entry.details)
        commit_version(connection, revision_id, publication, tree, facts)
        return
    repository = find_repository(connection, "model", ref)
    assert repository is not None  # the version was recorded in it just now
    replay_change(store, connection, repository, entry, revision_id=revision_id)
    _list_again(store, connection, repository, entry)


def _list_again(store: Store, connection: Connection, repository: Repository, entry: Entry) -> None:
    """Update the listing of a repository, if an entry is about its last commit."""
    head = find_branch(connection, repository.id)
    if head is not None and "tree" in entry.details and head.oid == entry.details["commit"]:
        list_again(store, connection, repository)


def replay_change(
    store: Store,
    connection: Connection,
    repository: Repository,
    entry: Entry,
    *,
    revision_id: int | None = None,
) -> None:
    """Repeat a change to the commits of a repository, its branches and its tags.

    If it is about ``main``, the caller then updates the listing of the repository.

    Args:
        store: Where the lists of files are.
        connection: A write transaction.
        repository: The repository.
        entry: The change.
        revision_id: The row of the version that the entry published; default: that of the number in
            the entry, if there is one.

    Raises:
        AlteredLogError: A commit would not be the one that the entry names.
        CorruptBlobError: The list of its files is missing or altered.
        HubkitError: It cannot be applied.
        KeyError, TypeError, ValueError: A detail is missing or malformed.
    """
    details: dict[str, Any] = dict(entry.details)
    named = repository.full_name
    match entry.action:
        case "create" | "commit" | "squash" | "publish":
            message = details["message"]
            if entry.action == "publish":
                message = message_of(message, details["number"])
            commit = _commit(store, connection, repository, details, message, revision_id)
            if entry.action == "squash":
                if details.get("branch") == MAIN:
                    drop_listing(connection, repository.id)  # its commit is removed
                forget_unreachable(connection, repository.id)
            if revision_id is not None:
                at = datetime.fromisoformat(details["created_at"])
                tag_version(connection, named, commit, at)
        case "branch":
            at_ = _find(connection, repository, details["commit"])
            make_branch(connection, named, details["branch"], at_)
        case "unbranch":
            drop_branch(connection, repository.id, named, details["branch"])
        case "tag":
            make_tag(
                connection,
                named,
                details["tag"],
                _find(connection, repository, details["commit"]),
                message=details.get("message"),
                created_at=datetime.fromisoformat(details["created_at"]),
            )
        case "untag":
            drop_tag(connection, repository.id, named, details["tag"])


def _commit(
    store: Store,
    connection: Connection,
    repository: Repository,
    details: dict[str, Any],
    message: str,
    revision_id: int | None,
) -> Commit:
    number, parent = details.get("number"), details.get("parent")
    if revision_id is None and number is not None:
        numbered = (REVISIONS.c.repository_id == repository.id, REVISIONS.c.number == number)
        revision_id = connection.scalar(select(REVISIONS.c.id).where(*numbered))
    commit = add_commit(
        connection,
        repository.id,
        Tree.read(store.blobs, details["tree"]),
        # That commit may be lost, with the entry that made it or with its list of files.
        parent=parent and (find_commit(connection, repository.id, parent) or parent),
        author=details["author"],
        message=message,
        at=datetime.fromisoformat(details["created_at"]),
        revision_id=revision_id,
        reason=details.get("reason"),
    )
    if commit.oid != details["commit"]:
        raise AlteredLogError(
            f"{repository.full_name}: the log says that this change made the commit "
            f"{details['commit'][:12]}, but it makes {commit.oid[:12]}.",
            commit.oid,
        )
    if (branch := details.get("branch")) is not None:
        point_branch(connection, commit, branch)
    return commit


def _find(connection: Connection, repository: Repository, oid: str) -> Commit:
    found = find_commit(connection, repository.id, oid)
    if found is None:
        raise RevisionNotFoundError(f"{repository.full_name} has no commit {oid}.", oid)
    return found
