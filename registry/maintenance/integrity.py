"""Checks of the rows alone."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    ScalarSelect,
    Select,
    String,
    Table,
    and_,
    case,
    func,
    inspect,
    null,
    or_,
    select,
    text,
    type_coerce,
)

from registry.database.database import TEXT_TABLE, VERSION_TABLE, Database
from registry.errors import listed
from registry.history.from_log.trails import Trails
from registry.refs import AdapterRef
from registry.storage.files import MANIFEST_NAME
from registry.tables.column_types import Real, Truth, UtcDateTime, Whole
from registry.tables.models import (
    COMMITS,
    FILES,
    LOG,
    LOG_HEAD,
    METADATA,
    REPOSITORIES,
    REVISIONS,
    TREE_FILES,
    TREES,
)

_MOST = 10
_PAGE = 1000
_LAST = "f" * 64
_REFERENCES: tuple[tuple[Column[str], Any], ...] = (
    (REVISIONS.c.manifest_digest, null()),
    (TREES.c.digest, null()),
    (FILES.c.sha256, FILES.c.size),
    (TREE_FILES.c.sha256, TREE_FILES.c.size),
)
"""The columns that refer to a blob, and those with its size."""
_A_TIME = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9]*"


def table_names() -> set[str]:
    """Return the names of all tables that a registry's database has."""
    return {*METADATA.tables, VERSION_TABLE, TEXT_TABLE}


def table_problems(connection: Connection) -> list[str]:
    """Return which tables, columns and rows are missing that all commands need."""
    inspector = inspect(connection)
    missing = table_names() - set(inspector.get_table_names())
    problems = [f"there is no table {name}" for name in sorted(missing)]
    for wanted in METADATA.sorted_tables:
        if wanted.name not in missing:
            found = {column["name"] for column in inspector.get_columns(wanted.name)}
            lacking = sorted({column.name for column in wanted.columns} - found)
            problems += [f"the table {wanted.name} has no column {name}" for name in lacking]
    if not problems and connection.scalar(select(func.count()).select_from(LOG_HEAD)) != 1:
        problems.append("the log has lost its head, the one row of the table log_head")
    return problems[:_MOST]


def structure_problems(connection: Connection, *, full: bool = False) -> list[str]:
    """Return the problems of `table_problems`, and those that SQLite finds in its file.

    A server checks its files itself, and refuses rows that refer to nothing, and values of another
    type.

    Args:
        connection: A transaction in the database.
        full: Whether to compare SQLite's indexes with their tables, too, which takes ten times as
            long.
    """
    problems = table_problems(connection)
    if connection.dialect.name == "sqlite":
        check = "integrity_check" if full else "quick_check"
        rows = connection.scalars(text(f"PRAGMA {check}({_MOST})")).all()
        problems += [str(row) for row in rows if row != "ok"]
        broken = connection.execute(text("PRAGMA foreign_key_check")).all()
        problems += [f"row {row[1]} of {row[0]} refers to nothing in {row[2]}" for row in broken]
        if not problems:
            problems = _type_problems(connection)
    return problems[:_MOST]


def _type_problems(connection: Connection) -> list[str]:
    """Return the columns with values of a wrong type, which SQLite allows."""
    problems = []
    for table in METADATA.sorted_tables:
        row = connection.execute(_counts_of_misfits(table)).one()
        problems += [
            f"{count} rows of {table.name} have a value of the wrong type in {name}"
            for name, count in row._mapping.items()
            if count
        ]
    return problems


@cache  # to build them takes longer than to run them on a small registry
def _counts_of_misfits(table: Table) -> Select[Any]:
    fitting = {column.name: or_(column.is_(None), _fits(column)) for column in table.columns}
    counts = (func.sum(case((fits, 0), else_=1)).label(name) for name, fits in fitting.items())
    return select(*counts).select_from(table)


def _fits(column: Column[Any]) -> ColumnElement[bool]:
    storage = func.typeof(column)
    if isinstance(column.type, UtcDateTime):
        day = func.substr(type_coerce(column, String), 1, 10)
        return and_(
            storage == "text",
            type_coerce(column, String).op("GLOB")(_A_TIME),
            day > "0000-99",
            func.date(type_coerce(column, String), "+0 days") == day,
        )
    if isinstance(column.type, Truth):
        return type_coerce(column, Integer).in_((0, 1))
    if isinstance(column.type, Real):
        return storage == "real"
    return storage == ("integer" if isinstance(column.type, Whole) else "text")


