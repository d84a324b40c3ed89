"""Full-text search over versions: SQLite's FTS5, or PostgreSQL's tsvector with a GIN index.

Both find the same: words of letters and digits, in any case, with or without accents.
"""

import re
import sqlite3
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    select,
    table,
    union_all,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import TableClause
from sqlalchemy.types import Text, UserDefinedType

from registry.database.database import TEXT_TABLE
from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.tables.versions import Version, VersionSelect

MANY = 1000
"""If so many versions have the last word as a whole word, it does not match longer words."""


class _TsQuery(UserDefinedType[str]):
    """PostgreSQL's type of a query; to import its dialect for it takes as long as a command."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "TSQUERY"


_SQLITE: TableClause = table(
    TEXT_TABLE,
    column(TEXT_TABLE),  # for FTS5: all columns, and its commands
    column("rowid"),
    column("name"),
    column("task"),
    column("base_model"),
    column("tags"),
    column("description"),
)
_ADD_TEXT = _SQLITE.insert()
_POSTGRESQL: TableClause = table(TEXT_TABLE, column("rowid"), column("words"))

_KEPT = select(*(kept for kept in _SQLITE.c if kept.name != TEXT_TABLE))

_WORD = re.compile(r"[^\W_]+")
_MOST_WORDS = 16
_SHORTEST_PREFIX = 2
_LONGEST_WORD = 256
"""Longer words are not found: PostgreSQL refuses those of more than 2,046 bytes."""
# Nearly every adapter has these in its description.
_COMMON = frozenset(
    ("a", "adapter", "adapters", "an", "and", "for", "lora", "model", "of", "on", "the", "to")
)


def add_text(connection: Connection, revision_id: int, ref: AdapterRef, manifest: Manifest) -> None:
    """Index the words of a version; called once, since a version never changes."""
    add_texts(connection, {revision_id: text_columns(ref, manifest)})


def add_texts(connection: Connection, texts: Mapping[int, Mapping[str, str]]) -> None:
    """Index many versions at once: the columns of `text_columns` by the revision's id."""
    if connection.dialect.name == "sqlite":
        rows = [{"rowid": revision_id, **columns} for revision_id, columns in texts.items()]
        connection.execute(_ADD_TEXT, rows)
        return
    words = func.array_to_tsvector(bindparam("lexemes", type_=ARRAY(Text)))
    connection.execute(
        _POSTGRESQL.insert().values(rowid=bindparam("id"), words=words),
        [
            {"id": revision_id, "lexemes": _lexemes(columns)}
            for revision_id, columns in texts.items()
        ],
    )


def indexed_ids(connection: Connection, texts: Mapping[int, Mapping[str, str]]) -> set[int]:
    """Return the revisions whose text in the index is that of `text_columns`, given by id."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(_KEPT.where(_SQLITE.c.rowid.in_(texts))).mappings()
        return {
            row["rowid"]
            for row in rows
            if all(row[name] == value for name, value in texts[row["rowid"]].items())
        }
    found = connection.execute(
        select(_POSTGRESQL.c.rowid, func.tsvector_to_array(_POSTGRESQL.c.words)).where(
            _POSTGRESQL.c.rowid.in_(texts)
        )
    )
    return {rowid for rowid, words in found if sorted(words) == _lexemes(texts[rowid])}


def is_index_sound(connection: Connection) -> bool:
    """Whether SQLite's index agrees with its text; a server checks its own.

    Args:
        connection: A write transaction, in which nothing changes.
    """
    if connection.dialect.name != "sqlite":
        return True
    try:
        connection.execute(_SQLITE.insert().values({TEXT_TABLE: "integrity-check"}))
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT_VTAB:
            return False
        raise
    return True


def make_index_anew(connection: Connection) -> None:
    """Make SQLite's index from the text that is kept in it."""
    connection.execute(_SQLITE.insert().values({TEXT_TABLE: "rebuild"}))


def remove_text(connection: Connection, revision_ids: "Select[int]") -> None:
    """Remove revisions from the index."""
    connection.execute(_SQLITE.delete().where(_SQLITE.c.rowid.in_(revision_ids)))


