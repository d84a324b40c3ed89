"""Adapters: repositories, revisions, what is known about them, and text search."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def digest_check(table: str, column: str) -> sa.CheckConstraint:
    """Return the check that a column holds a lower-case SHA-256."""
    return sa.CheckConstraint(
        f"length({column}) = 64 AND {column} = lower({column})",
        name=op.f(f"ck_{table}_{column}"),
    )


def upgrade() -> None:
    op.create_table(
        "repositories",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(96), nullable=True),
        sa.Column("name", sa.String(96), nullable=False),
        sa.Column("folded", sa.String(193), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(), nullable=True),
        sa.Column("next_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("folded", name=op.f("uq_repositories_folded")),
    )
    op.create_table(
        "revisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("manifest_digest", sa.String(64), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("author", sa.String(256), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("yanked_at", sa.DateTime(), nullable=True),
        sa.Column("yank_reason", sa.Text(), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("method", sa.String(256), nullable=False),
        sa.Column("base_model", sa.String(256), nullable=False),
        sa.Column("base_name", sa.String(256), nullable=False),
        sa.Column("base_fingerprint", sa.String(64), nullable=True),
        sa.Column("task", sa.String(256), nullable=True),
        sa.Column("task_type", sa.String(256), nullable=True),
        sa.Column("language", sa.String(256), nullable=True),
        sa.Column("license", sa.String(256), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("number >= 1", name=op.f("ck_revisions_number")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_revisions_size")),
        digest_check("revisions", "manifest_digest"),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_revisions_repository_id")
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["revisions.id"], name=op.f("fk_revisions_parent_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        sa.UniqueConstraint(
            "repository_id", "number", name=op.f("uq_revisions_repository_id_number")
        ),
        sa.UniqueConstraint(
            "repository_id",
            "manifest_digest",
            name=op.f("uq_revisions_repository_id_manifest_digest"),
        ),
    )
    for column in (
        "manifest_digest",
        "parent_id",
        "kind",
        "method",
        "base_model",
        "base_name",
        "base_fingerprint",
        "task",
        "task_type",
    ):
        op.create_index(op.f(f"ix_revisions_{column}"), "revisions", [column])

    op.create_table(
        "files",
        sa.Column("revision_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(512), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        digest_check("files", "sha256"),
        sa.CheckConstraint("size >= 0", name=op.f("ck_files_size")),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revisions.id"], name=op.f("fk_files_revision_id")
        ),
        sa.PrimaryKeyConstraint("revision_id", "path", name=op.f("pk_files")),
    )
    op.create_index(op.f("ix_files_sha256"), "files", ["sha256"])

    op.create_table(
        "metrics",
        sa.Column("revision_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dataset", sa.String(256), nullable=False),
        sa.Column("split", sa.String(256), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("higher_is_better", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revisions.id"], name=op.f("fk_metrics_revision_id")
        ),
        sa.PrimaryKeyConstraint("revision_id", "position", name=op.f("pk_metrics")),
    )

    op.create_table(
        "tags",
        sa.Column("revision_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tag", sa.String(256), nullable=False),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revisions.id"], name=op.f("fk_tags_revision_id")
        ),
        sa.PrimaryKeyConstraint("revision_id", "position", name=op.f("pk_tags")),
    )
    op.create_index(op.f("ix_tags_tag"), "tags", ["tag"])

    op.create_table(
        "parents",
        sa.Column("child_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ref", sa.String(256), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        digest_check("parents", "digest"),
        sa.ForeignKeyConstraint(["child_id"], ["revisions.id"], name=op.f("fk_parents_child_id")),
        sa.PrimaryKeyConstraint("child_id", "position", name=op.f("pk_parents")),
    )
    op.create_index(op.f("ix_parents_digest"), "parents", ["digest"])

    op.create_table(
        "refs",
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(48), nullable=False),
        sa.Column("revision_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_refs_repository_id")
        ),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revisions.id"], name=op.f("fk_refs_revision_id")
        ),
        sa.PrimaryKeyConstraint("repository_id", "name", name=op.f("pk_refs")),
    )
    op.create_index(op.f("ix_refs_revision_id"), "refs", ["revision_id"])

    # One row a revision, found by rowid = revisions.id. Another database has its own text search.
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE revision_text USING fts5("
            "name, task, base_model, tags, description, "
            "tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3')"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE revision_text")
    for table in ("refs", "parents", "tags", "metrics", "files", "revisions", "repositories"):
        op.drop_table(table)
