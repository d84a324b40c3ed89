"""Writing a version's rows, inside the catalog's write transaction."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import ConflictError, InvalidNameError, ParentNotFoundError
from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.tables.models import (
    Origin,
    Repository,
    Revision,
    RevisionFile,
    RevisionMetric,
    RevisionParent,
    RevisionTag,
)
from registry.tables.text_index import add_text


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
        InvalidNameError: It has more than `most` characters, or is not valid Unicode.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidNameError(f"The {role} {text!r} is not valid Unicode.", text) from error
    if len(text) > most:
        raise InvalidNameError(
            f"The {role} has {len(text)} characters, more than {most}. Shorten it.", text
        )
    return text


def require_publishable(session: Session, ref: AdapterRef, manifest: Manifest) -> None:
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
    repository = session.scalar(select(Repository).where(Repository.folded == ref.folded))
    if repository is not None and repository.deleted_at is not None:
        raise ConflictError(
            f"{ref.repository} was deleted on {repository.deleted_at:%Y-%m-%d}, and its name is "
            "not given to anything else. Choose another name.",
            ref,
        )
    wanted = {parent.digest: parent.ref for parent in manifest.parents}
    present = session.scalars(
        select(Revision.manifest_digest).where(Revision.manifest_digest.in_(wanted))
    )
    missing = wanted.keys() - set(present)
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
    repository = _claim(session, ref, publication.created_at)
    earlier = session.scalar(
        select(Revision.id).where(
            Revision.repository_id == repository.id, Revision.manifest_digest == digest
        )
    )
    if earlier is not None:
        return earlier, False
    revision = Revision(
        repository_id=repository.id,
        number=_take_number(session, repository, ref, digest, publication.number),
        manifest_digest=digest,
        parent_id=session.scalar(
            select(func.max(Revision.id)).where(Revision.repository_id == repository.id)
        ),
        author=publication.author,
        message=publication.message,
        created_at=publication.created_at,
        yanked_at=publication.yanked_at,
        yank_reason=publication.yank_reason,
        kind=manifest.kind,
        method=manifest.method.type,
        base_model=manifest.base_model.id,
        base_name=base_name(manifest.base_model.id),
        base_fingerprint=manifest.base_model.fingerprint,
        task=manifest.task,
        task_type=manifest.task_type,
        language=manifest.language,
        license=manifest.license,
        description=manifest.description,
        size=manifest.size,
    )
    session.add(revision)
    session.flush()
    _add_parts(session, revision.id, manifest)
    if publication.origin is not None:
        session.add(Origin(revision_id=revision.id, location=publication.origin))
    add_text(session, revision.id, ref, manifest)
    return revision.id, True


def base_name(base_model: str) -> str:
    """Return the last component of a base model's id: what people call it."""
    return base_model.rstrip("/").rpartition("/")[2] or base_model


def _claim(session: Session, ref: AdapterRef, now: datetime) -> Repository:
    repository = session.scalar(
        select(Repository).where(Repository.folded == ref.folded).with_for_update()
    )
    if repository is None:
        repository = Repository(
            owner=ref.owner, name=ref.name, folded=ref.folded, created_at=now, next_number=1
        )
        session.add(repository)
        session.flush()
    return repository


def _take_number(
    session: Session, repository: Repository, ref: AdapterRef, digest: str, wanted: int | None
) -> int:
    number = repository.next_number if wanted is None else wanted
    holder = session.scalar(
        select(Revision.manifest_digest).where(
            Revision.repository_id == repository.id, Revision.number == number
        )
    )
    if holder is not None:
        raise ConflictError(
            f"{ref.at(number)} already exists with other content: expected manifest "
            f"{digest[:12]}, found {holder[:12]}. Versions never change; use another name.",
            ref.at(number),
        )
    repository.next_number = max(repository.next_number, number + 1)
    return number


def _add_parts(session: Session, revision_id: int, manifest: Manifest) -> None:
    session.add_all(
        RevisionFile(revision_id=revision_id, path=path, sha256=info.sha256, size=info.size)
        for path, info in manifest.files.items()
    )
    session.add_all(
        RevisionMetric(revision_id=revision_id, position=position, **metric.model_dump())
        for position, metric in enumerate(manifest.metrics)
    )
    session.add_all(
        RevisionTag(revision_id=revision_id, position=position, tag=tag)
        for position, tag in enumerate(manifest.tags)
    )
    session.add_all(
        RevisionParent(
            child_id=revision_id, position=position, ref=parent.ref, digest=parent.digest
        )
        for position, parent in enumerate(manifest.parents)
    )
    session.flush()
