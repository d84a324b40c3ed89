"""The tables. A repository holds revisions; a version is a numbered revision; refs name them.

The identity of a version is its manifest, which is a blob. The columns here repeat the parts of it
that people search and list by, so the database can be rebuilt from the blobs.

A repository also has a history, as git has one: commits, each with a tree of files, which branches
and tags name. A commit on the branch ``main`` whose tree holds an adapter has a version.

Accounts are people and organisations of a hub. Whatever gives access, such as the hash of a token,
is in this database alone: neither in the log nor in the records.
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
    GitId,
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


# A user or an organisation. A row is never removed, so that no other account gets its name.
ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("id", Whole(1), primary_key=True),
    _required("name", Name(96)),
    _required("folded", Written(96), unique=True),
    _required("kind", Written(16)),
    _required("admin", Truth),
    Column("password", Written(512)),
    _required("created_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
)

# The role of a user in an organisation.
MEMBERS = Table(
    "members",
    METADATA,
    Column("organisation_id", ForeignKey("accounts.id"), primary_key=True),
    Column("user_id", ForeignKey("accounts.id"), primary_key=True, index=True),
    _required("role", Written(16)),
)

# A token, with which a program acts for a user; its text is not kept.
TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", Whole(1), primary_key=True),
    _required("account_id", ForeignKey("accounts.id")),
    _required("name", Line(96)),
    _required("hash", Sha256(), unique=True),
    _required("hint", Line(32)),
    _required("scope", Written(16)),
    _required("created_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    UniqueConstraint("account_id", "name"),
    _digest_check("hash"),
)

# Secrets of a hub, such as the key that it signs with.
SECRETS = Table(
    "secrets",
    METADATA,
    Column("name", Line(48), primary_key=True),
    _required("value", Written()),
)

# A repository: an adapter, or a data set or space of a hub. A row is never removed, so that no
# other repository gets its name. `folded` starts with the kind, unless it is a model.
REPOSITORIES = Table(
    "repositories",
    METADATA,
    Column("id", Whole(1), primary_key=True),
    Column("owner", Name(96)),
    _required("name", Name(96)),
    _required("folded", Written(208), unique=True),
    _required("created_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    # A counter rather than max(number) + 1, so that no number is ever used twice.
    _required("next_number", Whole(1), default=1),
    _required("kind", Written(16), server_default="model"),
    # Its account on a hub; None if it was published without one.
    Column("account_id", ForeignKey("accounts.id"), index=True),
    # Private, unless it is known to be public.
    _required("visibility", Written(16), server_default="private"),
)

# A former name of a repository that was moved.
FORMER_NAMES = Table(
    "former_names",
    METADATA,
    Column("folded", Written(208), primary_key=True),
    _required("repository_id", ForeignKey("repositories.id"), index=True),
)

# A repository that a token is limited to; a token without a row has no limit.
TOKEN_REPOSITORIES = Table(
    "token_repositories",
    METADATA,
    Column("token_id", ForeignKey("tokens.id"), primary_key=True),
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True, index=True),
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
    # The id's last component, by which people know a base model.
    _required("base_name", Written(256)),
    Column("base_fingerprint", Written(64)),
    Column("task", Written(256)),
    Column("task_type", Written(256)),
    Column("language", Written(256)),
    Column("license", Written(256)),
    _required("description", Written()),
    _required("size", Whole(most=MAX_SIZE)),
    # Such as bert for BertModel; None if published before this column existed.
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

# A measurement of a revision after its publication, on rows with a digest. Only the newest for a
# metric and rows counts.
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

# The listing of an adapter: its newest version that is not yanked. It repeats the facts that pages
# are searched and sorted by, so that a page is one walk along an index, however many adapters and
# versions there are. `registry.tables.listings` writes it.
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
    # The last measurement, else the first metric of training, that is better when higher;
    # -infinity without one, so that it sorts last.
    _required("score", Real),
    _required("downloads", Whole(most=MAX_SIZE)),
    UniqueConstraint("revision_id"),
    *(Index(None, *columns) for columns in LISTING_INDEXES),
)

# The files of a commit; commits with the same files share a row.
TREES = Table(
    "trees",
    METADATA,
    Column("id", Whole(1), primary_key=True),
    # The SHA-256 of the list of files: git's own id, a SHA-1, can be made the same for two trees.
    _required("digest", Sha256(), unique=True),
    _required("oid", GitId()),
    _required("files", Whole()),
    _required("size", Whole(most=MAX_SIZE)),
    _digest_check("digest"),
)

# A file of a tree. The git id of a large one is that of its pointer.
TREE_FILES = Table(
    "tree_files",
    METADATA,
    Column("tree_id", ForeignKey("trees.id"), primary_key=True),
    Column("path", Written(1024), primary_key=True),
    _required("sha256", Sha256(), index=True),
    _required("size", Whole(most=MAX_SIZE)),
    _required("oid", GitId()),
    _required("large", Truth),
    _digest_check("sha256"),
    CheckConstraint("size >= 0", name="size"),
)

# One state of a repository. `revision_id` is the version that it holds; if it is None, `reason`
# says why it holds none.
COMMITS = Table(
    "commits",
    METADATA,
    Column("id", Whole(1), primary_key=True),
    _required("repository_id", ForeignKey("repositories.id")),
    _required("oid", GitId()),
    _required("tree_id", ForeignKey("trees.id"), index=True),
    Column("parent_id", ForeignKey("commits.id"), index=True),
    _required("author", Written(256)),
    _required("message", Written()),
    _required("created_at", UtcDateTime),
    Column("revision_id", ForeignKey("revisions.id"), index=True),
    Column("reason", Written()),
    UniqueConstraint("repository_id", "oid"),
)

# A name for a commit that moves along with each commit that is made on it.
BRANCHES = Table(
    "branches",
    METADATA,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("name", Line(244), primary_key=True),
    _required("commit_id", ForeignKey("commits.id"), index=True),
)

# A name for a commit that does not move.
COMMIT_TAGS = Table(
    "commit_tags",
    METADATA,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("name", Line(244), primary_key=True),
    _required("commit_id", ForeignKey("commits.id"), index=True),
    Column("message", Written()),
    _required("created_at", UtcDateTime),
)

# Bytes that an account sent, which it may name in a commit for a day.
UPLOADS = Table(
    "uploads",
    METADATA,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("sha256", Sha256(), primary_key=True, index=True),
    _required("size", Whole(most=MAX_SIZE)),
    _required("uploaded_at", UtcDateTime, index=True),
    _digest_check("sha256"),
)

# The listing of a repository on a hub, from its last commit on ``main``. It repeats the facts that
# pages are searched and sorted by; `registry.history.cards` writes it.
HUB_LISTINGS = Table(
    "hub_listings",
    METADATA,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True, autoincrement=False),
    _required("kind", Written(16)),
    Column("account_id", ForeignKey("accounts.id")),
    _required("visibility", Written(16)),
    _required("commit_id", ForeignKey("commits.id"), index=True),
    Column("library", Written(256)),
    Column("pipeline_tag", Written(256)),
    # The fields of its card, as JSON.
    _required("card", Written()),
    _required("downloads", Whole(most=MAX_SIZE)),
    *(
        Index(None, "kind", whose, order)
        for whose in ("visibility", "account_id")
        for order in ("commit_id", "repository_id", "downloads")
    ),
)

# A word to find a repository by on a hub.
HUB_TAGS = Table(
    "hub_tags",
    METADATA,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("tag", Written(512), primary_key=True),
    Index(None, "tag", "repository_id"),
)

# Three letters in a row of a repository's name, to find it by a part of it.
NAME_GRAMS = Table(
    "name_grams",
    METADATA,
    Column("gram", Written(3), primary_key=True),
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True, index=True),
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

# A condemned blob: nothing referred to it at the last garbage collection, so the next removes it.
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
    # The name as people read it, and the key to look it up by; both empty if the entry has none.
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
