"""Where versions come from, what is condemned, how often each is fetched, and the log of changes.

The log has a row for each change of the catalog, and each row's hash covers the one before it.
`log_head` is the last of them in one row, which writers lock while they append.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
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
        "log",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("folded", sa.String(193), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.CheckConstraint("sequence >= 1", name=op.f("ck_log_sequence")),
        digest_check("log", "previous"),
        digest_check("log", "hash"),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_log")),
    )
    op.create_index(op.f("ix_log_folded_sequence"), "log", ["folded", "sequence"])
    head = op.create_table(
        "log_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_log_head_id")),
        digest_check("log_head", "hash"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_head")),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "hash": "0" * 64}])

    op.create_table(
        "condemned",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("condemned_at", sa.DateTime(), nullable=False),
        digest_check("condemned", "sha256"),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_condemned")),
    )
    op.create_index(op.f("ix_condemned_condemned_at"), "condemned", ["condemned_at"])

    op.create_table(
        "origins",
        sa.Column("revision_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revisions.id"], name=op.f("fk_origins_revision_id")
        ),
        sa.PrimaryKeyConstraint("revision_id", name=op.f("pk_origins")),
    )

    op.create_table(
        "downloads",
        sa.Column("repository_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("count >= 0", name=op.f("ck_downloads_count")),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_downloads_repository_id")
        ),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_downloads")),
    )
    op.create_index(
        op.f("ix_downloads_count_repository_id"), "downloads", ["count", "repository_id"]
    )


def downgrade() -> None:
    for table in ("downloads", "origins", "condemned", "log_head", "log"):
        op.drop_table(table)
