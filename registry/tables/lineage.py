"""Lineage: the parents of a version, of which it is made, and its users, made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, Select, func, select

from registry.errors import ParentNotFoundError
from registry.refs import DELETED
from registry.tables.models import PARENTS, REPOSITORIES, REVISIONS
from registry.tables.versions import Version, batches, load_digests, load_versions, select_versions


@dataclass(frozen=True, slots=True)
class ParentLink:
    """A parent of a version.

    Attributes:
        ref: Its name when the version was made.
        digest: Its manifest's digest.
        version: The version here with that digest; None if there is none. Its ref `is_nameless` if
            it was deleted.
    """

    ref: str
    digest: str
    version: Version | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """The neighbours of a version.

    Attributes:
        parents: Its parents, in the manifest's order.
        children: Its users, oldest first, without the remains of deleted adapters.
    """

    parents: tuple[ParentLink, ...]
    children: tuple[Version, ...]


def find_lineage(connection: Connection, manifest_digest: str) -> Lineage:
    """Return the lineage of all versions with this manifest, which is the same for each."""
    users = select(PARENTS.c.child_id).where(PARENTS.c.digest == manifest_digest)
    named = select_versions().where(
        REVISIONS.c.id.in_(users), REPOSITORIES.c.owner.is_distinct_from(DELETED)
    )
    children = load_versions(connection, named.order_by(REVISIONS.c.id))
    return Lineage(
        parents=_parent_links(connection, manifest_digest),
        children=tuple(children),
    )


def find_users(connection: Connection, repository_id: int) -> list[Version]:
    """Return the other adapters that are made of a repository's versions, the newest of each."""
    own = select(REVISIONS.c.manifest_digest).where(REVISIONS.c.repository_id == repository_id)
    users = select(PARENTS.c.child_id).where(PARENTS.c.digest.in_(own))
    newest = (
        select(func.max(REVISIONS.c.id))
        .where(REVISIONS.c.id.in_(users), REVISIONS.c.repository_id != repository_id)
        .group_by(REVISIONS.c.repository_id)
    )
    named = select_versions().where(
        REVISIONS.c.id.in_(newest), REPOSITORIES.c.owner.is_distinct_from(DELETED)
    )
    return load_versions(connection, named.order_by(REVISIONS.c.id))


def find_parents(connection: Connection, version: Version) -> list[Version]:
    """Return the parents of a version, in the manifest's order.

    Raises:
        ParentNotFoundError: One of them is not in this registry.
    """
    found = []
    for link in _parent_links(connection, version.manifest_digest):
        if link.version is None:
            raise ParentNotFoundError(
                f"{version.ref} is made of {link.ref} ({link.digest[:12]}), which is not in the "
                f"same registry. Publish or pull {link.ref} there first.",
                link.digest,
            )
        found.append(link.version)
    return found


def _parent_links(connection: Connection, manifest_digest: str) -> tuple[ParentLink, ...]:
    child = (
        select(func.min(REVISIONS.c.id))
        .where(REVISIONS.c.manifest_digest == manifest_digest)
        .scalar_subquery()
    )
    pinned = connection.execute(
        select(PARENTS.c.ref, PARENTS.c.digest)
        .where(PARENTS.c.child_id == child)
        .order_by(PARENTS.c.position)
    ).all()
    here = load_digests(connection, [digest for _, digest in pinned])
    return tuple(ParentLink(ref, digest, here.get(digest)) for ref, digest in pinned)


@dataclass(frozen=True, slots=True)
class Relative:
    """An adapter in a tree of parents or users.

    Attributes:
        ref: Its name here; if it is not here, the name that it had.
        digest: Its manifest's digest.
        version: The version here with that digest; None if there is none.
        relatives: Its parents, or its users; empty if the tree has them at an earlier place.
        repeated: Whether the tree has it at an earlier place.
    """

    ref: str
    digest: str
    version: Version | None
    relatives: tuple["Relative", ...]
    repeated: bool = False


def find_ancestors(connection: Connection, manifest_digest: str) -> tuple[Relative, ...]:
    """Return the parents of a version, theirs, and so on: two queries, and one for each level."""
    made, used = REVISIONS, PARENTS
    links = (
        select(made.c.manifest_digest, used.c.digest, used.c.ref)
        .join(used, used.c.child_id == made.c.id)
        .order_by(used.c.position)
    )
    return _tree(connection, manifest_digest, links, made.c.manifest_digest)


