"""Commits: one state of a repository after another, and the branches and tags that name them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, update

from registry.errors import (
    ConflictError,
    ExistsError,
    InvalidNameError,
    RemovedCommitError,
    RevisionNotFoundError,
)
from registry.history.git import commit_id
from registry.history.names import MAIN, check_ref, is_commit_id, tagged_version, version_tag
from registry.history.repositories import Repository
from registry.history.trees import Tree, add_tree
from registry.tables.edit import remove_trees
from registry.tables.models import BRANCHES, COMMIT_TAGS, COMMITS, REPOSITORIES, REVISIONS
from registry.tables.record import MAX_GIVEN_NUMBER
from registry.tables.versions import aliased_number, batches

Id = TypeVar("Id", int, str)
"""A commit by its row, or by its id in git."""

# Built once, as in `registry.tables.record`.
_ADD_COMMIT = insert(COMMITS).returning(COMMITS.c.id)
_PARENTS = COMMITS.alias("parents_of_commits")
_COMMITS = (
    select(COMMITS, _PARENTS.c.oid.label("parent"), REVISIONS.c.number.label("version"))
    .outerjoin(_PARENTS, _PARENTS.c.id == COMMITS.c.parent_id)
    .outerjoin(REVISIONS, REVISIONS.c.id == COMMITS.c.revision_id)
)
_BY_ID = _COMMITS.where(
    COMMITS.c.repository_id == bindparam("whose"), COMMITS.c.oid == bindparam("called")
)
_BY_BRANCH, _BY_TAG = (
    _COMMITS.join(table, table.c.commit_id == COMMITS.c.id).where(
        table.c.repository_id == bindparam("whose"), table.c.name == bindparam("called")
    )
    for table in (BRANCHES, COMMIT_TAGS)
)


@dataclass(frozen=True, slots=True)
class Commit:
    """One state of a repository.

    Attributes:
        id: Its row.
        repository_id: The repository's row.
        oid: Its id in git.
        tree_id: The row of its tree.
        parent_id: The row of the commit before it; None for the first.
        parent: The id of that commit in git.
        author: Who made it.
        message: A title, and after an empty line a description.
        created_at: The time, to the second.
        revision_id: The row of the version that it holds; None if it holds none.
        version: The number of that version.
        reason: Why it holds no version; None if it holds one, or need not hold one.
    """

    id: int
    repository_id: int
    oid: str
    tree_id: int
    parent_id: int | None
    parent: str | None
    author: str
    message: str
    created_at: datetime
    revision_id: int | None
    version: int | None
    reason: str | None

    @property
    def title(self) -> str:
        """The first line of the message."""
        return self.message.partition("\n")[0]

    @property
    def description(self) -> str:
        """The message without the title."""
        return self.message.partition("\n")[2].removeprefix("\n")


@dataclass(frozen=True, slots=True)
class Branch:
    """A name that moves along with each commit on it.

    Attributes:
        name: Its name.
        oid: The id of its last commit.
    """

    name: str
    oid: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A name that does not move.

    Attributes:
        name: Its name.
        oid: The id of its commit.
        message: Its message; None if it has none.
    """

    name: str
    oid: str
    message: str | None


def add_commit(
    connection: Connection,
    repository_id: int,
    tree: Tree,
    *,
    parent: Commit | str | None,
    author: str,
    message: str,
    at: datetime,
    revision_id: int | None = None,
    reason: str | None = None,
) -> Commit:
    """Insert a commit. If it exists, only record the version that was found in it later.

    Args:
        connection: A write transaction.
        repository_id: The repository's row.
        tree: Its files.
        parent: The commit before it, or only its id if that commit is lost; None for the first.
        author: Who made it.
        message: Its message.
        at: The time.
        revision_id: The row of the version that it holds.
        reason: Why it holds none.
    """
    before = parent.oid if isinstance(parent, Commit) else parent
    seconds = at.replace(microsecond=0)
    oid = commit_id(tree.oid, before, author, seconds, message)
    found = find_commit(connection, repository_id, oid)
    if found is not None:
        if found.revision_id is None and (revision_id, reason) != (None, found.reason):
            note_version(connection, found.id, revision_id, reason)
        return load_commit(connection, found.id)
    made = connection.scalar(
        _ADD_COMMIT,
        {
            "repository_id": repository_id,
            "oid": oid,
            "tree_id": add_tree(connection, tree),
            "parent_id": parent.id if isinstance(parent, Commit) else None,
            "author": author,
            "message": message,
            "created_at": seconds,
            "revision_id": revision_id,
            "reason": reason,
        },
    )
    assert made is not None
    return load_commit(connection, made)


