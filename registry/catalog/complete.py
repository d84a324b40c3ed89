"""Write facts that a migration cannot know, because only the manifests have them."""

from sqlalchemy import Connection, update

from registry.errors import CorruptBlobError, ManifestError
from registry.store import Store
from registry.tables.listings import base_family, list_newest
from registry.tables.models import REVISIONS
from registry.tables.versions import load_rows, select_versions


def complete_rows(store: Store) -> None:
    """Fill in the families of base models that an older hubkit did not write.

    A listing by base model finds versions by them. Versions whose manifest cannot be read stay as
    they are: ``fsck`` names them.
    """
    with store.database.read() as connection:
        lacking = load_rows(
            connection,
            select_versions()
            .add_columns(REVISIONS.c.repository_id)
            .where(REVISIONS.c.base_family.is_(None)),
        )
    found = {}
    for row, version in lacking:
        try:
            manifest = store.manifest(version.ref, version.manifest_digest)
        except (CorruptBlobError, ManifestError):
            continue
        if family := base_family(manifest.base_model.architecture):
            found[row.id] = (row.repository_id, family)
    if not found:
        return

    def fill(connection: Connection) -> None:
        for revision, (_, family) in found.items():
            connection.execute(
                update(REVISIONS).where(REVISIONS.c.id == revision).values(base_family=family)
            )
        for repository in {repository for repository, _ in found.values()}:
            list_newest(connection, repository)

    store.database.transact(fill)
