"""How a commit is made, and the version in it."""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, select

from registry.errors import (
    ConflictError,
    CorruptBlobError,
    DamagedBlobError,
    DatabaseError,
    FolderError,
    HubkitError,
    InvalidNameError,
    ManifestError,
    ParentNotFoundError,
    PickledWeightsError,
    StaleParentError,
    StorageError,
)
from registry.folders import Folder, Given, read_tree
from registry.folders.card import Card
from registry.folders.weights import examine_weights
from registry.history.cards import Facts, facts_of, read_card_of, write_listing
from registry.history.changes import Change, Put, apply
from registry.history.commits import (
    Commit,
    add_commit,
    check_message,
    find_branch,
    find_commit,
    find_pending,
    load_commit,
    note_version,
    point_branch,
    require_branch,
    tag_version,
)
from registry.history.names import MAIN
from registry.history.repositories import Repository, load_repository
from registry.history.steps import (
    account_name,
    details_of,
    full_details_of,
    keep_bytes,
    log_change,
    store_contents,
    whole_seconds,
)
from registry.history.trees import Tree, load_tree
from registry.manifest import Manifest
from registry.storage.blobs import BlobStore
from registry.storage.files import FileInfo
from registry.store import Store
from registry.tables.models import LOG, REPOSITORIES, REVISIONS
from registry.tables.record import (
    MAX_GIVEN_NUMBER,
    Publication,
    record_version,
    require_number,
    require_publishable,
)
from registry.tables.versions import load_version

LOOKED_AT = 256 * 1024 * 1024
"""Bytes of weights whose numbers are looked at while the client waits, which takes about a
millisecond a MiB."""

_TRIES = 100

_PICKLED = "Its weights are pickled. They are being converted: the version appears after that."
_LARGE = "Its weights are large. They are being looked at: the version appears after that."
PENDING = (_PICKLED, _LARGE)
"""Why a commit has no version yet."""

Convert = Callable[[BlobStore, Mapping[str, FileInfo], str], Mapping[str, FileInfo]]

# A client cannot be asked for the labels of a head that does not name them.
_UNASKED = Given(labels=None)
_NUMBER_ASKED = re.compile(r"(?:\A|\n)Version: ([1-9][0-9]{0,9})\s*\Z")


