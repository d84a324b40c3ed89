"""Compare the rows of each list of files with its bytes, and write them again from there."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import delete, insert, select, update

from registry.catalog.catalog import Catalog
from registry.errors import AlteredRowsError, CorruptBlobError, StorageError
from registry.history.trees import Tree, tree_rows
from registry.maintenance.findings import Finding
from registry.tables.models import TREE_FILES, TREES

_BATCH = 200


def check_trees(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding for each list of files whose rows differ from its bytes."""
    for row, tree, facts in _wrong_trees(catalog):
        text = f"The list of files {row.digest[:12]}: its rows differ from its bytes."
        if not repair:
            yield Finding(text, about=AlteredRowsError)
            continue
        with catalog.database.write() as connection:
            connection.execute(delete(TREE_FILES).where(TREE_FILES.c.tree_id == row.id))
            connection.execute(update(TREES).where(TREES.c.id == row.id).values(facts))
            if tree.files:
                connection.execute(insert(TREE_FILES), tree_rows(row.id, tree))
        yield Finding(f"{text} They are written again.", "repaired")


def without_tree_files(catalog: Catalog) -> Iterator[str]:
    """Yield the lists of files with bytes that no row of theirs refers to."""
    for row, _, _ in _wrong_trees(catalog):
        yield f"The list of files {row.digest[:12]}"


def _wrong_trees(catalog: Catalog) -> Iterator[tuple[Any, Tree, dict[str, Any]]]:
    """Yield the row of each list of files that differs from its bytes, the tree, and its facts."""
    last = 0
    while True:
        with catalog.database.read() as connection:
            page = select(TREES).where(TREES.c.id > last).order_by(TREES.c.id).limit(_BATCH)
            rows = connection.execute(page).all()
            files: dict[int, set[tuple[Any, ...]]] = defaultdict(set)
            of_page = TREE_FILES.c.tree_id.in_([row.id for row in rows])
            for file in connection.execute(select(TREE_FILES).where(of_page)):
                files[file.tree_id].add(tuple(file))
        for row in rows:
            try:
                tree = Tree.read(catalog.blobs, row.digest)
            except (CorruptBlobError, StorageError):
                continue  # which the check of the blobs reports
            listed = tree_rows(row.id, tree)
            wanted = {tuple(one[column.name] for column in TREE_FILES.c) for one in listed}
            facts = {"oid": tree.oid, "files": len(tree.files), "size": tree.size}
            if wanted != files[row.id] or facts != {one: row._mapping[one] for one in facts}:
                yield row, tree, facts
        if len(rows) < _BATCH:
            return
        last = rows[-1].id