def note_version(
    connection: Connection, id: int, revision_id: int | None, reason: str | None
) -> None:
    """Note which version a commit holds, or why it holds none."""
    late = {"revision_id": revision_id, "reason": reason}
    connection.execute(update(COMMITS).where(COMMITS.c.id == id).values(late))


def find_pending(connection: Connection, reasons: Sequence[str]) -> list[Commit]:
    """Return the commits without a version for one of some reasons, oldest first."""
    waiting = _COMMITS.where(COMMITS.c.reason.in_(reasons))
    rows = connection.execute(waiting.order_by(COMMITS.c.id))
    return [_commit(row) for row in rows]


def load_commit(connection: Connection, id: int) -> Commit:
    """Return the commit of a row, which must exist."""
    return _commit(connection.execute(_COMMITS.where(COMMITS.c.id == id)).one())


def load_commits(connection: Connection, ids: Sequence[int]) -> dict[int, Commit]:
    """Return the commits of some rows by their ids."""
    rows = connection.execute(_COMMITS.where(COMMITS.c.id.in_(ids)))
    return {row.id: _commit(row) for row in rows.all()}


def find_commit(connection: Connection, repository_id: int, oid: str) -> Commit | None:
    """Return a commit of a repository by its id in git; None if there is none."""
    return _first(connection, _BY_ID, repository_id, oid)


def require_commit(connection: Connection, commit: Commit) -> Commit:
    """Return a commit that was found before, as it is now.

    Its row may be gone, or be that of another commit by now: SQLite uses ids again.

    Raises:
        RemovedCommitError: A squash or a deletion removed it.
    """
    found = find_commit(connection, commit.repository_id, commit.oid)
    if found is None or (found.id, found.tree_id) != (commit.id, commit.tree_id):
        raise RemovedCommitError(f"The commit {commit.oid[:12]} is no longer there.", commit.oid)
    return found


def find_branch(connection: Connection, repository_id: int, name: str = MAIN) -> Commit | None:
    """Return the last commit of a branch; None if there is no such branch."""
    return _first(connection, _BY_BRANCH, repository_id, name)


def require_branch(connection: Connection, repository: Repository, branch: str) -> Commit:
    """Return the last commit of a branch.

    Raises:
        RevisionNotFoundError: There is no such branch.
    """
    found = None if "\0" in branch else find_branch(connection, repository.id, branch)
    if found is None:
        raise RevisionNotFoundError(
            f"{repository.full_name} has no branch {branch!r}.", branch, given=branch
        )
    return found


def find_tag(connection: Connection, repository_id: int, name: str) -> Commit | None:
    """Return the commit of a tag; None if there is no such tag."""
    return _first(connection, _BY_TAG, repository_id, name)


def find_version(connection: Connection, repository_id: int, tag: str) -> Commit | None:
    """Return the commit of a version by its tag; None if that is no tag of a version."""
    found = None if tagged_version(tag) is None else find_tag(connection, repository_id, tag)
    return found if found is not None and found.version == tagged_version(tag) else None


def resolve_revision(
    connection: Connection, repository_id: int, named: str, revision: str
) -> Commit:
    """Return the commit that the tag of a version, else a branch, a tag, an id or an alias names.

    The tag of a version never moves: no branch of that name takes its place.

    Args:
        connection: A transaction.
        repository_id: The repository's row.
        named: Its name, for messages.
        revision: The name, or 40 hexadecimal digits.

    Raises:
        RevisionNotFoundError: The repository has no such branch, tag or commit.
    """
    if revision and "\0" not in revision:  # PostgreSQL refuses a text with a zero byte
        if (held := find_version(connection, repository_id, revision)) is not None:
            return held
        for find in (find_branch, find_tag):
            if (found := find(connection, repository_id, revision)) is not None:
                return found
        if is_commit_id(revision):
            by_id = find_commit(connection, repository_id, revision)
            if by_id is not None:
                return by_id
        aliased = aliased_number(connection, repository_id, revision)
        if aliased is not None:
            tagged = find_tag(connection, repository_id, version_tag(aliased))
            if tagged is not None:
                return tagged
    raise RevisionNotFoundError(
        f"{named} has no branch, tag or commit {revision!r}.", revision, given=revision
    )