class _OvertakenError(Exception):
    """Another commit came to the branch first."""


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of a commit that is about to be made.

    Attributes:
        tree: Its files.
        card: Its card.
        manifest: The version in it; None if there is none.
        reason: Why there is none; None if it need not have one.
    """

    tree: Tree
    card: Card
    manifest: Manifest | None = None
    reason: str | None = None

    def facts(self, revision: int | None) -> Facts:
        """Its listing, with facts of the manifest if that became a version."""
        return facts_of(self.tree, self.card, None if revision is None else self.manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Committing:
    """One try to make a commit, or to make the version of one.

    Attributes:
        repository: The repository.
        head: The last commit of the branch when the try began; the commit itself if its version is
            made late.
        content: Its content.
        message: Its message.
        number: The number that the message asks for.
        branch: The branch.
        parent: The commit that the branch must be at; None for any.
        sent: The digests of the files that the commit adds or changes.
        converted: The digests of the files that only the version has.
        actor: Who makes it.
        readable: As for `Committer.commit`.
    """

    repository: Repository
    head: Commit
    content: _Content
    message: str
    number: int | None
    branch: str = MAIN
    parent: str | None = None
    sent: Collection[str] = ()
    converted: Collection[str] = ()
    actor: str
    readable: Callable[[Connection, Manifest], bool] | None = None


class Committer:
    """Makes the commits of a registry, and the versions in them.

    Args:
        store: What holds the registry.
        convert: Makes safetensors of pickled weights, in another process: given the blobs, the
            files of a commit and the name of the repository for messages, it returns the files of
            the version. Default: commits with pickled weights make no version, and those with large
            ones wait until these are looked at.
    """

    def __init__(self, store: Store, convert: Convert | None = None) -> None:
        """Touch nothing yet."""
        self._convert = convert
        self._database, self._blobs, self._log = store.database, store.blobs, store.log

    def commit(
        self,
        repository: Repository,
        branch: str,
        changes: Sequence[Change],
        *,
        title: str,
        description: str = "",
        parent: str | None = None,
        actor: str,
        readable: Callable[[Connection, Manifest], bool] | None = None,
    ) -> Commit:
        """Change the files of a branch: all of them, or none.

        A complete adapter on ``main`` becomes a version. On any branch, a description that ends in
        ``Version: 3`` asks for version 3. If no file changes, the last commit is returned.

        Args:
            repository: The repository.
            branch: The name of the branch.
            changes: What to change; the bytes of each new file are stored already.
            title: The first line of the message.
            description: The rest of the message.
            parent: The commit that the branch must be at; default: any.
            actor: Who makes the commit.
            readable: Whether the committer may read the adapters that a version is made of;
                default: yes.

        Raises:
            RevisionNotFoundError: There is no such branch.
            StaleParentError: It is at another commit than `parent`.
            EntryNotFoundError: A file to delete or copy is not there.
            InvalidNameError: git refuses a path, or a text cannot be stored.
            ConflictError: Another version has the number that is asked for.
            CorruptBlobError: The bytes of a file are not stored.
            RepositoryNotFoundError: The repository was deleted meanwhile.
        """
        message = check_message(title, description)
        number = _number_in(description)
        if number is not None:
            require_number(repository.ref, number, most=MAX_GIVEN_NUMBER)
        for _ in range(_TRIES):
            with self._database.read() as connection:
                load_repository(connection, repository.id)
                head = require_branch(connection, repository, branch)
                before = load_tree(connection, head.tree_id)
            _require_parent(repository, branch, head, parent)
            tree = apply(before, changes, repository.full_name)
            if tree == before:
                return head
            is_version = repository.kind == "model" and (branch == MAIN or number is not None)
            sent = {change.file.sha256 for change in changes if isinstance(change, Put)}
            content = self._read(repository, tree, sent if is_version else None)
            wanted = _Committing(
                repository=repository,
                head=head,
                content=content,
                message=message,
                number=number,
                branch=branch,
                parent=parent,
                sent=sent,
                actor=actor,
                readable=readable,
            )
            try:
                return self._database.transact(partial(self._record, wanted))
            except _OvertakenError:
                continue
        raise StaleParentError(
            f"The branch {branch} of {repository.full_name} changes faster than it can be "
            "committed to.",
            branch,
        )

    def pending(self) -> list[tuple[Repository, Commit]]:
        """Return the commits whose weights are not converted, or looked at, yet."""
        with self._database.read() as connection:
            return [
                (load_repository(connection, commit.repository_id), commit)
                for commit in find_pending(connection, PENDING)
            ]

    def convert(self, repository: Repository, commit: Commit) -> None:
        """Make the version of a commit with pickled or large weights, or note why there is none.

        Raises:
            StorageError: A disk is full or not writable; the commit is as it was.
        """
        assert self._convert is not None
        named = repository.full_name
        with self._database.read() as connection:
            tree = load_tree(connection, commit.tree_id)
        manifest, reason = None, None
        try:
            files = self._convert(self._blobs, {file.path: file.info for file in tree.files}, named)
            folder = read_tree(self._blobs, files, named, _UNASKED)
            _require_finite(folder, {info.sha256 for info in files.values()})
            manifest = folder.manifest
            store_contents(self._blobs, manifest.to_json())
        except (StorageError, DatabaseError):
            raise
        except HubkitError as error:
            reason = str(error)
        wanted = _Committing(
            repository=repository,
            head=commit,
            content=_Content(tree, read_card_of(self._blobs, tree, named), manifest, reason),
            message=commit.message,
            number=_number_in(commit.description),
            converted=[] if manifest is None else [f.sha256 for f in manifest.files.values()],
            actor=commit.author,
        )
        self._database.transact(partial(self._convert_late, wanted))

    def _convert_late(self, wanted: _Committing, connection: Connection) -> None:
        repository = load_repository(connection, wanted.repository.id)
        commit = find_commit(connection, repository.id, wanted.head.oid)
        if commit is None or commit.reason not in PENDING:
            return  # squashed, or another process was quicker
        try:
            revision, is_new, reason = self._make_version(
                connection, repository, wanted, commit.author, commit.created_at
            )
        except (ConflictError, InvalidNameError) as error:
            revision, is_new, reason = None, False, str(error)
        note_version(connection, commit.id, revision, reason)
        commit = load_commit(connection, commit.id)
        head = find_branch(connection, repository.id)
        if head is not None and head.id == commit.id:
            write_listing(connection, repository, commit, wanted.content.facts(revision))
        self._finish(connection, repository, commit, is_new, wanted, None)

    def _record(self, wanted: _Committing, connection: Connection) -> Commit:
        repository = load_repository(connection, wanted.repository.id)
        head = require_branch(connection, repository, wanted.branch)
        _require_parent(repository, wanted.branch, head, wanted.parent)
        if head.oid != wanted.head.oid:
            raise _OvertakenError
        content = wanted.content
        author, at = account_name(wanted.actor), whole_seconds()
        keep_bytes(connection, self._blobs, {*wanted.sent, content.tree.digest})
        revision, is_new, reason = self._make_version(connection, repository, wanted, author, at)
        commit = add_commit(
            connection,
            repository.id,
            content.tree,
            parent=head,
            author=author,
            message=wanted.message,
            at=at,
            revision_id=revision,
            reason=reason,
        )
        point_branch(connection, commit, wanted.branch)
        if wanted.branch == MAIN:
            write_listing(connection, repository, commit, content.facts(revision))
        self._finish(connection, repository, commit, is_new, wanted, wanted.branch)
        return commit

    def _make_version(
        self,
        connection: Connection,
        repository: Repository,
        wanted: _Committing,
        author: str,
        at: datetime,
    ) -> tuple[int | None, bool, str | None]:
        """Record the version in a commit; return its row, whether it is new, or why there is none.

        Raises:
            ConflictError: Another version has the number that is asked for.
        """
        manifest = wanted.content.manifest
        if manifest is None:
            return None, False, wanted.content.reason
        reason = _refusal(connection, repository, manifest, wanted.readable)
        if reason is not None:
            return None, False, reason
        keep_bytes(connection, self._blobs, {manifest.digest, *wanted.converted})
        publication = Publication(
            author=author, message=wanted.message, created_at=at, number=wanted.number
        )
        _require_never_other(connection, repository, manifest, wanted.number)
        revision, is_new = record_version(connection, repository.ref, manifest, publication)
        return revision, is_new, None

    def _finish(
        self,
        connection: Connection,
        repository: Repository,
        commit: Commit,
        is_new: bool,
        wanted: _Committing,
        branch: str | None,
    ) -> None:
        """Tag the version in a commit if it is new, and log it; else log the commit alone."""
        tree, actor = wanted.content.tree, wanted.actor
        if not is_new:
            details = full_details_of(commit, tree, branch)
            log_change(self._log, connection, "commit", repository, actor, **details)
            return
        assert commit.revision_id is not None
        tag_version(connection, repository.full_name, commit, commit.created_at)
        version = load_version(connection, commit.revision_id)
        committed = details_of(commit, tree, branch)
        self._log.append_publication(connection, version, actor=actor, **committed)

    def _read(self, repository: Repository, tree: Tree, new: set[str] | None) -> _Content:
        """Read the content of a commit, and store what a version needs beside its files.

        Args:
            repository: The repository.
            tree: The files of the commit.
            new: The digests of the files that it adds; None if it can have no version.
        """
        manifest, reason = None, None
        files = {file.path: file.info for file in tree.files}
        if new is not None:
            try:
                folder = read_tree(self._blobs, files, repository.full_name, _UNASKED)
                _require_parents_once(folder)
                # Whether the committer may read what it is made of is only known now.
                may_wait = self._convert is not None and not folder.manifest.parents
                if may_wait and _are_large(folder, new):
                    reason = _LARGE
                else:
                    _require_finite(folder, new)
                    manifest = folder.manifest
            except DamagedBlobError:
                raise
            except PickledWeightsError as error:
                reason = str(error) if self._convert is None else _PICKLED
            except (CorruptBlobError, FolderError, InvalidNameError, ManifestError) as error:
                reason = str(error)
        card = read_card_of(self._blobs, tree, repository.full_name)
        contents = [tree.to_json()]
        if manifest is not None:
            contents.append(manifest.to_json())
        store_contents(self._blobs, *contents)
        return _Content(tree, card, manifest, reason)


def _number_in(description: str) -> int | None:
    """Return the version number that a description asks for; None if it asks for none."""
    asked = _NUMBER_ASKED.search(description)
    return None if asked is None else int(asked[1])


def _refusal(
    connection: Connection,
    repository: Repository,
    manifest: Manifest,
    readable: Callable[[Connection, Manifest], bool] | None,
) -> str | None:
    """Why a complete adapter makes no version; None if it makes one."""
    try:
        require_publishable(connection, repository.ref, manifest)
        is_refused = readable is not None and not readable(connection, manifest)
    except ParentNotFoundError:
        is_refused = True
    if not is_refused:
        return None
    named = ", ".join(parent.ref for parent in manifest.parents)
    return (
        f"It is made of {named}. Not all of them are on this hub, or can be read by who "
        "made the commit. Push those that are missing first."
    )


def _require_parents_once(folder: Folder) -> None:
    """Refuse what is made of the same adapter twice, which nothing could run.

    Raises:
        FolderError: It is.
    """
    parents = folder.manifest.parents
    counts = Counter(parent.digest for parent in parents)
    for parent in parents:
        if counts[parent.digest] > 1:
            raise FolderError(
                f"{folder.path} is made of {parent.ref} twice; expected each adapter once.",
                parent.ref,
            )


def _weights(folder: Folder, among: Collection[str]) -> dict[str, FileInfo]:
    """Return the weights of a version that are among some digests, by path."""
    files = folder.manifest.files.items()
    return {path: i for path, i in files if i.sha256 in among and path.endswith(".safetensors")}


def _are_large(folder: Folder, among: Collection[str]) -> bool:
    """Whether to look at weights takes longer than a client waits."""
    return sum(info.size for info in _weights(folder, among).values()) > LOOKED_AT


def _require_finite(folder: Folder, among: Collection[str]) -> None:
    """Refuse weights with NaN or infinity.

    Args:
        folder: The version.
        among: The digests of those that are looked at.

    Raises:
        FolderError: Some hold it.
    """
    for path in _weights(folder, among):
        examine_weights(folder.path / path).require_finite(folder.path / path)


def _require_never_other(
    connection: Connection, repository: Repository, manifest: Manifest, number: int | None
) -> None:
    """Refuse a number of a version with other content that was deleted with its repository.

    The log has that version, if the repository had the same name then.
    """
    of_repository = REPOSITORIES.c.id == repository.id
    following = connection.scalar(select(REPOSITORIES.c.next_number).where(of_repository)) or 0
    if number is None or number >= following:
        return  # no version ever had it
    there = (REVISIONS.c.repository_id == repository.id, REVISIONS.c.number == number)
    if connection.scalar(select(REVISIONS.c.id).where(*there)) is not None:
        return  # `record_version` compares the two
    entries = connection.scalars(
        select(LOG.c.details)
        .where(LOG.c.folded == repository.ref.folded, LOG.c.action == "publish")
        .order_by(LOG.c.sequence.desc())
    )
    for details in map(json.loads, entries):
        if details.get("number") == number and details.get("digest") != manifest.digest:
            raise ConflictError(
                f"{repository.ref.at(number)} was something else before {repository.full_name} was "
                f"deleted: expected manifest {details['digest'][:12]}, found "
                f"{manifest.digest[:12]}. Versions never change; ask for another number.",
                repository.ref,
                expected=details["digest"],
                found=manifest.digest,
            )


def _require_parent(repository: Repository, branch: str, head: Commit, parent: str | None) -> None:
    if parent is not None and head.oid != parent:
        raise StaleParentError(
            f"The branch {branch} of {repository.full_name} is at {head.oid[:12]}, but the commit "
            f"was made for {parent[:12]}: another commit came first.",
            branch,
            expected=parent,
            found=head.oid,
        )