@dataclass(frozen=True, slots=True)
class Words:
    """Words to look for, in the language of a database's index.

    Attributes:
        dialect: ``sqlite`` or ``postgresql``.
        every: All words, as they are.
        started: The same, but the last one may be unfinished.
        last: The last word, as it is.
    """

    dialect: str
    every: str
    started: str
    last: str

    @classmethod
    def read(cls, dialect: str, text: str) -> Self | None:
        """Read the words of a query; None if it has none.

        The last word may be unfinished: ``senti`` finds ``sentiment``. Words that nearly every
        adapter has are left out, unless there are no others.
        """
        words = _words(text)[:_MOST_WORDS]
        if not words:
            return None
        telling = [word for word in words[:-1] if word.lower() not in _COMMON]
        if words[-1].lower() not in _COMMON or not telling:
            telling.append(words[-1])
        unfinished = telling[-1] == words[-1] and len(words[-1]) >= _SHORTEST_PREFIX
        # Only letters and digits, and quoted: AND and NEAR are operators of FTS5.
        if dialect == "postgresql":
            quoted, joint, start = [f"'{_fold(word)}'" for word in telling], " & ", ":*"
        else:
            quoted, joint, start = [f'"{word}"' for word in telling], " ", "*"
        every = joint.join(quoted)
        return cls(dialect, every, every + (start if unfinished else ""), quoted[-1])


def candidates(words: Words, most: int, *, below: int | None = None) -> VersionSelect:
    """Select the ids of the newest revisions that have all words.

    A search for a prefix takes longer the more versions have it; one for a whole word does not.
    So the last word is a prefix only while fewer than `MANY` versions have it as a whole word.

    Args:
        words: The words.
        most: The most revisions to select.
        below: Only ids lower than this; default: all.

    Returns:
        The highest first, in a column called ``rowid``.
    """
    with_last = select(literal(1)).where(_matches(words.dialect, literal(words.last))).limit(MANY)
    count = select(func.count()).select_from(with_last.subquery()).scalar_subquery()
    every, started = literal(words.every), literal(words.started)
    if words.dialect == "sqlite":
        wanted = case((count == MANY, every), else_=started)
        return _newest(words.dialect, wanted, most, below)
    # PostgreSQL's planner needs the words to estimate their number; one part is never executed.
    either = union_all(
        *(
            select(_newest(words.dialect, wanted, most, below).where(condition).subquery().c.rowid)
            for wanted, condition in ((every, count == MANY), (started, count < MANY))
        )
    )
    rowid = either.subquery().c.rowid
    return select(rowid).order_by(rowid.desc())


def _newest(
    dialect: str, wanted: ColumnElement[str], most: int, below: int | None
) -> VersionSelect:
    index = _POSTGRESQL if dialect == "postgresql" else _SQLITE
    found = select(index.c.rowid).where(_matches(dialect, wanted)).order_by(index.c.rowid.desc())
    if below is not None:
        found = found.where(index.c.rowid < below)
    return found.limit(most)


def _matches(dialect: str, query: ColumnElement[str]) -> ColumnElement[bool]:
    if dialect == "postgresql":
        return _POSTGRESQL.c.words.op("@@")(cast(query, _TsQuery()))
    return _SQLITE.c[TEXT_TABLE].op("MATCH")(query)


def text_columns(ref: AdapterRef, described: Manifest | Version) -> dict[str, str]:
    """Return the text to index for a version, in the columns of SQLite's index."""
    if isinstance(described, Manifest):
        method, base_model = described.method.type, described.base_model.id
    else:
        method, base_model = described.method, described.base_model
    return {
        "name": str(ref.repository),
        "task": f"{described.task or ''} {described.task_type or ''} {method}",
        "base_model": base_model,
        "tags": " ".join(described.tags),
        "description": described.description,
    }


def _lexemes(columns: Mapping[str, str]) -> list[str]:
    return sorted({_fold(word) for word in _words(" ".join(columns.values()))})


def _words(text: str) -> list[str]:
    words = _WORD.findall(unicodedata.normalize("NFC", text))
    return [word for word in words if len(word) <= _LONGEST_WORD]


def _fold(word: str) -> str:
    """Remove case and accents, as FTS5 does by itself."""
    plain = unicodedata.normalize("NFD", word.lower())
    return unicodedata.normalize("NFC", "".join(c for c in plain if not unicodedata.combining(c)))