def find_descendants(connection: Connection, manifest_digest: str) -> tuple[Relative, ...]:
    """Return the users of a version, theirs, and so on: two queries, and one for each level."""
    made, used = REVISIONS, PARENTS
    links = (
        select(used.c.digest, made.c.manifest_digest, REPOSITORIES.c.name)
        .join(made, used.c.child_id == made.c.id)
        .join(REPOSITORIES, REPOSITORIES.c.id == made.c.repository_id)
        .order_by(made.c.id)
    )
    return _tree(connection, manifest_digest, links, used.c.digest)


def _tree(
    connection: Connection,
    root: str,
    links: Select[str, str, str],
    start: ColumnElement[str],
) -> tuple[Relative, ...]:
    found: dict[str, dict[str, str]] = {}
    level = {root}
    while level:
        following: set[str] = set()
        for batch in batches(level):
            for one, other, ref in connection.execute(links.where(start.in_(batch))):
                found.setdefault(one, {})[other] = ref
                following.add(other)
        level = following - found.keys()
    digests = {digest for others in found.values() for digest in others}
    here = load_digests(connection, digests) if digests else {}
    seen: set[str] = set()

    def relatives(digest: str) -> tuple[Relative, ...]:
        result = []
        for other, ref in found.get(digest, {}).items():
            version = here.get(other)
            name = ref if version is None else str(version.ref)
            repeated = other in seen and other in found
            seen.add(other)
            below = () if repeated else relatives(other)
            result.append(Relative(name, other, version, below, repeated))
        return tuple(result)

    return relatives(root)


MOST_LINKS = 1000
"""Links that are followed from one level of relatives to the next."""


@dataclass(frozen=True, slots=True)
class Relatives:
    """Parents or users of a version that a reader may see.

    Attributes:
        members: The versions by digest, the nearest first; None for one that is hidden or missing.
        links: Pairs of digests: one nearer to the version, and one farther.
        more: How many are left out, as far as they were counted.
        is_counted: Whether all were counted.
    """

    members: Mapping[str, Version | None]
    links: tuple[tuple[str, str], ...]
    more: int
    is_counted: bool


def find_relatives(
    connection: Connection,
    manifest_digest: str,
    which: Literal["parents", "users"],
    readable: ColumnElement[bool],
    *,
    levels: int,
    most: int,
) -> Relatives:
    """Return the relatives of a version that a reader may see, with a few queries for each level.

    A parent that the reader may not see is listed without its version, since the child's manifest
    names it. Its own parents are left out, and so are users that the reader may not see, and
    deleted ones.

    Args:
        connection: A transaction.
        manifest_digest: The digest of a version that the reader may see.
        which: Parents or users.
        readable: The condition on the repositories that the reader may see.
        levels: How many levels to go.
        most: The most versions of a level.
    """
    members: dict[str, Version | None] = {}
    links: list[tuple[str, str]] = []
    level, more, is_counted = [manifest_digest], 0, True
    for _ in range(levels):
        rows = connection.execute(_links(level, which, readable)).all()
        is_counted = is_counted and len(rows) < MOST_LINKS
        found = dict.fromkeys((start, to) for _, start, to in sorted(rows))
        new = [*dict.fromkeys(to for _, to in found if to not in members)]
        new, rest = new[:most], new[most:]
        more += len(rest)
        here = load_digests(connection, new, readable)
        members |= {digest: here.get(digest) for digest in new}
        links += [(start, to) for start, to in found if to in members]
        level = [*here]
        if not level:
            break
    return Relatives(members, tuple(links), more, is_counted)


def _links(
    level: list[str], which: Literal["parents", "users"], readable: ColumnElement[bool]
) -> Select[int, str, str]:
    """Select pairs of digests, each with its position.

    They are not sorted: to sort 20,000 users of an adapter took longer than the rest of its page.
    """
    made, used = REVISIONS.c.manifest_digest, PARENTS.c.digest
    start, to = (made, used) if which == "parents" else (used, made)
    links = (
        select(PARENTS.c.position if which == "parents" else REVISIONS.c.id, start, to)
        .join_from(PARENTS, REVISIONS, REVISIONS.c.id == PARENTS.c.child_id)
        .join(REPOSITORIES, REPOSITORIES.c.id == REVISIONS.c.repository_id)
        .where(start.in_(level), REVISIONS.c.number.is_not(None), readable)
        .limit(MOST_LINKS)
    )
    if which == "users":  # the remains of deleted adapters are only parents
        links = links.where(REPOSITORIES.c.owner.is_distinct_from(DELETED))
    return links
