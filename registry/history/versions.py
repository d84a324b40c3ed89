"""The commit of a version: publishing makes one on ``main``, as a push does."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO

from sqlalchemy import Connection, select

from registry.errors import ConflictError, CorruptBlobError, ManifestError
from registry.folders.card import CARD_NAME, Card
from registry.history.cards import Facts, card_in, facts_of, read_card_of, write_listing
from registry.history.commits import (
    Commit,
    add_commit,
    find_branch,
    load_commit,
    point_branch,
    tag_version,
)
from registry.history.git import blob_id
from registry.history.names import MAIN
from registry.history.repositories import Repository, load_repository
from registry.history.steps import details_of, store_contents
from registry.history.trees import SMALL_BYTES, Tree, TreeFile, is_large, load_tree
from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.storage.files import MANIFEST_NAME, FileInfo
from registry.store import Store
from registry.tables.models import COMMITS, REVISIONS
from registry.tables.record import Publication
from registry.tables.versions import AnyRow, Version, load_rows, select_versions

_LACKING = (
    select_versions()
    .where(~select(COMMITS.c.id).where(COMMITS.c.revision_id == REVISIONS.c.id).exists())
    .order_by(REVISIONS.c.id)  # in the order of publication, as in a rebuild
)


def tree_of(manifest: Manifest, open_file: Callable[[str], BinaryIO]) -> Tree:
    """Return the files of a version as a commit has them: its manifest's, and the manifest.

    Only small files are read: the id of a large one in git depends on its digest alone.

    Args:
        manifest: The manifest of the version.
        open_file: Opens the file of a path that the manifest lists.

    Raises:
        OSError: A file cannot be read.
    """
    content = manifest.to_json()
    files = [_file(MANIFEST_NAME, FileInfo.of(content), lambda: content)]
    for path, info in manifest.files.items():

        def read(path: str = path, size: int = info.size) -> bytes:
            with open_file(path) as stream:
                return stream.read(size)

        files.append(_file(path, info, read))
    return Tree.of(files)


def facts_of_version(manifest: Manifest, tree: Tree, open_file: Callable[[str], BinaryIO]) -> Facts:
    """Return the listing of a repository with this version."""
    card, info = Card(), manifest.files.get(CARD_NAME)
    if info is not None and info.size <= SMALL_BYTES:
        with open_file(CARD_NAME) as stream:
            card = card_in(stream.read(info.size), CARD_NAME)
    return facts_of(tree, card, manifest)


def commit_version(
    connection: Connection,
    revision_id: int,
    publication: Publication,
    tree: Tree,
    facts: Facts,
) -> dict[str, Any]:
    """Make the commit of a version that is new, with its tag; on ``main`` if it is the newest.

    Returns what the log is to say of it.

    Args:
        connection: A write transaction, in which the version was recorded.
        revision_id: The version's row.
        publication: Its author, message and time.
        tree: Its files.
        facts: What a hub lists of it.

    Raises:
        ConflictError: Its tag names another commit.
    """
    of_version = REVISIONS.c.id == revision_id
    row = connection.execute(
        select(REVISIONS.c.repository_id, REVISIONS.c.number).where(of_version)
    ).one()
    repository = load_repository(connection, row.repository_id)
    # Count only versions that have a commit. Those from before commits existed get one later.
    highest = connection.scalar(
        select(REVISIONS.c.number)
        .join(COMMITS, COMMITS.c.revision_id == REVISIONS.c.id)
        .where(REVISIONS.c.repository_id == repository.id)
        .order_by(REVISIONS.c.number.desc())
        .limit(1)
    )
    is_newest = highest is None or row.number > highest
    before = (
        find_branch(connection, repository.id)
        if is_newest
        else _before(connection, repository.id, row.number)
    )
    commit = add_commit(
        connection,
        repository.id,
        tree,
        parent=before,
        author=publication.author,
        message=message_of(publication.message, row.number),
        at=publication.created_at,
        revision_id=revision_id,
    )
    tag_version(connection, repository.full_name, commit, publication.created_at)
    if not is_newest:
        return details_of(commit, tree, None)
    point_branch(connection, commit)
    write_listing(connection, repository, commit, facts)
    return details_of(commit, tree, MAIN)


def message_of(message: str, number: int) -> str:
    """Return the message of a version's commit: that of the version, if it has one."""
    return message if message.strip() else f"Version {number}"