def walk(connection: Connection, start: Commit, limit: int) -> list[Commit]:
    """Return a commit and those before it, newest first, at most `limit`."""
    line = (
        select(COMMITS.c.id, COMMITS.c.parent_id, COMMITS.c.id.op("-")(COMMITS.c.id).label("step"))
        .where(COMMITS.c.id == start.id)
        .cte("line", recursive=True)
    )
    line = line.union_all(
        select(COMMITS.c.id, COMMITS.c.parent_id, line.c.step + 1)
        .join(line, COMMITS.c.id == line.c.parent_id)
        .where(line.c.step < limit - 1)
    )
    statement = _COMMITS.join(line, line.c.id == COMMITS.c.id).order_by(line.c.step)
    return [_commit(row) for row in connection.execute(statement)]


def list_branches(connection: Connection, repository_id: int) -> list[Branch]:
    """Return the branches of a repository: ``main`` first, then by name."""
    rows = connection.execute(
        select(BRANCHES.c.name, COMMITS.c.oid)
        .join(COMMITS, COMMITS.c.id == BRANCHES.c.commit_id)
        .where(BRANCHES.c.repository_id == repository_id)
    )
    found = [Branch(row.name, row.oid) for row in rows]
    return sorted(found, key=lambda branch: (branch.name != MAIN, branch.name))


def list_tags(connection: Connection, repository_id: int) -> list[Tag]:
    """Return the tags of a repository by name."""
    rows = connection.execute(
        select(COMMIT_TAGS.c.name, COMMITS.c.oid, COMMIT_TAGS.c.message)
        .join(COMMITS, COMMITS.c.id == COMMIT_TAGS.c.commit_id)
        .where(COMMIT_TAGS.c.repository_id == repository_id)
    )
    return sorted((Tag(*row) for row in rows), key=lambda tag: tag.name)


def point_branch(connection: Connection, commit: Commit, name: str = MAIN) -> None:
    """Make a commit the last one of a branch; make the branch if there is none."""
    place = (BRANCHES.c.repository_id == commit.repository_id, BRANCHES.c.name == name)
    moved = connection.execute(update(BRANCHES).where(*place).values(commit_id=commit.id))
    if not moved.rowcount:
        new = {"repository_id": commit.repository_id, "name": name, "commit_id": commit.id}
        connection.execute(insert(BRANCHES), new)


def require_no_version(connection: Connection, repository: Repository, branch: str) -> None:
    """Refuse the name of a branch that is the tag of a version.

    Raises:
        InvalidNameError: It is.
    """
    if find_version(connection, repository.id, branch) is not None:
        raise InvalidNameError(
            f"{branch} is the tag of a version of {repository.full_name}, and no branch takes its "
            "place. Choose another name.",
            branch,
        )


def make_branch(connection: Connection, named: str, name: str, at: Commit) -> None:
    """Make a branch.

    Raises:
        InvalidNameError: git would refuse its name.
        ExistsError: There is one of that name.
    """
    check_ref("branch", name)
    if find_branch(connection, at.repository_id, name) is not None:
        raise ExistsError(f"{named} has a branch {name} already.", name)
    point_branch(connection, at, name)


def drop_branch(connection: Connection, repository_id: int, named: str, name: str) -> None:
    """Forget a branch; its commits stay.

    Raises:
        ConflictError: It is the main one.
        RevisionNotFoundError: There is no such branch.
    """
    if name == MAIN:
        raise ConflictError(f"The branch {MAIN} of {named} cannot be deleted.", name)
    place = (BRANCHES.c.repository_id == repository_id, BRANCHES.c.name == name)
    if not connection.execute(delete(BRANCHES).where(*place)).rowcount:
        raise RevisionNotFoundError(f"{named} has no branch {name!r}.", name)


def make_tag(
    connection: Connection,
    named: str,
    name: str,
    at: Commit,
    *,
    message: str | None,
    created_at: datetime,
) -> None:
    """Make a tag. A tag such as ``v7`` reserves the number 7: no later version gets it.

    Raises:
        InvalidNameError: git would refuse its name.
        ExistsError: There is one of that name.
    """
    check_ref("tag", name)
    if find_tag(connection, at.repository_id, name) is not None:
        raise ExistsError(f"{named} has a tag {name} already.", name)
    take_number(connection, at.repository_id, name)
    connection.execute(
        insert(COMMIT_TAGS),
        {
            "repository_id": at.repository_id,
            "name": name,
            "commit_id": at.id,
            "message": message,
            "created_at": created_at,
        },
    )


