"""What may import what: one arrow between the packages, no circles, and rooms with a list each."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import hubkit
import registry
from tests.support.imports import ROOT, circles, graph_of, imported, rooms, source_files

# The rooms of each package, and the rooms of the same package that each may use. Every room may use
# those right inside of `registry`: arguments, errors, refs, places, fields, manifest, task_types.
REGISTRY_ROOMS = {
    "storage": [],
    "database": ["storage"],
    "tables": ["database", "storage"],
    "log": ["database", "storage", "tables"],
    "folders": ["storage"],
    "store": ["database", "log", "storage"],
    "history": ["database", "folders", "log", "storage", "store", "tables"],
    "catalog": ["database", "folders", "history", "log", "storage", "store", "tables"],
    "search": ["catalog", "database", "folders", "history", "tables"],
    "home": ["catalog", "history", "storage", "store"],
    "accounts": ["database", "log", "store", "tables"],
    "runs": [],
    "server": [
        *(
            "accounts",
            "catalog",
            "database",
            "folders",
            "history",
            "home",
            "search",
            "storage",
            "store",
            "tables",
        ),
    ],
    "maintenance": [
        *("accounts", "catalog", "database", "home", "history", "log", "runs", "storage"),
        *("store", "tables"),
    ],
}
HUBKIT_ROOMS = {
    "methods": [],
    "composition": ["methods"],
    "notation": ["composition"],
    "nn": ["methods"],
    "formats": ["methods", "nn"],
    "plots": [],
    "processes": [],
    "tasks": ["bases", "plots"],
    "bases": ["nn"],
    "hub": [],
    "adapters": ["bases", "composition", "formats", "methods", "nn"],
    "models": ["adapters", "bases", "composition", "formats", "methods", "nn", "tasks"],
    "sharing": ["adapters", "bases", "formats", "hub", "methods", "models", "tasks"],
    "serving": ["sharing"],
    "inference": ["adapters", "bases", "models", "tasks"],
    "reports": ["models"],
    "composing": ["adapters", "bases", "composition", "inference", "methods"],
    "measuring": ["inference", "tasks"],
    "suggesting": [
        *("adapters", "bases", "comparing", "composing", "composition", "methods", "models", "nn"),
        "tasks",
    ],
    "training": [
        *("adapters", "bases", "composing", "composition", "methods", "models", "nn", "plots"),
        *("processes", "reports", "tasks"),
    ],
    "comparing": [
        *("adapters", "bases", "composing", "composition", "measuring", "models"),
        *("processes", "reports", "tasks", "training"),
    ],
    "predicting": [
        *("adapters", "bases", "composition", "formats", "inference", "models", "nn", "tasks"),
        "training",
    ],
    "exporting": ["adapters", "inference", "models", "nn", "tasks"],
    "cli": [
        *("bases", "comparing", "composing", "composition", "exporting", "hub", "inference"),
        *("measuring", "methods", "models", "plots", "predicting", "processes", "reports"),
        *("sharing", "suggesting"),
        *("tasks", "training"),
    ],
}
GROUND = {"arguments", "errors", "fields", "labels", "manifest", "places", "refs", "task_types"}
HEAVY = {"torch", "numpy", "transformers", "datasets", "sklearn", "matplotlib", "safetensors"}
FORBIDDEN_IN_REGISTRY = HEAVY | {"click", "hubkit"}
OF_A_HUB = {"starlette", "granian", "itsdangerous", "argon2", "pathspec", "anyio"}
# May be used where no torch is installed.
LIGHT = (
    "bases.compare",
    "bases.names",
    "bases.stored",
    "cli",
    "comparing.comparison",
    "composing.combine",
    "composition",
    "methods.table",
    "notation",
    "plots",
    "sharing.pickles",
    "sharing.publish_folder",
    "suggesting.candidates",
)

SOURCES = {module: path.read_text(encoding="utf-8") for module, path in source_files().items()}
GRAPH = graph_of(SOURCES)


def test_no_file_needs_itself_by_way_of_others() -> None:
    assert circles(GRAPH) == []


def test_a_circle_would_be_found_inside_functions_and_among_imports_for_types() -> None:
    sources = {
        "a": "def f():\n    from b import x",
        "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from c import y",
        "c": "import a",
        "d": "from a import f",
    }
    assert circles(graph_of(sources)) == [["a", "b", "c", "a"]]


@pytest.mark.parametrize(
    ("package", "allowed"), [("registry", REGISTRY_ROOMS), ("hubkit", HUBKIT_ROOMS)]
)
def test_each_room_uses_the_rooms_it_may(package: str, allowed: dict[str, list[str]]) -> None:
    own = {
        room: {other for other in others if other.startswith(f"{package}.")}
        for room, others in rooms(GRAPH).items()
        if room.startswith(f"{package}.")
    }
    named = {
        f"{package}.{room}": {f"{package}.{other}" for other in others}
        for room, others in allowed.items()
    }
    ground = {f"registry.{room}" for room in GROUND}
    assert set(own) - ground - {f"{package}.__main__"} == set(named)
    for room, others in named.items():
        assert own[room] - ground <= others, room
    for room in own.keys() & ground:
        assert own[room] <= ground | {"registry.storage"}, room


@pytest.mark.parametrize("module", [m for m in SOURCES if m.startswith("registry")])
def test_the_registry_imports_neither_hubkit_nor_anything_heavy(module: str) -> None:
    assert {name.partition(".")[0] for name in imported(SOURCES[module])}.isdisjoint(
        FORBIDDEN_IN_REGISTRY
    )


def test_migrations_import_neither_hubkit_nor_anything_heavy() -> None:
    for path in (ROOT / "migrations").rglob("*.py"):
        names = {name.partition(".")[0] for name in imported(path.read_text(encoding="utf-8"))}
        assert names.isdisjoint(FORBIDDEN_IN_REGISTRY), path


@pytest.mark.parametrize("module", [m for m in SOURCES if not m.startswith("hubkit.cli")])
def test_only_the_command_line_uses_click(module: str) -> None:
    assert "click" not in {name.partition(".")[0] for name in imported(SOURCES[module])}


def _loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


# Of several things that load nothing of it, one process is asked: all of them together do not.
def test_what_a_light_command_needs_loads_nothing_heavy() -> None:
    assert _loaded_by(f"import hubkit, {', '.join(f'hubkit.{m}' for m in LIGHT)}") & HEAVY == set()


def test_importing_the_registry_loads_nothing_heavy() -> None:
    loaded = _loaded_by("from registry import *; import registry.home, registry.search.search")
    assert loaded & FORBIDDEN_IN_REGISTRY == set()


def test_only_whoever_serves_a_registry_loads_what_serves_it() -> None:
    loaded = _loaded_by(
        "from registry import *\n"
        "import registry.accounts.accounts, registry.accounts.tokens, registry.history.history\n"
        "import hubkit.cli.serve.serve, hubkit.cli.serve.user; from hubkit.cli import main\n"
        "main(['--help'], standalone_mode=False)"
    )
    assert loaded & OF_A_HUB == set()
    assert not {name for name in loaded if name.startswith("registry.server")}


def test_import_registry_alone_does_not_even_load_the_database() -> None:
    loaded = _loaded_by("import registry")
    assert {"sqlalchemy", "pydantic", "alembic", "difflib"} & loaded == set()


@pytest.mark.parametrize("package", [hubkit, registry], ids=lambda package: package.__name__)
def test_every_public_name_is_sorted_and_there(package: ModuleType) -> None:
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


def test_no_module_hides_a_public_name_once_it_is_imported() -> None:
    for module in SOURCES:
        if module.startswith("hubkit") and ".cli" not in module and "__main__" not in module:
            import_module(module)
    for name in hubkit.__all__:
        assert not isinstance(getattr(hubkit, name), ModuleType), name


def test_no_folder_is_too_wide_to_look_through() -> None:
    widths: dict[str, int] = {}
    for path in source_files().values():
        if path.name != "__init__.py":
            folder = str(path.parent.relative_to(ROOT))
            widths[folder] = widths.get(folder, 0) + 1
    wide = {folder: width for folder, width in widths.items() if width > 14}
    assert wide.keys() <= {"registry/folders"}
