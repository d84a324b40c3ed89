"""How Alembic reaches the registry's database.

`registry.database.database` hands over a connection that is already inside one write transaction
with foreign keys off; on the command line the registry under HUBKIT_HOME is used the same way.
"""

from alembic import context
from sqlalchemy import Connection

from registry.database.database import VERSION_TABLE, is_model_table
from registry.home import find_catalog
from registry.tables.models import METADATA


def migrate(connection: Connection) -> None:
    """Run what Alembic was asked for, inside the connection's transaction."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        version_table=VERSION_TABLE,
        include_name=is_model_table,
        # SQLite cannot alter a table in place, so Alembic copies it.
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with find_catalog().database.migrating() as connection:
        migrate(connection)
