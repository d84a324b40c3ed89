"""The tables. A repository holds revisions; a version is a numbered revision; refs name them.

A revision without a number, the parent of a revision and a deleted repository come with the hub, to
which clients commit one file at a time; the schema has room for them from the first migration on.

What identifies a version is its manifest, which is a blob. The columns here repeat the parts of
it that people search and list by, so the database can be rebuilt from the blobs.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Dialect,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC without a zone, which sorts the same in every database."""

    impl = SqlDateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC and drop the zone."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Put the zone back."""
        return value.replace(tzinfo=UTC) if value else None


class Base(DeclarativeBase):
    """Names every constraint, so that a migration on any database can refer to it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# Each ends in an order: by date, which is that of the revisions' ids, by score or by downloads.
LISTING_INDEXES = (
    ("base_name", "revision_id"),
    ("base_name", "task", "revision_id"),
    ("base_name", "task", "score", "revision_id"),
    ("base_name", "task", "downloads", "revision_id"),
    ("base_family", "revision_id"),
    ("base_family", "task", "revision_id"),
    ("base_fingerprint", "revision_id"),
    ("base_fingerprint", "task", "revision_id"),
    ("task", "revision_id"),
    ("task", "score", "revision_id"),
    ("task", "downloads", "revision_id"),
    ("score", "revision_id"),
    ("downloads", "revision_id"),
    ("task_type", "revision_id"),
    ("method", "revision_id"),
    ("kind", "revision_id"),
    ("language", "revision_id"),
    ("license", "revision_id"),
    ("owner", "revision_id"),
)


def _digest_check(column: str) -> CheckConstraint:
    return CheckConstraint(f"length({column}) = 64 AND {column} = lower({column})", name=column)


class Repository(Base):
    """An adapter under its name. Never removed: a deleted one keeps its name from others."""

    __tablename__ = "repositories"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(96))
    name: Mapped[str] = mapped_column(String(96))
    folded: Mapped[str] = mapped_column(String(193), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # A counter rather than max(number) + 1, so that no number is ever used twice.
    next_number: Mapped[int] = mapped_column(default=1)


class Revision(Base):
    """One immutable state of a repository; numbered when it is a complete adapter."""

    __tablename__ = "revisions"
    __table_args__ = (
        UniqueConstraint("repository_id", "number"),
        UniqueConstraint("repository_id", "manifest_digest"),
        Index(None, "repository_id", "id"),
        CheckConstraint("number >= 1", name="number"),
        CheckConstraint("size >= 0", name="size"),
        _digest_check("manifest_digest"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    number: Mapped[int | None]
    manifest_digest: Mapped[str] = mapped_column(String(64), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("revisions.id"), index=True)
    author: Mapped[str] = mapped_column(String(256))
    message: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    yanked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    yank_reason: Mapped[str | None] = mapped_column(Text)

    kind: Mapped[str] = mapped_column(String(16))
    method: Mapped[str] = mapped_column(String(256))
    base_model: Mapped[str] = mapped_column(String(256))
    # The id's last component, by which people remember a base model.
    base_name: Mapped[str] = mapped_column(String(256))
    base_fingerprint: Mapped[str | None] = mapped_column(String(64))
    task: Mapped[str | None] = mapped_column(String(256))
    task_type: Mapped[str | None] = mapped_column(String(256))
    language: Mapped[str | None] = mapped_column(String(256))
    license: Mapped[str | None] = mapped_column(String(256))
    description: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    # Such as bert for BertModel; None for what was published before there was this column.
    base_family: Mapped[str | None] = mapped_column(String(256))
    # None of these three for a manifest of schema 1.
    base_config: Mapped[str | None] = mapped_column(String(64))
    base_tokenizer: Mapped[str | None] = mapped_column(String(64))
    problem_type: Mapped[str | None] = mapped_column(String(32))


class RevisionFile(Base):
    """A file of a revision and the blob with its bytes."""

    __tablename__ = "files"
    __table_args__ = (_digest_check("sha256"), CheckConstraint("size >= 0", name="size"))

    revision_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"), primary_key=True)
    path: Mapped[str] = mapped_column(String(512), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)


class RevisionMetric(Base):
    """A measured number of a revision."""

    __tablename__ = "metrics"
    __table_args__ = (Index(None, "dataset", "name", "value", "revision_id"),)

    revision_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    dataset: Mapped[str] = mapped_column(String(256))
    split: Mapped[str] = mapped_column(String(256))
    name: Mapped[str] = mapped_column(String(256))
    value: Mapped[float] = mapped_column(Double)
    higher_is_better: Mapped[bool]


class RevisionTag(Base):
    """A word to find a revision by."""

    __tablename__ = "tags"
    __table_args__ = (Index(None, "tag", "revision_id"),)

    revision_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tag: Mapped[str] = mapped_column(String(256))


class RevisionParent(Base):
    """An adapter that a revision is made of, pinned by digest as its manifest pins it."""

    __tablename__ = "parents"
    __table_args__ = (_digest_check("digest"),)

    child_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ref: Mapped[str] = mapped_column(String(256))
    digest: Mapped[str] = mapped_column(String(64), index=True)


class NamedRef(Base):
    """A movable name for a revision: an alias such as ``best``."""

    __tablename__ = "refs"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(48), primary_key=True)
    revision_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"), index=True)


class Listing(Base):
    """What people page through: of each adapter, the newest version that is not yanked.

    It repeats what that version is found and sorted by, so that a page is one walk along an index
    however many adapters and versions there are. `registry.tables.listings` writes it.
    """

    __tablename__ = "listings"
    __table_args__ = (
        UniqueConstraint("revision_id"),
        *(Index(None, *columns) for columns in LISTING_INDEXES),
    )

    repository_id: Mapped[int] = mapped_column(
        ForeignKey("repositories.id"), primary_key=True, autoincrement=False
    )
    revision_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"))
    # Folded, as in Repository.folded.
    owner: Mapped[str | None] = mapped_column(String(96))
    kind: Mapped[str] = mapped_column(String(16))
    method: Mapped[str] = mapped_column(String(256))
    base_model: Mapped[str] = mapped_column(String(256))
    base_name: Mapped[str] = mapped_column(String(256))
    base_family: Mapped[str | None] = mapped_column(String(256))
    base_fingerprint: Mapped[str | None] = mapped_column(String(64))
    task: Mapped[str | None] = mapped_column(String(256))
    task_type: Mapped[str | None] = mapped_column(String(256))
    language: Mapped[str | None] = mapped_column(String(256))
    license: Mapped[str | None] = mapped_column(String(256))
    size: Mapped[int] = mapped_column(BigInteger)
    # The first metric that is better when higher; -infinity without one, so that it sorts last.
    score: Mapped[float] = mapped_column(Double)
    downloads: Mapped[int] = mapped_column(BigInteger)


class Origin(Base):
    """Where a revision was pulled from, so that lost bytes can be fetched again."""

    __tablename__ = "origins"

    revision_id: Mapped[int] = mapped_column(
        ForeignKey("revisions.id"), primary_key=True, autoincrement=False
    )
    location: Mapped[str] = mapped_column(Text)


class Downloads(Base):
    """How often versions of a repository were pulled; no row means never."""

    __tablename__ = "downloads"
    __table_args__ = (
        CheckConstraint("count >= 0", name="count"),
        Index(None, "count", "repository_id"),
    )

    repository_id: Mapped[int] = mapped_column(
        ForeignKey("repositories.id"), primary_key=True, autoincrement=False
    )
    count: Mapped[int] = mapped_column(BigInteger)


class CondemnedBlob(Base):
    """A blob that nothing referred to when garbage was last looked for; the next time it goes."""

    __tablename__ = "condemned"
    __table_args__ = (_digest_check("sha256"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    condemned_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class LogEntry(Base):
    """One change of the catalog, never altered; its hash covers the entry before it."""

    __tablename__ = "log"
    __table_args__ = (
        CheckConstraint("sequence >= 1", name="sequence"),
        _digest_check("previous"),
        _digest_check("hash"),
        Index(None, "folded", "sequence"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str] = mapped_column(String(256))
    action: Mapped[str] = mapped_column(String(16))
    # The ref as people read it, and the name to look it up by; both empty for what has no name.
    name: Mapped[str] = mapped_column(String(256))
    folded: Mapped[str] = mapped_column(String(193))
    details: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class LogHead(Base):
    """The last entry of the log, in the one row of its table, which every writer locks."""

    __tablename__ = "log_head"
    __table_args__ = (CheckConstraint("id = 1", name="id"), _digest_check("hash"))

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


def table(name: str) -> Table:
    """Return the table of that name, for statements without the ORM."""
    return Base.metadata.tables[name]
