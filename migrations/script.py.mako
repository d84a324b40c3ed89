"""${message}

House rule: literal columns and plain SQL, never registry.tables.models, which moves on while this file
must not. Undo everything in downgrade(). Change a table inside op.batch_alter_table(). A migration
runs in one transaction with all others that are due, so it must not commit.
The file is named by its number, the highest of which is what this hubkit calls current.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
