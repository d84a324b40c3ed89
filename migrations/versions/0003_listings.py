"""Listings: one row an adapter, which is what people page through; text search on PostgreSQL.

The family of a base model is known only for what is published from here on.
"""

import re
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

REVISION_INDEXES = (
    "kind",
    "method",
    "base_model",
    "base_name",
    "base_fingerprint",
    "task",
    "task_type",
)
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
FILL_LISTINGS = """
INSERT INTO listings (repository_id, revision_id, owner, kind, method, base_model, base_name,
    base_family, base_fingerprint, task, task_type, language, license, size, score, downloads)
SELECT repositories.id, revisions.id,
    CASE WHEN owner IS NULL THEN NULL ELSE substr(folded, 1, {slash} - 1) END,
    kind, method, base_model, base_name, base_family, base_fingerprint, task, task_type, language,
    license, size,
    coalesce((SELECT value FROM metrics WHERE metrics.revision_id = revisions.id
        AND higher_is_better ORDER BY position LIMIT 1), :none),
    coalesce((SELECT count FROM downloads WHERE downloads.repository_id = repositories.id), 0)
FROM repositories JOIN revisions ON revisions.repository_id = repositories.id
WHERE deleted_at IS NULL AND number IS NOT NULL AND yanked_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM revisions AS newer WHERE newer.repository_id = revisions.repository_id
    AND newer.number > revisions.number AND newer.yanked_at IS NULL)
"""

WORD = re.compile(r"[^\W_]+")


def upgrade() -> None:
    for column in REVISION_INDEXES:
        op.drop_index(op.f(f"ix_revisions_{column}"), "revisions")
    op.add_column("revisions", sa.Column("base_family", sa.String(256), nullable=True))
    op.create_index(op.f("ix_revisions_repository_id_id"), "revisions", ["repository_id", "id"])
    op.drop_index(op.f("ix_tags_tag"), "tags")
    op.create_index(op.f("ix_tags_tag_revision_id"), "tags", ["tag", "revision_id"])
    ranking = ["dataset", "name", "value", "revision_id"]
    op.create_index(op.f(f"ix_metrics_{'_'.join(ranking)}"), "metrics", ranking)
    op.create_table(
        "listings",
        sa.Column("repository_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision_id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(96), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("method", sa.String(256), nullable=False),
        sa.Column("base_model", sa.String(256), nullable=False),
        sa.Column("base_name", sa.String(256), nullable=False),
        sa.Column("base_family", sa.String(256), nullable=True),
        sa.Column("base_fingerprint", sa.String(64), nullable=True),
        sa.Column("task", sa.String(256), nullable=True),
        sa.Column("task_type", sa.String(256), nullable=True),
        sa.Column("language", sa.String(256), nullable=True),
        sa.Column("license", sa.String(256), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("downloads", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_listings_repository_id")
        ),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revisions.id"], name=op.f("fk_listings_revision_id")
        ),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_listings")),
        sa.UniqueConstraint("revision_id", name=op.f("uq_listings_revision_id")),
    )
    for columns in LISTING_INDEXES:
        op.create_index(op.f(f"ix_listings_{'_'.join(columns)}"), "listings", list(columns))
    fill_listings()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TABLE revision_text (rowid INTEGER PRIMARY KEY, words TSVECTOR NOT NULL)"
        )
        fill_text()
        op.execute("CREATE INDEX ix_revision_text_words ON revision_text USING gin (words)")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TABLE revision_text")
    op.drop_table("listings")
    op.drop_index(op.f("ix_metrics_dataset_name_value_revision_id"), "metrics")
    op.drop_index(op.f("ix_tags_tag_revision_id"), "tags")
    op.create_index(op.f("ix_tags_tag"), "tags", ["tag"])
    op.drop_index(op.f("ix_revisions_repository_id_id"), "revisions")
    op.drop_column("revisions", "base_family")
    for column in REVISION_INDEXES:
        op.create_index(op.f(f"ix_revisions_{column}"), "revisions", [column])


def fill_listings() -> None:
    slash = "instr(folded, '/')"
    if op.get_bind().dialect.name == "postgresql":
        slash = "strpos(folded, '/')"
    op.get_bind().execute(sa.text(FILL_LISTINGS.format(slash=slash)), {"none": float("-inf")})


def fill_text() -> None:
    connection = op.get_bind()
    rows = connection.execute(
        sa.text(
            "SELECT revisions.id, concat_ws(' ', owner, name, task, task_type, method, base_model,"
            " description,"
            " (SELECT string_agg(tag, ' ') FROM tags WHERE revision_id = revisions.id))"
            " FROM revisions JOIN repositories ON repositories.id = repository_id"
            " WHERE number IS NOT NULL"
        )
    )
    for number, text in rows.all():
        words = WORD.findall(unicodedata.normalize("NFC", text))
        connection.execute(
            sa.text("INSERT INTO revision_text VALUES (:id, array_to_tsvector(:words))"),
            {"id": number, "words": sorted(set(map(fold, words)))},
        )


def fold(word: str) -> str:
    plain = unicodedata.normalize("NFD", word.lower())
    return unicodedata.normalize("NFC", "".join(c for c in plain if not unicodedata.combining(c)))
