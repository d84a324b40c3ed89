"""What every test gets: a registry of its own, and no network; and a hub for those that ask."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from registry import Catalog
    from tests.support.hub import Hub
    from tests.support.misbehaving import MisbehavingHub
    from tests.support.serving import Server
    from tests.support.started import Started

# The Hugging Face client reads this once, when a test module imports it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # as the examples do, which some tests import

# For this process and all that it starts: sums come out the same in each, and models this small
# only lose by sharing the work.
os.environ["OMP_NUM_THREADS"] = "1"

# Else each process compiles hubkit anew, and pytest each file of tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Most tests wait for the disk, some hundreds of times, and nothing that they write outlives them.
_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30  # bytes: several times what the tests have there at once
if "TMPDIR" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM:
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None  # pytest may have asked for it before

# A busy machine pauses a test for longer than any deadline that would mean something.
settings.register_profile("hubkit", deadline=None)
settings.load_profile("hubkit")


# A picture of one black point.
_BLANK = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


@pytest.fixture(autouse=True)
def hubkit_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point HUBKIT_HOME into the test's own folder."""
    home = tmp_path / "hubkit-home"
    monkeypatch.setenv("HUBKIT_HOME", str(home))
    for name in ("HUBKIT_DATABASE_URL", "HUBKIT_STORAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="session")
def frozen() -> set[str]:
    """The modules that no collection of garbage goes through."""
    return set()


@pytest.fixture(autouse=True, scope="module")
def quick_collection(frozen: set[str]) -> None:
    """Leave what the libraries made on import out of every collection of garbage.

    Each training ends in one, which would go through all of torch and transformers: most of a
    second, and half of the time of a training this small.
    """
    if sys.modules.keys() - frozen:
        gc.collect()
        gc.freeze()
        frozen.update(sys.modules)


@pytest.fixture(autouse=True)
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes half of the time of a training this small: pictures and collections.

    Pictures are drawn in test_plots.py, and wherever a process of its own trains.
    """
    from hubkit import plots

    for name in ("training_curves", "confusion_matrix", "scatter"):
        monkeypatch.setattr(plots, name, lambda *_: _BLANK)
    if memory := sys.modules.get("accelerate.utils.memory"):
        monkeypatch.setattr(memory, "gc", SimpleNamespace(collect=lambda: 0))


@pytest.fixture(autouse=True, scope="session")
def forked_pickles() -> Iterator[None]:
    """Fork the children that read pickles: to start Python and torch for each takes minutes."""
    from hubkit.formats import pickles
    from tests.support.forks import Forks

    with pytest.MonkeyPatch.context() as patch:
        forks = Forks()
        patch.setattr(pickles, "subprocess", forks)
        yield
        forks.close()


@pytest.fixture(scope="session")
def started() -> Iterator[Started]:
    """A Python with torch and hubkit loaded, which forks for each command."""
    from tests.support.started import started

    with started() as process:
        yield process


@pytest.fixture(autouse=True, scope="session")
def compiled_once() -> Iterator[None]:
    """Let all registries share their compiled statements: each test opens a registry of its own.

    To compile what it asks takes longer than to answer it over some rows.
    """
    from sqlalchemy import Engine, create_engine
    from sqlalchemy.util import LRUCache

    from registry.database import connections, postgresql

    class Compiled(LRUCache[tuple[Any, ...], Any]):
        """By all of SQLAlchemy's key but its first part, the dialect, which each engine has."""

        def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
            return super().get(key[1:], default)

        def __setitem__(self, key: tuple[Any, ...], value: Any) -> None:
            super().__setitem__(key[1:], value)

    compiled = {name: Compiled(10_000) for name in ("sqlite", "postgresql")}

    def create(url: Any, **settings: Any) -> Engine:
        engine = create_engine(url, **settings)
        engine.update_execution_options(compiled_cache=compiled[engine.dialect.name])
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "create_engine", create)
        patch.setattr(postgresql, "create_engine", create)
        yield


@pytest.fixture(scope="session")
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without rows, which all migrations made."""
    from registry import open_catalog
    from registry.store import DATABASE_NAME

    home = tmp_path_factory.mktemp("migrated-once")
    open_catalog(home).close()
    return home / DATABASE_NAME


@pytest.fixture(autouse=True)
def copied_databases(
    request: pytest.FixtureRequest, migrated_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start each database file from a copy, but in commands that have a process of their own.

    What is marked ``from_nothing`` runs the migrations, as users do.
    """
    if request.node.get_closest_marker("from_nothing"):
        return
    from registry.database.database import Database
    from registry.database.sqlite import Sqlite

    upgrade = Database.upgrade

    def copy_first(self: Database) -> bool:
        if isinstance(self.backend, Sqlite) and not self.backend.path.exists():
            # Another thread may be as far, or the folder may be closed on purpose.
            with suppress(OSError), tempfile.TemporaryDirectory(dir=migrated_once.parent) as folder:
                os.link(shutil.copy(migrated_once, folder), self.backend.path)
        return upgrade(self)

    monkeypatch.setattr(Database, "upgrade", copy_first)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A registry in the test's own folder."""
    from registry import open_catalog

    return open_catalog(tmp_path / "registry")


@pytest.fixture
def other_catalog(tmp_path: Path) -> Catalog:
    """The registry of someone else."""
    from registry import open_catalog

    return open_catalog(tmp_path / "other-registry")


@pytest.fixture(scope="session")
def hub_server() -> Iterator[Server]:
    """Where the hubs of tests are, one after the other."""
    from tests.support.serving import serving

    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def populated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, str]]:
    """A registry with people and nothing else, and their tokens; to be copied."""
    from registry import open_catalog
    from tests.support.hub import populate

    home = tmp_path_factory.mktemp("populated") / "home"
    catalog = open_catalog(home)
    tokens = populate(catalog)
    catalog.close()
    return home, tokens


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HOME is the test's own, the network is on, and nobody waits before asking again."""
    from huggingface_hub import constants

    home = tmp_path / "hf-home"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("hubkit.hub.session._PAUSES", (0.0, 0.0))
    monkeypatch.setattr("hubkit.hub.download._PAUSES", (0.0, 0.0, 0.0, 0.0))


H = TypeVar("H", bound="Hub")


@contextmanager
def _hub(
    make: type[H], server: Server, populated: tuple[Path, Mapping[str, str]], home: Path
) -> Iterator[H]:
    """A hub that Ada is logged in to."""
    from registry import open_catalog
    from tests.support.roundtrip import come_as

    template, tokens = populated
    catalog = open_catalog(Path(shutil.copytree(template, home)))
    hub = make(catalog, tokens, server.url)
    server.app = hub
    come_as(hub, "ada")
    try:
        yield hub
    finally:
        server.app = None
        catalog.close()


@pytest.fixture
def hub(
    online: None,
    hub_server: Server,
    populated: tuple[Path, Mapping[str, str]],
    tmp_path: Path,
) -> Iterator[Hub]:
    """A hub on loopback with nothing in it, that Ada is logged in to."""
    from tests.support.hub import Hub

    with _hub(Hub, hub_server, populated, tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def misbehaving_hub(
    online: None,
    hub_server: Server,
    populated: tuple[Path, Mapping[str, str]],
    tmp_path: Path,
) -> Iterator[MisbehavingHub]:
    """The same, with something in front of it that misbehaves as the test says."""
    from tests.support.misbehaving import MisbehavingHub

    with _hub(MisbehavingHub, hub_server, populated, tmp_path / "hub") as hub:
        yield hub
