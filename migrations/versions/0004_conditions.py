"""What a result depends on beside the weights: the base model's configuration and tokenizer, and
what the outputs mean.

Versions of before record none of it in their manifests, so it stays unknown for them.
"""

import logging

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = (("base_config", 64), ("base_tokenizer", 64), ("problem_type", 32))


def upgrade() -> None:
    for name, length in COLUMNS:
        op.add_column("revisions", sa.Column(name, sa.String(length), nullable=True))
    tell_what_is_unknown()


def downgrade() -> None:
    for name, _ in reversed(COLUMNS):
        op.drop_column("revisions", name)


def tell_what_is_unknown() -> None:
    count = op.get_bind().scalar(sa.text("SELECT count(*) FROM revisions WHERE number IS NOT NULL"))
    if count:
        logging.getLogger("hubkit.migrations").warning(
            "The registry is upgraded. Of its %d versions, the configuration and the tokenizer of "
            "the base model are not recorded, so they could not be checked. Those of the first "
            "base model that fits are noted when a version is used, and expected from then on.",
            count,
        )
