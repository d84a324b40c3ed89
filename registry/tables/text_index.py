"""Full-text search over versions, with SQLite's FTS5."""

import re

from sqlalchemy import Select, column, select, table
from sqlalchemy.orm import Session

from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.tables.database import TEXT_TABLE

_INDEX = table(
    TEXT_TABLE,
    column("rowid"),
    column("name"),
    column("task"),
    column("base_model"),
    column("tags"),
    column("description"),
)
_WORD = re.compile(r"\w+")
_MOST_WORDS = 16


def add_text(session: Session, revision_id: int, ref: AdapterRef, manifest: Manifest) -> None:
    """Index the words a version is found by; called once, as a version never changes."""
    session.execute(
        _INDEX.insert().values(
            rowid=revision_id,
            name=str(ref.repository),
            task=f"{manifest.task or ''} {manifest.task_type or ''} {manifest.method.type}",
            base_model=manifest.base_model.id,
            tags=" ".join(manifest.tags),
            description=manifest.description,
        )
    )


def remove_text(session: Session, revision_ids: "Select[int]") -> None:
    """Take revisions out of the index."""
    session.execute(_INDEX.delete().where(_INDEX.c.rowid.in_(revision_ids)))


def matching_ids(text: str) -> "Select[int] | None":
    """Select the ids of revisions with all words of `text`, or None if it has no word.

    The last word may be unfinished: ``senti`` finds ``sentiment``.
    """
    words = _WORD.findall(text)[:_MOST_WORDS]
    if not words:
        return None
    # Quoted, because to FTS5 a bare AND, NEAR, * or : is an operator.
    query = " ".join(f'"{word}"' for word in words) + "*"
    return select(_INDEX.c.rowid).where(column(TEXT_TABLE).op("MATCH")(query))
