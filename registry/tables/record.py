"""Writing a version's rows, inside the catalog's write transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from registry.database.prepared import Prepared, Transaction
from registry.errors import ConflictError, InvalidNameError, ParentNotFoundError
from registry.fields import require_text
from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.tables.listings import base_family, base_name, list_newest
from registry.tables.models import table
from registry.tables.text_index import add_text
from registry.tables.versions import REPOSITORIES, REVISIONS, utc_time

# Others wait for the write lock meanwhile, so these are statements without the ORM.
_NAMED = select(
    REPOSITORIES.c.id,
    REPOSITORIES.c.owner,
    REPOSITORIES.c.name,
    REPOSITORIES.c.next_number,
    REPOSITORIES.c.deleted_at,
).where(REPOSITORIES.c.folded == bindparam("folded"))
_FIND = Prepared(_NAMED)
_CLAIM = Prepared(_NAMED.with_for_update())
_TAKE_NAME = Prepared(
    insert(REPOSITORIES).returning(REPOSITORIES.c.id),
    ("owner", "name", "folded", "created_at", "next_number"),
)
_COUNT = Prepared(
    update(REPOSITORIES)
    .where(REPOSITORIES.c.id == bindparam("repository"))
    .values(next_number=bindparam("next"))
)
_OF_REPOSITORY = REVISIONS.c.repository_id == bindparam("repository")
_EARLIER = Prepared(
    select(REVISIONS.c.id).where(_OF_REPOSITORY, REVISIONS.c.manifest_digest == bindparam("digest"))
)
_HOLDER = Prepared(
    select(REVISIONS.c.manifest_digest).where(
        _OF_REPOSITORY, REVISIONS.c.number == bindparam("number")
    )
)
_NEWEST = Prepared(select(func.max(REVISIONS.c.id)).where(_OF_REPOSITORY))
_PARENT = Prepared(
    select(REVISIONS.c.id).where(REVISIONS.c.manifest_digest == bindparam("digest")).limit(1)
)
_ADD_REVISION = Prepared(
    insert(REVISIONS).returning(REVISIONS.c.id),
    [column.name for column in REVISIONS.c if column.name != "id"],
)
_ADD_FILE, _ADD_METRIC, _ADD_TAG, _ADD_PARENT, _ADD_ORIGIN = (
    Prepared(insert(table(name))) for name in ("files", "metrics", "tags", "parents", "origins")
)


@dataclass(frozen=True, slots=True)
class Publication:
    """What is known about a version beside its manifest.

    Attributes:
        author: Who published it.
        message: What they said about it.
        created_at: When it was first published.
        number: The number it must get; None for the next free one.
        yanked_at: When it was yanked where it comes from; None if it was not.
        yank_reason: Why.
        origin: Where it was pulled from; None if it was published here.

    Raises:
        InvalidNameError: `author` is no printable line of at most 256 characters, or a text is
            too long or not valid Unicode.
    """

    author: str
    message: str
    created_at: datetime
    number: int | None = None
    yanked_at: datetime | None = None
    yank_reason: str | None = None
    origin: str | None = None

    def __post_init__(self) -> None:
        """Refuse what the database would not store as it is."""
        check_text("author", self.author, most=256)
        check_text("message", self.message)
        if not self.author.isprintable():
            raise InvalidNameError(
                f"An author is one printable line, not {self.author!r}.", self.author
            )


def check_text(role: str, text: str, *, most: int = 65536) -> str:
    """Return `text` if it can be stored.

    Raises:
        InvalidNameError: It has more than `most` characters, or control characters, or is not
            valid Unicode.
    """
    try:
        require_text(text).encode()
    except UnicodeEncodeError as error:
        raise InvalidNameError(f"The {role} {text!r} is not valid Unicode.", text) from error
    except ValueError as error:
        raise InvalidNameError(f"The {role} is refused: {error}. Leave it out.", text) from error
    if len(text) > most:
        raise InvalidNameError(
            f"The {role} has {len(text)} characters, more than {most}. Shorten it.", text
        )
    return text


def require_publishable(transaction: Transaction, ref: AdapterRef, manifest: Manifest) -> None:
    """Check all that can be checked before a byte is stored.

    Raises:
        InvalidNameError: `ref` has a version or an alias.
        ConflictError: The name belonged to an adapter that was deleted.
        ParentNotFoundError: A parent is not in this registry.
    """
    if ref != ref.repository:
        raise InvalidNameError(
            f"Publish to a name without version or alias, such as {ref.repository}, not {ref}: "
            "the registry numbers versions itself.",
            ref,
        )
    for *_, deleted_at in _FIND.rows(transaction, folded=ref.folded):
        if deleted_at is not None:
            raise ConflictError(
                f"{ref.repository} was deleted on {utc_time(deleted_at):%Y-%m-%d}, and its name is "
                "not given to anything else. Choose another name.",
                ref,
            )
    wanted = {parent.digest: parent.ref for parent in manifest.parents}
    missing = [digest for digest in wanted if not _PARENT.rows(transaction, digest=digest)]
    if missing:
        named = ", ".join(sorted(f"{wanted[digest]} ({digest[:12]})" for digest in missing))
        raise ParentNotFoundError(
            f"{ref.repository} is made of adapters that are not in this registry: {named}. "
            "Publish or pull them first.",
            sorted(missing),
        )


def record_version(
    session: Session, ref: AdapterRef, manifest: Manifest, publication: Publication
) -> tuple[int, bool]:
    """Insert a version with all its rows; return its revision's id, and whether it is new.

    The same manifest is recorded once in a repository: again, and the earlier id is returned.

    Raises:
        ConflictError: The number it must get holds another manifest.
    """
    digest = manifest.digest
    transaction = Transaction.of(session)
    repository, named, next_number = _claim(transaction, ref, publication.created_at)
    earlier = _EARLIER.rows(transaction, repository=repository, digest=digest)
    if earlier:
        return earlier[0][0], False
    if publication.number is not None:
        _require_free(transaction, repository, ref.at(publication.number), digest)
    # The counter is beyond every number that is taken.
    number = next_number if publication.number is None else publication.number
    _COUNT.rows(transaction, repository=repository, next=max(next_number, number + 1))
    ((parent,),) = _NEWEST.rows(transaction, repository=repository)
    ((revision,),) = _ADD_REVISION.rows(
        transaction,
        repository_id=repository,
        number=number,
        manifest_digest=digest,
        parent_id=parent,
        author=publication.author,
        message=publication.message,
        created_at=publication.created_at,
        yanked_at=publication.yanked_at,
        yank_reason=publication.yank_reason,
        **columns(manifest),
    )
    add_parts(session, revision, manifest)
    if publication.origin is not None:
        _ADD_ORIGIN.rows(transaction, revision_id=revision, location=publication.origin)
    add_text(session, revision, named, manifest)
    list_newest(session, repository)
    return revision, True


def reserve_number(session: Session, ref: AdapterRef, number: int, now: datetime) -> None:
    """Take a name and a number, so that nothing else ever gets them."""
    transaction = Transaction.of(session)
    repository, _, next_number = _claim(transaction, ref, now)
    _COUNT.rows(transaction, repository=repository, next=max(next_number, number + 1))


def columns(manifest: Manifest) -> dict[str, Any]:
    """Return the columns of a revision that repeat what its manifest says."""
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


def add_parts(session: Session, revision_id: int, manifest: Manifest) -> None:
    """Insert the files, metrics, tags and parents of a revision."""
    transaction = Transaction.of(session)
    _ADD_FILE.each(
        transaction,
        (
            {"revision_id": revision_id, "path": path, "sha256": info.sha256, "size": info.size}
            for path, info in manifest.files.items()
        ),
    )
    _ADD_METRIC.each(
        transaction,
        (
            {"revision_id": revision_id, "position": position, **metric.model_dump()}
            for position, metric in enumerate(manifest.metrics)
        ),
    )
    _ADD_TAG.each(
        transaction,
        (
            {"revision_id": revision_id, "position": position, "tag": tag}
            for position, tag in enumerate(manifest.tags)
        ),
    )
    _ADD_PARENT.each(
        transaction,
        (
            {"child_id": revision_id, "position": position, **parent.model_dump()}
            for position, parent in enumerate(manifest.parents)
        ),
    )


def _claim(transaction: Transaction, ref: AdapterRef, now: datetime) -> tuple[int, AdapterRef, int]:
    """Return the id of a name, the name as it was first spelled, and its next free number."""
    for repository, owner, name, next_number, _ in _CLAIM.rows(transaction, folded=ref.folded):
        return repository, AdapterRef(owner, name), next_number
    ((repository,),) = _TAKE_NAME.rows(
        transaction,
        owner=ref.owner,
        name=ref.name,
        folded=ref.folded,
        created_at=now,
        next_number=1,
    )
    return repository, ref.repository, 1


def _require_free(transaction: Transaction, repository: int, ref: AdapterRef, digest: str) -> None:
    for (holder,) in _HOLDER.rows(transaction, repository=repository, number=ref.version):
        raise ConflictError(
            f"{ref} already exists with other content: expected manifest {digest[:12]}, found "
            f"{holder[:12]}. Versions never change; use another name.",
            ref,
        )
