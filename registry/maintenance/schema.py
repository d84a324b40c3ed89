"""Go back to an earlier migration, and compare the tables with those that hubkit knows."""

from registry.database.database import (
    VERSION_TABLE,
    Database,
    alembic_config,
    is_model_table,
    known_revisions,
)
from registry.errors import DatabaseError
from registry.tables.models import METADATA


def downgrade(database: Database, target: str) -> None:
    """Take a database back to an earlier migration, in one transaction.

    Data in columns of later migrations is lost: make a backup first.

    Args:
        database: The database.
        target: The number of a migration, such as ``0002``.

    Raises:
        DatabaseError: There is no such migration, or it is not an earlier one.
        NewerDatabaseError: Only a newer hubkit knows the migration that the database is at.
    """
    database.is_current()  # refuses a database of a newer hubkit
    current, known = database.migration(), known_revisions()
    earlier = [number for number in known if current is not None and number < current]
    if target not in earlier:
        listed = ", ".join(earlier) or "none"
        raise DatabaseError(
            f"{database.backend.label} is at migration {current} and cannot go back to {target!r}: "
            f"expected an earlier one, of which there are {listed}.",
            target,
        )
    from alembic import command

    with database.migrating() as connection:
        command.downgrade(alembic_config(connection), target)
    database.close()  # connections remember statements about the tables as they were


def differences(database: Database) -> list[str]:
    """Return a sentence for each difference from the tables that this hubkit knows."""
    from alembic.autogenerate import produce_migrations, render_python_code
    from alembic.migration import MigrationContext

    with database.migrating() as connection:
        options = {"version_table": VERSION_TABLE, "include_name": is_model_table}
        context = MigrationContext.configure(connection, opts=options)
        operations = produce_migrations(context, METADATA).upgrade_ops
        if operations is None or operations.is_empty():
            return []
        code = render_python_code(operations, migration_context=context)
        return [line.strip() for line in code.splitlines() if line.strip().startswith("op.")]