def expected_blobs(database: Database) -> Iterator[tuple[str, int | None]]:
    """Yield the digests of all blobs that versions and commits refer to, in order, and their sizes.

    The size of a manifest or of a list of files is None: no row has it. Other processes may write
    meanwhile: no transaction lasts longer than a page.
    """
    last = ""
    while True:
        with database.read() as connection:
            page, complete = _page(connection, last)
        yield from sorted(page.items())
        if complete:
            return
        last = max(page)


def _page(connection: Connection, after: str) -> tuple[dict[str, int | None], bool]:
    """Return the next blobs, and whether they are the last."""
    end, complete = _LAST, True
    page: dict[str, int | None] = {}
    for digest, size in _REFERENCES:
        # Only up to the end of those before: a file that all adapters share has a row for each, and
        # is read once.
        rows = connection.execute(
            select(digest, size)
            .where(digest > after, digest <= end)
            .distinct()
            .order_by(digest)
            .limit(_PAGE)
        ).all()
        if len(rows) == _PAGE:
            end, complete = rows[-1][0], False
        for found, known in rows:
            page[found] = page.get(found) if known is None else known
    return {digest: size for digest, size in page.items() if digest <= end}, complete


def label(connection: Connection, digest: str) -> str:
    """Return which versions, commits and files a blob belongs to, for people."""
    of = select(REPOSITORIES.c.owner, REPOSITORIES.c.name, REVISIONS.c.number).join(
        REVISIONS, REVISIONS.c.repository_id == REPOSITORIES.c.id
    )
    manifests = connection.execute(of.where(REVISIONS.c.manifest_digest == digest)).all()
    files = connection.execute(
        of.add_columns(FILES.c.path)
        .join(FILES, FILES.c.revision_id == REVISIONS.c.id)
        .where(FILES.c.sha256 == digest)
    ).all()
    rows = [(*row, MANIFEST_NAME) for row in manifests] + [tuple(row) for row in files]
    names = [
        f"{AdapterRef(owner, name, version=number)}: {path}" for owner, name, number, path in rows
    ]
    return listed(names or _of_commits(connection, digest), 3)


def _of_commits(connection: Connection, digest: str) -> list[str]:
    of = (
        select(REPOSITORIES.c.owner, REPOSITORIES.c.name, COMMITS.c.oid)
        .join(COMMITS, COMMITS.c.repository_id == REPOSITORIES.c.id)
        .join(TREES, TREES.c.id == COMMITS.c.tree_id)
        .order_by(COMMITS.c.id)
    )
    files = of.add_columns(TREE_FILES.c.path).join(TREE_FILES, TREE_FILES.c.tree_id == TREES.c.id)
    lists = of.where(TREES.c.digest == digest)
    rows = [(*row, "the list of its files") for row in connection.execute(lists)]
    rows += [tuple(row) for row in connection.execute(files.where(TREE_FILES.c.sha256 == digest))]
    return [
        f"{AdapterRef(owner, name)}, commit {oid[:12]}: {path}" for owner, name, oid, path in rows
    ]


def stray_parents(connection: Connection) -> list[int]:
    """Return the revisions that name another parent than the revision before them."""
    return sorted(
        connection.scalars(
            select(REVISIONS.c.id).where(REVISIONS.c.parent_id.is_distinct_from(before()))
        )
    )


def before() -> ScalarSelect[int]:
    """The revision before one of `REVISIONS` in the same repository; NULL before the first."""
    earlier = REVISIONS.alias()
    return (
        select(func.max(earlier.c.id))
        .where(earlier.c.repository_id == REVISIONS.c.repository_id, earlier.c.id < REVISIONS.c.id)
        .scalar_subquery()
    )


def unlogged_ids(connection: Connection, trails: Trails) -> list[int]:
    """Return the revisions whose publication is not in the log, oldest first.

    They were published before the log existed, or inserted by another program.

    Args:
        connection: A transaction.
        trails: The names of their repositories.
    """
    logged = {
        (trails.now(folded), _digest(details))
        for folded, details in connection.execute(
            select(LOG.c.folded, LOG.c.details).where(LOG.c.action == "publish")
        )
    }
    rows = connection.execute(
        select(REVISIONS.c.id, REPOSITORIES.c.folded, REVISIONS.c.manifest_digest)
        .join(REPOSITORIES, REPOSITORIES.c.id == REVISIONS.c.repository_id)
        .where(REVISIONS.c.number.is_not(None))
        .order_by(REVISIONS.c.id)
    )
    return [row.id for row in rows if (row.folded, row.manifest_digest) not in logged]


def _digest(details: str) -> str | None:
    try:
        found = json.loads(details).get("digest")
    except (ValueError, AttributeError):  # which the check of the log reports
        return None
    return found if isinstance(found, str) else None
