"""The history of repositories: all that a hub reads and changes, except for new commits."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

from sqlalchemy import Connection, select

from registry.errors import EntryNotFoundError
from registry.history.cards import Facts
from registry.history.commits import (
    Branch,
    Commit,
    Tag,
    add_commit,
    drop_branch,
    drop_tag,
    find_branch,
    forget_unreachable,
    list_branches,
    list_tags,
    make_branch,
    make_tag,
    point_branch,
    require_branch,
    require_commit,
    require_no_version,
    resolve_revision,
    walk,
)
from registry.history.deleting import delete_model
from registry.history.listing import Listed, Query, list_page, load_facts
from registry.history.names import MAIN
from registry.history.repositories import (
    Repository,
    delete_repository,
    find_deleted_since,
    find_repository,
    list_without_account,
    load_repository,
    make_repository,
    rename_repository,
    set_visibility,
)
from registry.history.steps import (
    account_name,
    full_details_of,
    keep_bytes,
    log_change,
    store_contents,
    whole_seconds,
)
from registry.history.trees import (
    LARGE_ENDINGS,
    MOST_FILES,
    ChangedFile,
    Tree,
    TreeFile,
    find_differences,
    find_file,
    find_files,
    has_ending,
    load_folder,
    load_tree,
)
from registry.history.uploads import possessed, remember_uploads
from registry.history.versions import facts_at, list_again
from registry.places import Kind, Visibility, place_of
from registry.refs import DELETED, AdapterRef
from registry.storage.files import FileInfo
from registry.store import Store
from registry.tables.lineage import Relatives, find_relatives
from registry.tables.models import BRANCHES, HUB_LISTINGS, REPOSITORIES
from registry.tables.reader import Reader
from registry.tables.versions import Version, load_aliases, load_newest, load_version, newest_number

_LOOKED_BACK = 1000
"""Commits that the last change of a file is looked for in."""

_FIRST_FILE = ".gitattributes"


class History:
    """The repositories of a registry, their commits, and what names these.

    Args:
        store: What holds the registry.
    """

    def __init__(self, store: Store) -> None:
        """Touch nothing yet."""
        self._store = store
        self._database, self._blobs, self._log = store.database, store.blobs, store.log

    # Repositories

    def create(
        self,
        kind: Kind,
        ref: AdapterRef,
        *,
        account_id: int,
        visibility: Visibility,
        actor: str,
    ) -> Repository:
        """Make a repository with a branch ``main`` and one commit.

        Args:
            kind: Its kind.
            ref: Its owner and name.
            account_id: The id of its account.
            visibility: Whether everybody may read it.
            actor: Who makes it.

        Raises:
            ExistsError: There is one of that name.
            ConflictError: Another account deleted one of that name.
            InvalidNameError: The name differs only in its spelling from another.
        """
        rules = "".join(f"*{end} filter=lfs diff=lfs merge=lfs -text\n" for end in LARGE_ENDINGS)
        tree = Tree.of([TreeFile.small(_FIRST_FILE, rules.encode())])
        store_contents(self._blobs, rules.encode(), tree.to_json())

        def give_name_back(connection: Connection) -> None:
            deleted = find_deleted_since(connection, kind, ref, account_id)
            if deleted is not None:
                rename_repository(connection, deleted, ref, account_id)
                to = place_of(kind, ref)
                log_change(self._log, connection, "move", deleted, actor, to=to, account=ref.owner)

        def change(connection: Connection) -> Repository:
            at = whole_seconds()
            made = make_repository(
                connection, kind, ref, account_id=account_id, visibility=visibility, at=at
            )
            keep_bytes(connection, self._blobs, {tree.digest, tree.files[0].sha256})
            head = add_commit(
                connection,
                made.id,
                tree,
                parent=None,
                author=account_name(actor),
                message="Make the repository",
                at=at,
            )
            point_branch(connection, head)
            list_again(self._store, connection, made)
            details = full_details_of(head, tree, MAIN)
            details |= {"visibility": visibility, "account": ref.owner}
            log_change(self._log, connection, "create", made, actor, **details)
            return made

        with self._database.read() as connection:
            was_called_so = find_deleted_since(connection, kind, ref, account_id) is not None
        if was_called_so:
            self._database.transact(give_name_back)
        return self._database.transact(change)

    def find(self, kind: Kind, ref: AdapterRef) -> Repository | None:
        """Return a repository by its name in any spelling, or by a former name; None if none."""
        with self._database.read() as connection:
            return find_repository(connection, kind, ref)

    def get(self, id: int) -> Repository:
        """Return a repository by its row.

        Raises:
            RepositoryNotFoundError: It was deleted.
        """
        with self._database.read() as connection:
            return load_repository(connection, id)

    def set_visibility(self, repository: Repository, visibility: Visibility, actor: str) -> None:
        """Make a repository public or private."""

        def change(connection: Connection) -> None:
            current = load_repository(connection, repository.id)
            if current.visibility == visibility:
                return
            set_visibility(connection, current.id, visibility)
            log_change(self._log, connection, "settings", current, actor, visibility=visibility)

        self._database.transact(change)

    def move(
        self, repository: Repository, ref: AdapterRef, *, account_id: int | None, actor: str
    ) -> None:
        """Give a repository another name; its former name still leads to it.

        Raises:
            ConflictError: The name is taken.
            InvalidNameError: It is a former name of another repository.
        """

        def change(connection: Connection) -> None:
            current = load_repository(connection, repository.id)
            rename_repository(connection, current, ref, account_id)
            moved = load_repository(connection, repository.id)
            list_again(self._store, connection, moved)
            log_change(
                self._log, connection, "move", current, actor, to=moved.place, account=ref.owner
            )

        self._database.transact(change)

    def delete(self, repository: Repository, actor: str) -> None:
        """Delete a repository with all that is in it; its name stays with its account.

        Versions that others are made of stay; see `registry.history.deleting`.

        Raises:
            RepositoryNotFoundError: It was deleted meanwhile.
            ConflictError: It is the remains of a deleted adapter.
        """
        if repository.kind == "model":
            delete_model(self._store, partial(load_repository, id=repository.id), actor)
            return

        def change(connection: Connection) -> None:
            at = datetime.now(UTC)
            current = load_repository(connection, repository.id)
            delete_repository(connection, current.id, at)
            details = {"numbers": [], "deleted_at": at.isoformat()}
            log_change(self._log, connection, "delete", current, actor, **details)

        self._database.transact(change)

    def without_account(self) -> list[AdapterRef]:
        """Return the adapters that belong to no account, by name: a hub does not show them."""
        with self._database.read() as connection:
            return list_without_account(connection)

    def page(
        self, query: Query, reader: Reader, *, limit: int, after: str | None = None
    ) -> tuple[list[Listed], str | None]:
        """Return a page of repositories and the cursor of the next one; see `list_page`."""
        with self._database.read() as connection:
            return list_page(connection, query, reader, limit=limit, after=after)

    def complete_listings(self) -> int:
        """Add missing listings of repositories that an account has claimed; return how many."""
        listed = select(HUB_LISTINGS.c.repository_id)
        with self._database.read() as connection:
            missing = connection.scalars(
                select(REPOSITORIES.c.id)
                .join(BRANCHES, BRANCHES.c.repository_id == REPOSITORIES.c.id)
                .where(
                    BRANCHES.c.name == MAIN,
                    REPOSITORIES.c.account_id.is_not(None),
                    REPOSITORIES.c.owner != DELETED,
                    REPOSITORIES.c.id.not_in(listed),
                )
            ).all()

        def change(connection: Connection, id: int) -> None:
            list_again(self._store, connection, load_repository(connection, id))

        for id in missing:
            self._database.transact(partial(change, id=id))
        return len(missing)

    def facts(self, repository: Repository) -> Facts:
        """Return the listing of a repository."""
        with self._database.read() as connection:
            found = load_facts(connection, repository.id)
        return Facts(None, None, (), {}) if found is None else found

    def facts_at(self, repository: Repository, commit: Commit) -> Facts:
        """Return the listing that a repository would have at a commit.

        Raises:
            RevisionNotFoundError: It is no longer there.
        """
        with self._reading(commit) as connection:
            return facts_at(self._store, connection, repository, commit)

    # Reading

    @contextmanager
    def _reading(self, *commits: Commit) -> Iterator[Connection]:
        """Yield a connection that sees these commits, which were found before.

        Raises:
            RevisionNotFoundError: One of them is no longer there.
        """
        with self._database.read() as connection:
            for commit in commits:
                require_commit(connection, commit)
            yield connection

    def head(self, ref: AdapterRef) -> Commit | None:
        """Return the last commit on ``main`` of an adapter; None if there is none."""
        with self._database.read() as connection:
            repository = find_repository(connection, "model", ref)
            return None if repository is None else find_branch(connection, repository.id)

    def resolve(self, repository: Repository, revision: str) -> Commit:
        """Return the commit that a version's tag, else a branch, a tag, an id or an alias names.

        Raises:
            RevisionNotFoundError: It has no such branch, tag or commit.
        """
        with self._database.read() as connection:
            return resolve_revision(connection, repository.id, repository.full_name, revision)

    def tree(self, commit: Commit) -> Tree:
        """Return the files of a commit.

        Raises:
            RevisionNotFoundError: It is no longer there.
        """
        with self._reading(commit) as connection:
            return load_tree(connection, commit.tree_id)

    def file(self, commit: Commit, path: str) -> TreeFile:
        """Return a file of a commit.

        Raises:
            EntryNotFoundError: There is none of that path.
            RevisionNotFoundError: The commit is no longer there.
        """
        with self._reading(commit) as connection:
            found = None if "\0" in path else find_file(connection, commit.tree_id, path)
        if found is None:
            raise EntryNotFoundError(f"The commit {commit.oid} has no file {path!r}.", path)
        return found

    def files(self, commit: Commit, paths: Collection[str]) -> dict[str, TreeFile]:
        """Return the files of a commit at some paths, by path.

        Raises:
            RevisionNotFoundError: The commit is no longer there.
        """
        with self._reading(commit) as connection:
            return find_files(connection, commit.tree_id, paths)

    def has_ending(self, commit: Commit, endings: Collection[str]) -> bool:
        """Whether the path of any file of a commit ends in one of some endings.

        Raises:
            RevisionNotFoundError: The commit is no longer there.
        """
        with self._reading(commit) as connection:
            return has_ending(connection, commit.tree_id, endings)

    def folder(self, commit: Commit, folder: str) -> list[tuple[str, int, str]]:
        """Return the files of a commit that are in a folder or below it; see `load_folder`.

        Raises:
            RevisionNotFoundError: The commit is no longer there.
        """
        with self._reading(commit) as connection:
            return load_folder(connection, commit.tree_id, folder)

    def differences(self, before: Commit | None, after: Commit, limit: int) -> list[ChangedFile]:
        """Return the files that differ between two commits; see `find_differences`.

        Raises:
            RevisionNotFoundError: One of them is no longer there.
        """
        with self._reading(*filter(None, (before, after))) as connection:
            first = None if before is None else before.tree_id
            return find_differences(connection, first, after.tree_id, limit)

    def commits(self, start: Commit, limit: int) -> list[Commit]:
        """Return a commit and those before it, newest first, at most `limit`.

        Raises:
            RevisionNotFoundError: It is no longer there.
        """
        with self._reading(start) as connection:
            return walk(connection, start, limit)

    def last_changes(self, start: Commit, paths: Collection[str]) -> dict[str, Commit]:
        """Return the last commit that changed each file or folder, of those in a commit's tree.

        Raises:
            RevisionNotFoundError: It is no longer there.
        """
        found: dict[str, Commit] = {}
        pending = set(paths)
        with self._reading(start) as connection:
            line = walk(connection, start, _LOOKED_BACK)
            for commit, before in pairwise(line):
                if not pending:
                    break
                # Not their trees: to load a thousand large ones takes minutes.
                changed = find_differences(
                    connection, before.tree_id, commit.tree_id, 2 * MOST_FILES
                )
                last = pending & {one for file in changed for one in _places_of(file.path)}
                found |= dict.fromkeys(last, commit)
                pending -= last
        return found | dict.fromkeys(pending, line[-1])

    def branches(self, repository: Repository) -> list[Branch]:
        """Return the branches of a repository, ``main`` first."""
        with self._database.read() as connection:
            return list_branches(connection, repository.id)

    def branch(self, repository: Repository, name: str) -> Commit:
        """Return the last commit of a branch.

        Raises:
            RevisionNotFoundError: There is no such branch.
        """
        with self._database.read() as connection:
            return require_branch(connection, repository, name)

    def tags(self, repository: Repository) -> list[Tag]:
        """Return the tags of a repository by name."""
        with self._database.read() as connection:
            return list_tags(connection, repository.id)

    # Versions

    def version(self, commit: Commit) -> Version | None:
        """Return the version that a commit holds; None if it holds none."""
        if commit.revision_id is None:
            return None
        with self._reading(commit) as connection:
            return load_version(connection, commit.revision_id)

    def newest_number(self, repository: Repository) -> int | None:
        """Return the number of the newest version that is not yanked; None if there is none."""
        with self._database.read() as connection:
            return newest_number(connection, repository.id)

    def versions(
        self, repository: Repository, limit: int, *, before: int | None = None
    ) -> list[Version]:
        """Return the newest versions of a repository, yanked ones too; see `load_newest`."""
        with self._database.read() as connection:
            return load_newest(connection, repository.id, limit, before=before)

    def aliases(self, repository: Repository) -> list[tuple[str, int]]:
        """Return the aliases of a repository by name, each with the number of its version."""
        with self._database.read() as connection:
            return load_aliases(connection, repository.id)

    def relatives(
        self, version: Version, reader: Reader, *, levels: int, most: int
    ) -> tuple[Relatives, Relatives]:
        """Return the parents of a version, and its users, as far as a reader may see them.

        Args:
            version: A version that the reader may see.
            reader: The reader.
            levels: How many levels to go each way.
            most: The most versions of a level.
        """
        digest, readable = version.manifest_digest, reader.readable
        with self._database.read() as connection:
            return (
                find_relatives(connection, digest, "parents", readable, levels=levels, most=most),
                find_relatives(connection, digest, "users", readable, levels=levels, most=most),
            )

    # Branches and tags

    def create_branch(self, repository: Repository, name: str, at: Commit, actor: str) -> None:
        """Make a branch.

        Raises:
            InvalidNameError: git would refuse its name, or it is the tag of a version: nobody would
                find the branch by it.
            ExistsError: There is one of that name.
            RevisionNotFoundError: The commit is no longer there.
        """

        def change(connection: Connection) -> None:
            current = load_repository(connection, repository.id)
            require_no_version(connection, current, name)
            make_branch(connection, current.full_name, name, require_commit(connection, at))
            log_change(self._log, connection, "branch", current, actor, branch=name, commit=at.oid)

        self._database.transact(change)

    def delete_branch(self, repository: Repository, name: str, actor: str) -> None:
        """Forget a branch; its commits stay.

        Raises:
            ConflictError: It is the main one.
            RevisionNotFoundError: There is no such branch.
        """

        def change(connection: Connection) -> None:
            current = load_repository(connection, repository.id)
            drop_branch(connection, current.id, current.full_name, name)
            log_change(self._log, connection, "unbranch", current, actor, branch=name)

        self._database.transact(change)

    def create_tag(
        self, repository: Repository, name: str, at: Commit, message: str | None, actor: str
    ) -> None:
        """Make a tag.

        Raises:
            InvalidNameError: git would refuse its name.
            ExistsError: There is one of that name.
            RevisionNotFoundError: The commit is no longer there.
        """

        def change(connection: Connection) -> None:
            now = datetime.now(UTC)
            current = load_repository(connection, repository.id)
            there = require_commit(connection, at)
            make_tag(connection, current.full_name, name, there, message=message, created_at=now)
            details = {"tag": name, "commit": at.oid, "created_at": now.isoformat()}
            log_change(self._log, connection, "tag", current, actor, message=message, **details)

        self._database.transact(change)

    def delete_tag(self, repository: Repository, name: str, actor: str) -> None:
        """Forget a tag.

        Raises:
            ConflictError: It is that of a version.
            RevisionNotFoundError: There is no such tag.
        """

        def change(connection: Connection) -> None:
            current = load_repository(connection, repository.id)
            drop_tag(connection, current.id, current.full_name, name)
            log_change(self._log, connection, "untag", current, actor, tag=name)

        self._database.transact(change)

    def squash(self, repository: Repository, branch: str, message: str, actor: str) -> Commit:
        """Make one commit of all commits of a branch; those of versions stay under their tags.

        Raises:
            RevisionNotFoundError: There is no such branch.
        """

        def change(connection: Connection) -> Commit:
            current = load_repository(connection, repository.id)
            head = require_branch(connection, current, branch)
            tree = load_tree(connection, head.tree_id)
            made = add_commit(
                connection,
                current.id,
                tree,
                parent=None,
                author=account_name(actor),
                message=message,
                at=whole_seconds(),
                revision_id=head.revision_id,
                reason=head.reason,
            )
            point_branch(connection, made, branch)
            if branch == MAIN:
                list_again(self._store, connection, current)
            forget_unreachable(connection, current.id)
            details = full_details_of(made, tree, branch)
            log_change(self._log, connection, "squash", current, actor, **details)
            return made

        return self._database.transact(change)

    # Bytes

    def remember_upload(self, account_id: int, *infos: FileInfo) -> None:
        """Record that an account sent some files: it may name them in commits for a day."""
        now = datetime.now(UTC)
        self._database.transact(
            lambda connection: remember_uploads(connection, account_id, infos, now)
        )

    def possessed(
        self, digests: Collection[str], *, account_id: int, reader: Reader
    ) -> dict[str, int]:
        """Return the sizes of those blobs that an account may name in a commit, by digest."""
        now = datetime.now(UTC)
        with self._database.read() as connection:
            return possessed(connection, digests, account_id=account_id, reader=reader, now=now)


def _places_of(path: str) -> Iterator[str]:
    """Yield a path, and the folders that it is in."""
    while path:
        yield path
        path = path.rpartition("/")[0]
