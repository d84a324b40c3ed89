"""Measurements: what was measured of a version after it was published.

Going back loses the rows. The log keeps what they say, so that coming again brings them back.
"""

import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = (("data_sha256", "metric", "value", "revision_id"), ("dataset", "data_sha256"))

# What listings are sorted by: what was measured last counts before the metrics of training.
FIRST_METRIC = """
coalesce((SELECT value FROM metrics WHERE metrics.revision_id = listings.revision_id
    AND higher_is_better ORDER BY position LIMIT 1), :none)
"""
LAST_MEASURED = f"""
coalesce((SELECT value FROM measurements WHERE measurements.revision_id = listings.revision_id
    AND higher_is_better ORDER BY measured_at DESC, position LIMIT 1), {FIRST_METRIC})
"""


def upgrade() -> None:
    table = op.create_table(
        "measurements",
        sa.Column("revision_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.String(256), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("higher_is_better", sa.Boolean(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("data_sha256", sa.String(64), nullable=False),
        sa.Column("dataset", sa.String(256), nullable=False),
        sa.Column("split", sa.String(256), nullable=False),
        sa.Column("measured_at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("hubkit", sa.String(256), nullable=False),
        sa.CheckConstraint(
            "length(data_sha256) = 64 AND data_sha256 = lower(data_sha256)",
            name=op.f("ck_measurements_data_sha256"),
        ),
        sa.CheckConstraint("rows >= 1", name=op.f("ck_measurements_rows")),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revisions.id"], name=op.f("fk_measurements_revision_id")
        ),
        sa.PrimaryKeyConstraint("revision_id", "position", name=op.f("pk_measurements")),
    )
    for columns in INDEXES:
        op.create_index(op.f(f"ix_measurements_{'_'.join(columns)}"), "measurements", list(columns))
    if fill(table):
        set_scores(LAST_MEASURED)


def downgrade() -> None:
    set_scores(FIRST_METRIC)
    op.drop_table("measurements")


def fill(table: sa.Table) -> bool:
    """Bring back what the log says was measured; return whether it says anything."""
    connection = op.get_bind()
    entries = connection.execute(
        sa.text("SELECT folded, details FROM log WHERE action = 'measure' ORDER BY sequence")
    ).all()
    counts: dict[int, int] = {}
    for folded, text in entries:
        details = json.loads(text)
        # A deleted adapter has no revisions, and its name is never given to another.
        found = connection.scalar(
            sa.text(
                "SELECT revisions.id FROM revisions JOIN repositories"
                " ON repositories.id = repository_id WHERE folded = :folded AND number = :number"
            ),
            {"folded": folded, "number": details["number"]},
        )
        if found is None:
            continue
        for told in details["measurements"]:
            at = datetime.fromisoformat(told["measured_at"]).astimezone(UTC).replace(tzinfo=None)
            position = counts.get(found, 0)
            counts[found] = position + 1
            row = {"revision_id": found, "position": position, **told, "measured_at": at}
            connection.execute(table.insert().values(row))
    return bool(counts)


def set_scores(value: str) -> None:
    op.get_bind().execute(sa.text(f"UPDATE listings SET score = {value}"), {"none": float("-inf")})
