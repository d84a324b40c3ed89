"""A fresh registry, and folders to publish in it."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

import registry
from registry import Catalog, Folder, Manifest, open_catalog, read_folder, write_manifest
from registry.database.database import known_revisions
from tests.support.remembered import Remembered
from tests.support.servers import connected, disconnect, sharing_connections

ADDRESS = "HUBKIT_TEST_POSTGRES_URL"
REQUIRED = "HUBKIT_TEST_POSTGRES_REQUIRED"
POSTGRESQL = os.environ.get(ADDRESS, "postgresql://postgres@127.0.0.1:5432/test")

BASE = {
    "id": "sentence-transformers/all-MiniLM-L6-v2",
    "architecture": "BertModel",
    "hidden_size": 384,
    "num_layers": 6,
    "fingerprint": "ab" * 32,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a registry on both databases, unless it is about one of them, or about none.

    A test may name its databases itself, too.
    """
    named = any("database" in m.args[0] for m in metafunc.definition.iter_markers("parametrize"))
    if "database" in metafunc.fixturenames and not named:
        databases = {"once": "sqlite", "sqlite": "sqlite", "postgresql": "postgresql"}
        marked = [
            databases[m.name] for m in metafunc.definition.iter_markers() if m.name in databases
        ]
        metafunc.parametrize("database", marked or ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str | None]]:
    """Name the database of the registry of some name: a URL, or None for a file in its home."""
    if request.param == "sqlite":
        yield lambda name: None
        return
    databases: dict[str, str] = request.getfixturevalue("postgresql")
    used = set()

    def url(name: str) -> str:
        used.add(name)
        if name not in databases:
            databases[name] = f"{databases['template']}_{len(databases)}"
            make_database(databases[name], databases["template"])
        return _url(databases[name])

    yield url
    for name in used:
        _empty(databases[name])


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The databases of this connection: one with hubkit's tables, and its copies by their use."""
    template = f"hubkit_test_{uuid.uuid4().hex[:8]}"
    try:
        make_database(template)
    except psycopg.OperationalError as error:
        reason = f"no PostgreSQL server at {POSTGRESQL} ({REQUIRED} and {ADDRESS} are read)"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{reason}: {error}")
        pytest.skip(reason)
    open_catalog(tmp_path_factory.mktemp("template"), database=_url(template)).close()
    databases = {"template": template}
    yield databases
    disconnect()
    for name in databases.values():
        _administer(f"DROP DATABASE {name} WITH (FORCE)")


def make_database(name: str, template: str = "template1") -> None:
    """Make a database that is quick at the price of losing its last commits in a power cut."""
    _administer(f"CREATE DATABASE {name} TEMPLATE {template}")
    _administer(f"ALTER DATABASE {name} SET synchronous_commit = off")


def _administer(statement: str) -> None:
    with psycopg.connect(POSTGRESQL, autocommit=True, connect_timeout=3) as connection:
        connection.execute(statement)


def _empty(database: str) -> None:
    """Make a database as good as new, which takes a tenth of the time of making a new one."""
    connection = connected(_url(database))
    row = connection.execute(
        "SELECT string_agg(format('DELETE FROM %I', tablename), '; ') FROM pg_tables"
        " WHERE schemaname = 'public' AND tablename <> 'hubkit_version'"
    ).fetchone()
    assert row is not None
    connection.execute(  # several statements at once, as each way to the server takes its time
        f"""
        {row[0]};
        SELECT setval(quote_ident(sequencename)::regclass, 1, false) FROM pg_sequences;
        INSERT INTO log_head VALUES (1, 0, repeat('0', 64));
        UPDATE hubkit_version SET version_num = '{known_revisions()[-1]}'
        """
    )


def _url(database: str) -> str:
    return f"{POSTGRESQL.rpartition('/')[0]}/{database}"


@pytest.fixture
def open_registry(
    tmp_path: Path, database: Callable[[str], str | None]
) -> Iterator[Callable[[str], Catalog]]:
    """Open a registry of some name, which is made when it is first asked for."""
    opened = []

    def open_named(name: str) -> Catalog:
        url = database(name)
        with sharing_connections():
            opened.append(open_catalog(tmp_path / name, database=url))
        return opened[-1]

    yield open_named
    for catalog in opened:
        catalog.close()


@pytest.fixture
def catalog(open_registry: Callable[[str], Catalog]) -> Catalog:
    return open_registry("registry")


@pytest.fixture
def other_catalog(open_registry: Callable[[str], Catalog]) -> Catalog:
    return open_registry("other-registry")


@pytest.fixture(scope="session")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Remembered:
    """Registries that many tests begin with."""
    return Remembered(tmp_path_factory.mktemp("remembered"))


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """Build a small manifest; any field can be given."""

    def make(**fields: Any) -> Manifest:
        defaults = {"kind": "adapter", "method": {"type": "seq_bn"}, "base_model": BASE}
        return Manifest.model_validate(defaults | fields)

    return make


@pytest.fixture
def make_folder(tmp_path: Path, make_manifest: Callable[..., Manifest]) -> Callable[..., Folder]:
    """Write an adapter's folder; every one holds other bytes unless `content` is given."""
    numbers = count(1)

    def make(*, content: bytes | None = None, **fields: Any) -> Folder:
        number = next(numbers)
        path = tmp_path / f"folder-{number}"
        (path / "head").mkdir(parents=True)
        (path / "adapter_config.json").write_text(json.dumps({"r": 8}))
        (path / "head" / "weights.bin").write_bytes(
            b"weights %d" % number if content is None else content
        )
        write_manifest(path, make_manifest(**fields))
        return read_folder(path)

    return make


@pytest.fixture
def start_python() -> Callable[..., "subprocess.Popen[str]"]:
    """Start a Python process that can import this registry."""

    def start(script: str, *arguments: object) -> "subprocess.Popen[str]":
        root = str(Path(registry.__file__).parents[1])
        return subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
