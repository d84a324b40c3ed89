"""The tables. A repository holds revisions; a version is a numbered revision; refs name them.

A revision without a number, the parent of a revision and a deleted repository come with the hub, to
which clients commit one file at a time; the schema has room for them from the first migration on.

What identifies a version is its manifest, which is a blob. The columns here repeat the parts of
it that people search and list by, so the database can be rebuilt from the blobs.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.types import TypeDecorator

from registry.errors import DamagedDatabaseError


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

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Read a time; SQLite lets a column hold anything.

        Raises:
            DamagedDatabaseError: It is none; when a row is fetched.
        """
        process = super().result_processor(dialect, coltype)
        assert process is not None

        def checked(value: Any) -> Any:
            try:
                return process(value)
            except (TypeError, ValueError) as error:
                raise DamagedDatabaseError(
                    f"The database is damaged: expected a time in one of its columns, found "
                    f"{str(value)[:40]!a}.",
                    value,
                ) from error

        return checked


# Every constraint has a name, so that a migration on any database can refer to it.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

MAX_SIZE = 2**63 - 1
"""The largest number that a BIGINT column holds: of bytes, of downloads."""

MAX_ID = 2**31 - 1
"""The largest number that an INTEGER column holds, such as the id of a row."""

_required = partial(Column, nullable=False)


def _digest_check(column: str) -> CheckConstraint:
    return CheckConstraint(f"length({column}) = 64 AND {column} = lower({column})", name=column)


# An adapter under its name. Never removed: a deleted one keeps its name from others.
REPOSITORIES = Table(
    "repositories",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("owner", String(96)),
    _required("name", String(96)),
    _required("folded", String(193), unique=True),
    _required("created_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    # A counter rather than max(number) + 1, so that no number is ever used twice.
    _required("next_number", Integer, default=1),
)

# One immutable state of a repository; numbered when it is a complete adapter.
REVISIONS = Table(
    "revisions",
    METADATA,
    Column("id", Integer, primary_key=True),
    _required("repository_id", ForeignKey("repositories.id")),
    Column("number", Integer),
    _required("manifest_digest", String(64), index=True),
    Column("parent_id", ForeignKey("revisions.id"), index=True),
    _required("author", String(256)),
    _required("message", Text),
    _required("created_at", UtcDateTime),
    Column("yanked_at", UtcDateTime),
    Column("yank_reason", Text),
    _required("kind", String(16)),
    _required("method", String(256)),
    _required("base_model", String(256)),
    # The id's last component, by which people remember a base model.
    _required("base_name", String(256)),
    Column("base_fingerprint", String(64)),
    Column("task", String(256)),
    Column("task_type", String(256)),
    Column("language", String(256)),
    Column("license", String(256)),
    _required("description", Text),
    _required("size", BigInteger),
    # Such as bert for BertModel; None for what was published before there was this column.
    Column("base_family", String(256)),
    # None of these three for a manifest of schema 1.
    Column("base_config", String(64)),
    Column("base_tokenizer", String(64)),
    Column("problem_type", String(32)),
    UniqueConstraint("repository_id", "number"),
    UniqueConstraint("repository_id", "manifest_digest"),
    Index(None, "repository_id", "id"),
    CheckConstraint("number >= 1", name="number"),
    CheckConstraint("size >= 0", name="size"),
    _digest_check("manifest_digest"),
)

# A file of a revision and the blob with its bytes.
FILES = Table(
    "files",
    METADATA,
    Column("revision_id", ForeignKey("revisions.id"), primary_key=True),
    Column("path", String(512), primary_key=True),
    _required("sha256", String(64), index=True),
    _required("size", BigInteger),
    _digest_check("sha256"),
    CheckConstraint("size >= 0", name="size"),
)

# A measured number of a revision.
METRICS = Table(
    "metrics",
    METADATA,
    Column("revision_id", ForeignKey("revisions.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _required("dataset", String(256)),
    _required("split", String(256)),
    _required("name", String(256)),
    _required("value", Double),
    _required("higher_is_better", Boolean),
    Index(None, "dataset", "name", "value", "revision_id"),
)

# A word to find a revision by.
TAGS = Table(
    "tags",
    METADATA,
    Column("revision_id", ForeignKey("revisions.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _required("tag", String(256)),
    Index(None, "tag", "revision_id"),
)

# An adapter that a revision is made of, pinned by digest as its manifest pins it.
PARENTS = Table(
    "parents",
    METADATA,
    Column("child_id", ForeignKey("revisions.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _required("ref", String(256)),
    _required("digest", String(64), index=True),
    _digest_check("digest"),
)

# A movable name for a revision: an alias such as ``best``.
REFS = Table(
    "refs",
    METADATA,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("name", String(48), primary_key=True),
    _required("revision_id", ForeignKey("revisions.id"), index=True),
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

# What people page through: of each adapter, the newest version that is not yanked. It repeats what
# that version is found and sorted by, so that a page is one walk along an index however many
# adapters and versions there are. `registry.tables.listings` writes it.
LISTINGS = Table(
    "listings",
    METADATA,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True, autoincrement=False),
    _required("revision_id", ForeignKey("revisions.id")),
    Column("owner", String(96)),  # folded, as in repositories.folded
    _required("kind", String(16)),
    _required("method", String(256)),
    _required("base_model", String(256)),
    _required("base_name", String(256)),
    Column("base_family", String(256)),
    Column("base_fingerprint", String(64)),
    Column("task", String(256)),
    Column("task_type", String(256)),
    Column("language", String(256)),
    Column("license", String(256)),
    _required("size", BigInteger),
    # The first metric that is better when higher; -infinity without one, so that it sorts last.
    _required("score", Double),
    _required("downloads", BigInteger),
    UniqueConstraint("revision_id"),
    *(Index(None, *columns) for columns in LISTING_INDEXES),
)

# Where a revision was pulled from, so that lost bytes can be fetched again.
ORIGINS = Table(
    "origins",
    METADATA,
    Column("revision_id", ForeignKey("revisions.id"), primary_key=True, autoincrement=False),
    _required("location", Text),
)

# How often versions of a repository were pulled; no row means never.
DOWNLOADS = Table(
    "downloads",
    METADATA,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True, autoincrement=False),
    _required("count", BigInteger),
    CheckConstraint("count >= 0", name="count"),
    Index(None, "count", "repository_id"),
)

# A blob that nothing referred to when garbage was last looked for; the next time it goes.
CONDEMNED = Table(
    "condemned",
    METADATA,
    Column("sha256", String(64), primary_key=True),
    _required("condemned_at", UtcDateTime, index=True),
    _digest_check("sha256"),
)

# One change of the catalog, never altered; its hash covers the entry before it.
LOG = Table(
    "log",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    _required("at", UtcDateTime),
    _required("actor", String(256)),
    _required("action", String(16)),
    # The ref as people read it, and the name to look it up by; both empty for what has no name.
    _required("name", String(256)),
    _required("folded", String(193)),
    _required("details", Text),
    _required("previous", String(64)),
    _required("hash", String(64)),
    CheckConstraint("sequence >= 1", name="sequence"),
    _digest_check("previous"),
    _digest_check("hash"),
    Index(None, "folded", "sequence"),
)

# The last entry of the log, in the one row of its table, which every writer locks.
LOG_HEAD = Table(
    "log_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _required("sequence", BigInteger),
    _required("hash", String(64)),
    CheckConstraint("id = 1", name="id"),
    _digest_check("hash"),
)