def facts_at(
    store: Store,
    connection: Connection,
    repository: Repository,
    commit: Commit,
    *,
    strict: bool = False,
) -> Facts:
    """Return the listing of a repository at a commit, from its card, files and version.

    Args:
        store: Where their bytes are.
        connection: A transaction.
        repository: The repository.
        commit: One of its commits.
        strict: Whether damaged bytes are an error; default: they are ignored.

    Raises:
        CorruptBlobError: With `strict`, the card or the manifest is damaged.
    """
    tree = load_tree(connection, commit.tree_id)
    card = read_card_of(store.blobs, tree, repository.full_name, strict=strict)
    return facts_of(tree, card, _manifest_of(store, connection, repository, commit, strict))


def list_again(
    store: Store, connection: Connection, repository: Repository, *, strict: bool = False
) -> None:
    """Write the listing of a repository, from its last commit on ``main``; see `facts_at`."""
    head = find_branch(connection, repository.id)
    if head is not None:
        facts = facts_at(store, connection, repository, head, strict=strict)
        write_listing(connection, repository, head, facts)


def _manifest_of(
    store: Store, connection: Connection, repository: Repository, commit: Commit, strict: bool
) -> Manifest | None:
    if commit.revision_id is None:
        return None
    digest = connection.scalar(
        select(REVISIONS.c.manifest_digest).where(REVISIONS.c.id == commit.revision_id)
    )
    try:
        return store.manifest(repository.ref, str(digest))
    except (CorruptBlobError, ManifestError):
        if strict:
            raise
    return None  # a check of the blobs reports it


def prepare_commit(store: Store, ref: AdapterRef, manifest: Manifest) -> tuple[Tree, Facts]:
    """Return the files of a stored version, and the listing with it.

    The list of its files is stored, so that a commit can be made of it.

    Raises:
        CorruptBlobError: A small file of it is missing or altered.
        StorageError: The list cannot be written.
    """
    open_file = store.opener(ref, manifest)
    tree = tree_of(manifest, open_file)
    facts = facts_of_version(manifest, tree, open_file)
    store_contents(store.blobs, tree.to_json())
    return tree, facts


def lacking_commits(connection: Connection) -> list[tuple[AnyRow, Version]]:
    """Return the versions without a commit: those from before commits existed."""
    return load_rows(connection, _LACKING)


def is_committed(connection: Connection, revision_id: int) -> bool:
    """Whether there is a commit that holds a version."""
    holding = select(COMMITS.c.id).where(COMMITS.c.revision_id == revision_id).limit(1)
    return connection.scalar(holding) is not None


def complete_commits(store: Store) -> None:
    """Make the commits of versions that were published before commits existed.

    Versions whose bytes cannot be read, or whose tag is taken, stay as they are: a check of the
    registry reports them.
    """
    with store.database.read() as connection:
        lacking = lacking_commits(connection)
    for row, version in lacking:
        try:
            manifest = store.manifest(version.ref, version.manifest_digest)
            tree, facts = prepare_commit(store, version.ref, manifest)
        except (CorruptBlobError, ManifestError):
            continue
        publication = Publication(
            author=version.author, message=version.message, created_at=version.created_at
        )

        complete = partial(_complete, row.id, publication, tree, facts)
        with suppress(ConflictError):  # its tag names another commit
            store.database.transact(complete)


def _complete(
    revision_id: int, publication: Publication, tree: Tree, facts: Facts, connection: Connection
) -> None:
    if not is_committed(connection, revision_id):
        commit_version(connection, revision_id, publication, tree, facts)


def _before(connection: Connection, repository_id: int, number: int) -> Commit | None:
    """Return the commit of the version before one that is not the newest."""
    found = connection.scalar(
        select(COMMITS.c.id)
        .join(REVISIONS, REVISIONS.c.id == COMMITS.c.revision_id)
        .where(REVISIONS.c.repository_id == repository_id, REVISIONS.c.number < number)
        .order_by(REVISIONS.c.number.desc(), COMMITS.c.id)
        .limit(1)
    )
    return None if found is None else load_commit(connection, found)


def _file(path: str, info: FileInfo, read: Callable[[], bytes]) -> TreeFile:
    if is_large(path, info.size):
        return TreeFile.pointed(path, info)
    # What was read is compared with the manifest when the bytes are stored.
    return TreeFile(path, info.sha256, info.size, blob_id(read()), False)
