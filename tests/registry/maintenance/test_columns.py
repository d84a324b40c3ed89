"""Whatever column of whatever table somebody changes by hand, a full check tells of it.

The columns are those that there are, so that a new one needs either a check or a reason here.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Table,
    and_,
    create_engine,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from registry import AdapterRef, Catalog, Folder
from registry.accounts.tokens import Tokens
from registry.errors import HubkitError
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage
from registry.tables.column_types import Real, Truth, UtcDateTime, Whole
from registry.tables.models import METADATA, SECRETS
from tests.registry.maintenance.conftest import METRIC, account_ids

HARMLESS = {
    "repositories.id": "only rows refer to it, and that of a deleted adapter has none that do",
    "accounts.id": "the same, of an account that was removed",
    "tokens.id": "the same, of a token without a limit",
    "condemned.sha256": "who refers to a blob is looked for again before it goes",
    "condemned.condemned_at": "the same",
    "condemned": "the same",
    "accounts.password": "what gives access is in no log; who can write here needs none",
    "tokens.hash": "the same",
    "tokens.hint": "it is shown, and decides nothing",
    "tokens.last_used_at": "the same",
    "tokens": "nobody is let in by a token that is gone",
    "token_repositories.repository_id": "the log has of how many a token is, and names move",
    "secrets": "what gives access is in no log; a new key is made",
    "secrets.name": "the same",
    "secrets.value": "the same",
    "uploads": "who sent what is known for a day, in no log, and who lacks it sends it again",
    "uploads.account_id": "the same; who can write here can read all bytes anyway",
    "uploads.sha256": "the same",
    "uploads.size": "the same; what is committed has the size that its bytes have",
    "uploads.uploaded_at": "the same",
}
"""What may be changed, or removed, unseen, and why nothing comes of it."""


@pytest.fixture
def full(hub: Catalog, other_catalog: Catalog, make_folder: Callable[..., Folder]) -> Catalog:
    """A registry with rows in every table."""
    metrics = [
        METRIC | {"name": name, "higher_is_better": name != "loss"} for name in ("f1", "loss")
    ]
    last = AdapterRef.parse("zoe/last")
    folder = make_folder(
        metrics=metrics, tags=["x", "y"], language="en", license="MIT", description="what it is"
    )
    version = hub.publish(last, folder)
    other_catalog.pull(version.ref, hub)  # which counts as a download
    tokens = Tokens(hub.store)
    tokens.create("alice", "limited", "read", repositories=["alice/One", "datasets/alice/Reviews"])
    tokens.create("alice", "laptop", "write", expires_at=datetime(2100, 1, 1, tzinfo=UTC))
    hub.history.remember_upload(account_ids(hub)["bob"], hub.blobs.put(BytesIO(b"sent")))
    with hub.database.write() as connection:
        connection.execute(insert(SECRETS), {"name": "key", "value": "of a hub"})
    collect_garbage(hub, grace=timedelta(0))
    assert check_registry(hub, full=True).findings == ()
    with hub.database.read() as connection:
        for table in METADATA.sorted_tables:
            assert connection.execute(select(table)).first() is not None, table.name
    return hub


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


# A few at a time, since it takes longer to make the registry than to look at a table of it.
TABLES = sorted(METADATA.tables)
PARTS = [TABLES[start::6] for start in range(6)]


@pytest.mark.torture  # minutes on each database
@pytest.mark.parametrize("names", PARTS, ids=["-".join(names[:2]) for names in PARTS])
def test_a_full_check_sees_each_column_that_is_changed_and_each_row_that_is_gone(
    full: Catalog, by_hand: Engine, names: list[str]
) -> None:
    unseen = set[str]()
    for name in names:
        unseen |= unseen_changes(full, by_hand, METADATA.tables[name])
        assert not is_seen(full), name
    assert unseen - HARMLESS.keys() == set()


def unseen_changes(full: Catalog, by_hand: Engine, table: Table) -> set[str]:
    """Change each column of the last row of a table, remove it, and put all back."""
    before = last_row(table, by_hand)
    unseen = set()

    def same(row: dict[str, Any]) -> Any:
        return and_(*(key == row[key.name] for key in table.primary_key))

    for column in table.columns:
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
            unseen.add(table.name)
        assert is_done(by_hand, table.insert().values(before))
    return unseen