def take_number(connection: Connection, repository_id: int, tag: str) -> None:
    """Reserve the number in a tag's name, such as 7 in ``v7``."""
    number = tagged_number(tag)
    if number is not None:
        connection.execute(
            update(REPOSITORIES)
            .where(REPOSITORIES.c.id == repository_id, REPOSITORIES.c.next_number <= number)
            .values(next_number=number + 1)
        )


def tagged_number(tag: str) -> int | None:
    """Return the number that a tag reserves; None if its name is not like ``v7``."""
    number = tagged_version(tag)
    return number if number is not None and number <= MAX_GIVEN_NUMBER else None


def drop_tag(connection: Connection, repository_id: int, named: str, name: str) -> None:
    """Forget a tag.

    Raises:
        ConflictError: It is that of a version.
        RevisionNotFoundError: There is no such tag.
    """
    found = find_tag(connection, repository_id, name)
    if found is None:
        raise RevisionNotFoundError(f"{named} has no tag {name!r}.", name)
    if found.version is not None and tagged_version(name) == found.version:
        raise ConflictError(
            f"The tag {name} of {named} belongs to its version {found.version}, and stays with it.",
            name,
        )
    place = (COMMIT_TAGS.c.repository_id == repository_id, COMMIT_TAGS.c.name == name)
    connection.execute(delete(COMMIT_TAGS).where(*place))


def tag_version(connection: Connection, named: str, commit: Commit, at: datetime) -> None:
    """Give the commit of a new version its tag.

    Raises:
        ConflictError: Another commit has that tag.
    """
    assert commit.version is not None
    name = version_tag(commit.version)
    held = find_tag(connection, commit.repository_id, name)
    if held is None:
        make_tag(connection, named, name, commit, message=None, created_at=at)
    elif held.id != commit.id:
        raise ConflictError(
            f"Version {commit.version} of {named} cannot get the tag {name}, which names the "
            f"commit {held.oid[:12]}.",
            name,
        )


def forget_unreachable(connection: Connection, repository_id: int) -> None:
    """Remove the commits of a repository that no branch or tag leads to."""
    rows = connection.execute(
        select(COMMITS.c.id, COMMITS.c.parent_id).where(COMMITS.c.repository_id == repository_id)
    )
    parents = {row.id: row.parent_id for row in rows}
    named = [
        commit_id
        for table in (BRANCHES, COMMIT_TAGS)
        for commit_id in connection.scalars(
            select(table.c.commit_id).where(table.c.repository_id == repository_id)
        )
    ]
    for batch in batches(sorted(parents.keys() - reachable(named, parents))):
        lost = COMMITS.c.id.in_(batch)
        trees = {*connection.scalars(select(COMMITS.c.tree_id).where(lost))}
        # Those in another batch would have to go before their parents.
        connection.execute(
            update(COMMITS).where(COMMITS.c.parent_id.in_(batch)).values(parent_id=None)
        )
        connection.execute(delete(COMMITS).where(lost))
        remove_trees(connection, trees)


def reachable(named: Iterable[Id], parents: Mapping[Id, Id | None]) -> set[Id]:
    """Return the commits that some commits lead to, themselves included.

    Args:
        named: Where to start.
        parents: The commit before each; None for the first.
    """
    reached: set[Id] = set()
    for start in named:
        current: Id | None = start
        while current is not None and current not in reached:
            reached.add(current)
            current = parents.get(current)
    return reached


def check_message(title: str, description: str) -> str:
    """Return the message of a commit; further lines of the title go to the description.

    Raises:
        InvalidNameError: There is no title.
    """
    first, _, more = title.strip().partition("\n")
    if not first:
        raise InvalidNameError("A commit has a title, but this one is empty.", title)
    said = "\n\n".join(filter(None, [more.strip("\n"), description]))
    return f"{first.rstrip()}\n\n{said}" if said else first


def _first(
    connection: Connection, statement: Select[Any], repository_id: int, called: str
) -> Commit | None:
    row = connection.execute(statement, {"whose": repository_id, "called": called}).first()
    return None if row is None else _commit(row)


def _commit(row: Row[Any]) -> Commit:
    return Commit(**row._mapping)
