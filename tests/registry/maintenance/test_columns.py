"""Whatever column of whatever table somebody changes by hand, a full check tells of it.

The columns are those that there are, so that a new one needs either a check or a reason here.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Table,
    and_,
    create_engine,
    delete,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from registry import AdapterRef, Catalog, Folder
from registry.errors import HubkitError
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage
from registry.tables.column_types import Real, Truth, UtcDateTime, Whole
from registry.tables.models import METADATA
from tests.registry.maintenance.conftest import METRIC

HARMLESS = {
    "repositories.id": "only rows refer to it, and that of a deleted adapter has none that do",
    "condemned.sha256": "who refers to a blob is looked for again before it goes",
    "condemned.condemned_at": "the same",
    "condemned": "the same",
}
"""What may be changed, or removed, unseen, and why nothing comes of it."""


HUB = {
    *("accounts", "members", "tokens", "token_repositories", "secrets", "former_names"),
    *("trees", "tree_files", "commits", "branches", "commit_tags", "uploads"),
    *("hub_listings", "hub_tags", "name_grams"),
    *("repositories.kind", "repositories.account_id", "repositories.visibility"),
}
"""The tables and columns of a hub, which has tests of its own."""


@pytest.fixture
def full(busy: Catalog, other_catalog: Catalog, make_folder: Callable[..., Folder]) -> Catalog:
    """A registry with rows in every table."""
    metrics = [
        METRIC | {"name": name, "higher_is_better": name != "loss"} for name in ("f1", "loss")
    ]
    last = AdapterRef.parse("zoe/last")
    folder = make_folder(
        metrics=metrics, tags=["x", "y"], language="en", license="MIT", description="what it is"
    )
    version = busy.publish(last, folder)
    other_catalog.pull(version.ref, busy)  # which counts as a download
    collect_garbage(busy, grace=timedelta(0))
    assert check_registry(busy, full=True).findings == ()
    return busy


@pytest.fixture
def by_hand(full: Catalog, database: Callable[[str], str | None]) -> Iterator[Engine]:
    """The same database without what hubkit asks of it, such as foreign keys in SQLite."""
    url = database("registry")
    engine = create_engine(
        f"sqlite:///{full.database.path}"
        if url is None
        else url.replace("postgresql:", "postgresql+psycopg:")
    )
    yield engine
    engine.dispose()


def others(column: Column[Any], value: Any, engine: Engine) -> Iterator[Any]:
    """Yield what else a column may hold."""
    if column.foreign_keys:
        (key,) = column.foreign_keys
        with engine.connect() as connection:
            yield from [one for one in connection.scalars(select(key.column)) if one != value]
    elif isinstance(column.type, UtcDateTime):
        yield (value or datetime(2020, 1, 1, tzinfo=UTC)) + timedelta(microseconds=1)
    elif isinstance(column.type, Truth):
        yield not value
    elif isinstance(column.type, Whole | Real):
        yield 7 if value in (None, float("-inf")) else value + 1
    elif value is not None and len(value) == 64:  # a digest
        yield f"{'1' if value[0] == '0' else '0'}{value[1:]}"
    else:
        yield f"{value or ''}x"


def is_done(engine: Engine, statement: Any) -> bool:
    """Whether the database lets a statement pass."""
    try:
        with engine.begin() as connection:
            connection.execute(statement)
    except DBAPIError:
        return False
    return True


def is_seen(catalog: Catalog) -> bool:
    try:
        return any(finding.about for finding in check_registry(catalog, full=True).findings)
    except HubkitError:
        return True


def last_row(table: Table, engine: Engine) -> dict[str, Any]:
    statement = select(table).order_by(*(key.desc() for key in table.primary_key)).limit(1)
    with engine.connect() as connection:
        return dict(connection.execute(statement).one()._mapping)


@pytest.mark.parametrize("name", sorted(METADATA.tables.keys() - HUB))
def test_a_full_check_sees_each_column_that_is_changed_and_each_row_that_is_gone(
    full: Catalog, by_hand: Engine, name: str
) -> None:
    table = METADATA.tables[name]
    before = last_row(table, by_hand)
    unseen = set()

    def same(row: dict[str, Any]) -> Any:
        return and_(*(key == row[key.name] for key in table.primary_key))

    for column in table.columns:
        if str(column) in HUB:
            continue
        tries = [*others(column, before[column.name], by_hand)]
        if column.nullable and before[column.name] is not None:
            tries.append(None)
        assert tries, column
        for value in tries:
            if is_done(by_hand, update(table).where(same(before)).values({column.name: value})):
                if not is_seen(full):
                    unseen.add(str(column))
                changed = before | {column.name: value}
                back = {column.name: before[column.name]}
                assert is_done(by_hand, update(table).where(same(changed)).values(back))
    if is_done(by_hand, delete(table).where(same(before))):
        if not is_seen(full):
            unseen.add(name)
        assert is_done(by_hand, table.insert().values(before))
    assert unseen <= HARMLESS.keys()
    assert not is_seen(full)
