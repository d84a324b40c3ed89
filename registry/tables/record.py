"""Write the rows of a version, inside the catalog's write transaction."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection, Table, func, insert, select, update

from registry.errors import ConflictError, InvalidNameError, ParentNotFoundError
from registry.fields import check_text, check_texts
from registry.manifest import Manifest
from registry.refs import DELETED, MAX_NUMBER, AdapterRef, fold_owner
from registry.tables.column_types import MAX_SIZE
from registry.tables.listings import base_family, base_name, list_newest
from registry.tables.models import (
    ACCOUNTS,
    FILES,
    FORMER_NAMES,
    METRICS,
    ORIGINS,
    PARENTS,
    REPOSITORIES,
    REVISIONS,
    TAGS,
)
from registry.tables.text_index import add_text
from registry.tables.versions import batches

# Insertions are built once: other writers wait meanwhile, and to build one takes twice as long as
# to execute it.
_ADD_REVISION = insert(REVISIONS).returning(REVISIONS.c.id)
_ADD_PARTS = {table: insert(table) for table in (FILES, METRICS, TAGS, PARENTS)}

PARTS = {
    FILES: FILES.c.revision_id,
    METRICS: METRICS.c.revision_id,
    TAGS: TAGS.c.revision_id,
    PARENTS: PARENTS.c.child_id,
}
"""The tables of the lists in a manifest, each with its column of the revision."""

MAX_GIVEN_NUMBER = 2_000_000_000
"""The highest version number that can be asked for. Higher ones are kept for the versions that
follow: a name without numbers would be of no use."""

MAX_COPIED_NUMBER = 2_100_000_000
"""The highest number of a version from another registry, where it may have followed one that was
asked for."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The facts of a version that its manifest does not have.

    Attributes:
        author: Who published it.
        message: Its message.
        created_at: When it was first published.
        number: The number that it must get; None for the next free one.
        yanked_at: When it was yanked in its origin; None if it was not.
        yank_reason: The reason of the yank.
        origin: Where it was pulled from; None if it was published here.
        account: The account of a deleted adapter, if this is a part of its remains.
        visibility: The visibility of that adapter.

    Raises:
        InvalidNameError: `author` is no printable line of at most 256 characters, a text is too
            long or not valid Unicode, or a time has no zone or is out of range.
    """

    author: str
    message: str
    created_at: datetime
    number: int | None = None
    yanked_at: datetime | None = None
    yank_reason: str | None = None
    origin: str | None = None
    account: str | None = None
    visibility: str = "private"

    @classmethod
    def from_log(cls, details: Mapping[str, Any]) -> Self:
        """Return the facts of a version in an entry of the log."""
        yanked_at = details.get("yanked_at")
        return cls(
            author=details["author"],
            message=details["message"],
            created_at=datetime.fromisoformat(details["created_at"]),
            number=details["number"],
            yanked_at=datetime.fromisoformat(yanked_at) if yanked_at else None,
            yank_reason=details.get("yank_reason"),
            origin=details.get("origin"),
            account=details.get("account"),
            visibility=details.get("visibility", "private"),
        )

    def __post_init__(self) -> None:
        """Refuse texts and times that the database would not store as they are."""
        check_text("author", self.author, most=256)
        check_texts(message=self.message, reason=self.yank_reason, origin=self.origin)
        for at in (self.created_at, self.yanked_at):
            if at is not None:
                _check_time(at)
        if not self.author.isprintable():
            raise InvalidNameError(
                f"An author is one printable line, not {self.author!r}.", self.author
            )


def _check_time(at: datetime) -> None:
    try:
        if at.utcoffset() is not None and at.astimezone(UTC):
            return
    except OverflowError:
        pass
    raise InvalidNameError(f"A time has a zone and, in UTC, a year from 1 to 9999; found {at}.", at)


def require_number(ref: AdapterRef, number: int, *, most: int) -> AdapterRef:
    """Return the ref of a version that gets this number, which is at most `most`.

    Raises:
        InvalidNameError: It is no number of a version, or too close to the last one.
    """
    if number > most:
        raise InvalidNameError(
            f"The version number of {ref} is at most {most} here, so that there are numbers for "
            f"later versions, but it got {number}.",
            number,
        )
    return ref.at(number)


def require_publishable(connection: Connection, ref: AdapterRef, manifest: Manifest) -> None:
    """Check a version as far as possible before its bytes are stored.

    Raises:
        InvalidNameError: `ref` has a version or an alias, is a former name of another repository or
            a name of remains, or the files are too large to count.
        ConflictError: The name belonged to an adapter that was deleted.
        ParentNotFoundError: A parent is not in this registry.
    """
    if ref != ref.repository:
        raise InvalidNameError(
            f"Publish to a name without version or alias, such as {ref.repository}, not {ref}: "
            "the registry numbers versions itself.",
            ref,
        )
    if manifest.size > MAX_SIZE:
        raise InvalidNameError(
            f"The files of {ref} have {manifest.size} bytes in all, more than {MAX_SIZE}.", ref
        )
    if ref.folded.startswith(f"{DELETED}/") and ref != AdapterRef.nameless(manifest.digest):
        raise InvalidNameError(
            f"{ref} cannot be published: names in {DELETED}/ are those of versions of deleted "
            "adapters that others are made of. Choose another name.",
            ref,
        )
    deleted_at = connection.scalar(
        select(REPOSITORIES.c.deleted_at).where(REPOSITORIES.c.folded == ref.folded)
    )
    if deleted_at is not None and not ref.is_nameless:
        raise ConflictError(
            f"{ref.repository} was deleted on {deleted_at:%Y-%m-%d}, and no other adapter gets its "
            "name. Choose another name.",
            ref,
        )
    require_never_moved(connection, ref.folded, ref.repository)
    wanted = {parent.digest: parent.ref for parent in manifest.parents}
    missing = wanted.keys() - _find_digests(connection, wanted)
    if missing:
        named = ", ".join(sorted(f"{wanted[digest]} ({digest[:12]})" for digest in missing))
        raise ParentNotFoundError(
            f"{ref.repository} is made of adapters that are not in this registry: {named}. "
            "Publish or pull them first.",
            sorted(missing),
        )


def require_never_moved(connection: Connection, folded: str, ref: AdapterRef) -> None:
    """Refuse a name that a repository had before it was moved.

    Args:
        connection: A transaction.
        folded: The key of the name.
        ref: The name.

    Raises:
        InvalidNameError: It is a former name.
    """
    moved = select(FORMER_NAMES.c.repository_id).where(FORMER_NAMES.c.folded == folded)
    if connection.scalar(moved) is not None:
        raise InvalidNameError(
            f"{ref} is the former name of a repository that was moved, and still leads to it. "
            "Choose another name.",
            ref,
        )


def _find_digests(connection: Connection, digests: Collection[str]) -> set[str]:
    digest, found = REVISIONS.c.manifest_digest, set[str]()
    for batch in batches(digests):
        found.update(connection.scalars(select(digest).where(digest.in_(batch))))
    return found


def record_version(
    connection: Connection, ref: AdapterRef, manifest: Manifest, publication: Publication
) -> tuple[int, bool]:
    """Insert a version with all its rows; return its revision's id, and whether it is new.

    A repository has a manifest once: for the same one again, the earlier id is returned.

    Raises:
        ConflictError: The number it must get holds another manifest.
    """
    digest = manifest.digest
    repository, named, next_number = _claim(connection, ref, publication.created_at)
    of_repository = REVISIONS.c.repository_id == repository
    earlier = connection.scalar(
        select(REVISIONS.c.id).where(of_repository, REVISIONS.c.manifest_digest == digest)
    )
    if earlier is not None:
        return earlier, False
    if ref.is_nameless:
        _give_back(connection, repository, publication)
    number = next_number  # the counter is higher than all numbers that are taken
    if publication.number is None:
        _require_left(ref, number)
    else:
        number = publication.number
        _require_free(connection, repository, ref.at(number), digest)
    _count(connection, repository, max(next_number, number + 1))
    parent = connection.scalar(select(func.max(REVISIONS.c.id)).where(of_repository))
    revision = connection.scalar(
        _ADD_REVISION,
        {
            "repository_id": repository,
            "number": number,
            "manifest_digest": digest,
            "parent_id": parent,
            "author": publication.author,
            "message": publication.message,
            "created_at": publication.created_at,
            "yanked_at": publication.yanked_at,
            "yank_reason": publication.yank_reason,
            **columns(manifest),
        },
    )
    assert revision is not None
    add_parts(connection, revision, manifest)
    if publication.origin is not None:
        origin = {"revision_id": revision, "location": publication.origin}
        connection.execute(insert(ORIGINS), origin)
    add_text(connection, revision, named, manifest)
    list_newest(connection, repository)
    return revision, True


def reserve_number(connection: Connection, ref: AdapterRef, number: int, now: datetime) -> None:
    """Take a name and a number: no other version ever gets them."""
    repository, _, next_number = _claim(connection, ref, now)
    _count(connection, repository, max(next_number, number + 1))


def columns(manifest: Manifest) -> dict[str, Any]:
    """Return the columns of a revision that repeat its manifest."""
    return {
        "kind": manifest.kind,
        "method": manifest.method.type,
        "base_model": manifest.base_model.id,
        "base_name": base_name(manifest.base_model.id),
        "base_family": base_family(manifest.base_model.architecture),
        "base_fingerprint": manifest.base_model.fingerprint,
        "base_config": manifest.base_model.config_digest,
        "base_tokenizer": manifest.base_model.tokenizer_digest,
        "problem_type": manifest.problem_type,
        "task": manifest.task,
        "task_type": manifest.task_type,
        "language": manifest.language,
        "license": manifest.license,
        "description": manifest.description,
        "size": manifest.size,
    }


def part_rows(revision_id: int, manifest: Manifest) -> dict[Table, list[dict[str, Any]]]:
    """Return the rows of a revision in each of `PARTS`, from its manifest."""
    listed: dict[Table, list[dict[str, Any]]] = {
        FILES: [
            {"path": path, "sha256": info.sha256, "size": info.size}
            for path, info in manifest.files.items()
        ],
        METRICS: _numbered(metric.model_dump() for metric in manifest.metrics),
        TAGS: _numbered({"tag": tag} for tag in manifest.tags),
        PARENTS: _numbered(parent.model_dump() for parent in manifest.parents),
    }
    return {
        table: [{PARTS[table].name: revision_id, **row} for row in rows]
        for table, rows in listed.items()
    }


def _numbered(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"position": position, **row} for position, row in enumerate(rows)]


def add_parts(connection: Connection, revision_id: int, manifest: Manifest) -> None:
    """Insert the files, metrics, tags and parents of a revision."""
    for table, rows in part_rows(revision_id, manifest).items():
        if rows:
            connection.execute(_ADD_PARTS[table], rows)


def _claim(connection: Connection, ref: AdapterRef, now: datetime) -> tuple[int, AdapterRef, int]:
    """Return the id of a name, the name as it was first spelled, and its next free number."""
    found = connection.execute(
        select(REPOSITORIES).where(REPOSITORIES.c.folded == ref.folded).with_for_update()
    ).one_or_none()
    if found is not None:
        return found.id, AdapterRef(found.owner, found.name), found.next_number
    repository = connection.scalar(
        insert(REPOSITORIES).returning(REPOSITORIES.c.id),
        {
            "owner": ref.owner,
            "name": ref.name,
            "folded": ref.folded,
            "created_at": now,
            "next_number": 1,
            "account_id": find_account_id(connection, ref.owner),
        },
    )
    assert repository is not None
    return repository, ref.repository, 1


def _give_back(connection: Connection, repository: int, publication: Publication) -> None:
    """Give the remains of a deleted adapter its account and visibility; undo their own deletion."""
    connection.execute(
        update(REPOSITORIES)
        .where(REPOSITORIES.c.id == repository)
        .values(
            deleted_at=None,
            account_id=find_account_id(connection, publication.account),
            visibility=publication.visibility,
        )
    )


def find_account_id(connection: Connection, owner: str | None) -> int | None:
    """Return the id of an owner's account, which may be removed; None if there is none."""
    if owner is None:
        return None
    of_owner = ACCOUNTS.c.folded == fold_owner(owner)
    found: int | None = connection.scalar(select(ACCOUNTS.c.id).where(of_owner))
    return found


def _count(connection: Connection, repository: int, next_number: int) -> None:
    # The column has no higher value than the highest number.
    connection.execute(
        update(REPOSITORIES)
        .where(REPOSITORIES.c.id == repository)
        .values(next_number=min(next_number, MAX_NUMBER))
    )


def _require_left(ref: AdapterRef, number: int) -> None:
    if number >= MAX_NUMBER:
        raise ConflictError(
            f"{ref} has no version number left: the highest one is {MAX_NUMBER}. Choose another "
            "name.",
            ref,
        )


def _require_free(connection: Connection, repository: int, ref: AdapterRef, digest: str) -> None:
    holder = connection.scalar(
        select(REVISIONS.c.manifest_digest).where(
            REVISIONS.c.repository_id == repository, REVISIONS.c.number == ref.version
        )
    )
    if holder is not None:
        raise ConflictError(
            f"{ref} already exists with other content: expected manifest {digest[:12]}, found "
            f"{holder[:12]}. Versions never change; use another name.",
            ref,
        )
