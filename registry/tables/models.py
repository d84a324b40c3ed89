"""The tables. A repository holds revisions; a version is a numbered revision; refs name them.

A revision without a number, the parent of a revision and a deleted repository come with the hub, to
which clients commit one file at a time; the schema has room for them from the first migration on.

What identifies a version is its manifest, which is a blob. The columns here repeat the parts of
it that people search and list by, so the database can be rebuilt from the blobs.
"""

from functools import partial

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
)

from registry.tables.column_types import (
    MAX_SIZE,
    Line,
    Name,
    Real,
    Sha256,
    Truth,
    UtcDateTime,
    Whole,
    Written,
)

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

_required = partial(Column, nullable=False)


def _digest_check(column: str) -> CheckConstraint:
    return CheckConstraint(f"length({column}) = 64 AND {column} = lower({column})", name=column)


# An adapter under its name. Never removed: a deleted one keeps its name from others.
REPOSITORIES = Table(
    "repositories",
    METADATA,
    Column("id", Whole(1), primary_key=True),
    Column("owner", Name(96)),
    _required("name", Name(96)),
    _required("folded", Written(193), unique=True),
    _required("created_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    # A counter rather than max(number) + 1, so that no number is ever used twice.
    _required("next_number", Whole(1), default=1),
)

# One immutable state of a repository; numbered when it is a complete adapter.
REVISIONS = Table(
    "revisions",
    METADATA,
    Column("id", Whole(1), primary_key=True),
    _required("repository_id", ForeignKey("repositories.id")),
    Column("number", Whole(1)),
    _required("manifest_digest", Sha256(), index=True),
    Column("parent_id", ForeignKey("revisions.id"), index=True),
    _required("author", Written(256)),
    _required("message", Written()),
    _required("created_at", UtcDateTime),
    Column("yanked_at", UtcDateTime),
    Column("yank_reason", Written()),
    _required("kind", Written(16)),
    _required("method", Written(256)),
    _required("base_model", Written(256)),
    # The id's last component, by which people remember a base model.
    _required("base_name", Written(256)),
    Column("base_fingerprint", Written(64)),
    Column("task", Written(256)),
    Column("task_type", Written(256)),
    Column("language", Written(256)),
    Column("license", Written(256)),
    _required("description", Written()),
    _required("size", Whole(most=MAX_SIZE)),
    # Such as bert for BertModel; None for what was published before there was this column.
    Column("base_family", Written(256)),
    # None of these three for a manifest of schema 1.
    Column("base_config", Written(64)),
    Column("base_tokenizer", Written(64)),
    Column("problem_type", Written(32)),
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
    Column("path", Written(512), primary_key=True),
    _required("sha256", Sha256(), index=True),
    _required("size", Whole(most=MAX_SIZE)),
    _digest_check("sha256"),
    CheckConstraint("size >= 0", name="size"),
)

# A measured number of a revision.
METRICS = Table(
    "metrics",
    METADATA,
    Column("revision_id", ForeignKey("revisions.id"), primary_key=True),
    Column("position", Whole(), primary_key=True, autoincrement=False),
    _required("dataset", Line(256)),
    _required("split", Line(256)),
    _required("name", Line(256)),
    _required("value", Real),
    _required("higher_is_better", Truth),
    Index(None, "dataset", "name", "value", "revision_id"),
)

# A number measured of a revision after it was published, on rows with a digest. What counts is the
# newest of the same metric and rows.
MEASUREMENTS = Table(
    "measurements",
    METADATA,
    Column("revision_id", ForeignKey("revisions.id"), primary_key=True),
    Column("position", Whole(), primary_key=True, autoincrement=False),
    _required("metric", Line(256)),
    _required("value", Real),
    _required("higher_is_better", Truth),
    Column("low", Real),
    Column("high", Real),
    _required("rows", Whole(least=1)),
    _required("data_sha256", Sha256),
    _required("dataset", Line(256)),
    _required("split", Line(256)),
    _required("measured_at", UtcDateTime),
    _required("actor", Written(256)),
    _required("hubkit", Line(256)),
    _digest_check("data_sha256"),
    CheckConstraint("rows >= 1", name="rows"),
    Index(None, "data_sha256", "metric", "value", "revision_id"),
    Index(None, "dataset", "data_sha256"),
)

# A word to find a revision by.
TAGS = Table(
    "tags",
    METADATA,
    Column("revision_id", ForeignKey("revisions.id"), primary_key=True),
    Column("position", Whole(), primary_key=True, autoincrement=False),
    _required("tag", Line(256)),
    Index(None, "tag", "revision_id"),
)

# An adapter that a revision is made of, pinned by digest as its manifest pins it.
PARENTS = Table(
    "parents",
    METADATA,
    Column("child_id", ForeignKey("revisions.id"), primary_key=True),
    Column("position", Whole(), primary_key=True, autoincrement=False),
    _required("ref", Written(256)),
    _required("digest", Sha256(), index=True),
    _digest_check("digest"),
)

# A movable name for a revision: an alias such as ``best``.
REFS = Table(
    "refs",
    METADATA,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("name", Line(48), primary_key=True),
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
    Column("owner", Written(96)),  # folded, as in repositories.folded
    _required("kind", Written(16)),
    _required("method", Written(256)),
    _required("base_model", Written(256)),
    _required("base_name", Written(256)),
    Column("base_family", Written(256)),
    Column("base_fingerprint", Written(64)),
    Column("task", Written(256)),
    Column("task_type", Written(256)),
    Column("language", Written(256)),
    Column("license", Written(256)),
    _required("size", Whole(most=MAX_SIZE)),
    # What was measured last, else the first metric of training, that is better when higher;
    # -infinity without one, so that it sorts last.
    _required("score", Real),
    _required("downloads", Whole(most=MAX_SIZE)),
    UniqueConstraint("revision_id"),
    *(Index(None, *columns) for columns in LISTING_INDEXES),
)

# Where a revision was pulled from, so that lost bytes can be fetched again.
ORIGINS = Table(
    "origins",
    METADATA,
    Column("revision_id", ForeignKey("revisions.id"), primary_key=True, autoincrement=False),
    _required("location", Written()),
)

# How often versions of a repository were pulled; no row means never.
DOWNLOADS = Table(
    "downloads",
    METADATA,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True, autoincrement=False),
    _required("count", Whole(most=MAX_SIZE)),
    CheckConstraint("count >= 0", name="count"),
    Index(None, "count", "repository_id"),
)

# A blob that nothing referred to when garbage was last looked for; the next time it goes.
CONDEMNED = Table(
    "condemned",
    METADATA,
    Column("sha256", Sha256(), primary_key=True),
    _required("condemned_at", UtcDateTime, index=True),
    _digest_check("sha256"),
)

# One change of the catalog, never altered; its hash covers the entry before it.
LOG = Table(
    "log",
    METADATA,
    Column("sequence", Whole(1, MAX_SIZE), primary_key=True, autoincrement=False),
    _required("at", UtcDateTime),
    _required("actor", Written(256)),
    _required("action", Written(16)),
    # The ref as people read it, and the name to look it up by; both empty for what has no name.
    _required("name", Written(256)),
    _required("folded", Written(193)),
    _required("details", Written()),
    _required("previous", Sha256()),
    _required("hash", Sha256()),
    CheckConstraint("sequence >= 1", name="sequence"),
    _digest_check("previous"),
    _digest_check("hash"),
    Index(None, "folded", "sequence"),
)

# The last entry of the log, in the one row of its table, which every writer locks.
LOG_HEAD = Table(
    "log_head",
    METADATA,
    Column("id", Whole(1), primary_key=True, autoincrement=False),
    _required("sequence", Whole(most=MAX_SIZE)),
    _required("hash", Sha256()),
    CheckConstraint("id = 1", name="id"),
    _digest_check("hash"),
)
