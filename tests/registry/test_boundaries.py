"""What the registry may know of the rest, and what it costs to import."""

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import registry
from registry.database.database import migrations_folder

PACKAGE = Path(registry.__file__).parent
FORBIDDEN = {"torch", "numpy", "transformers", "click", "hubkit", "safetensors", "datasets"}


@pytest.mark.parametrize(
    "statement",
    ["import registry", "from registry import *", "import registry.home, registry.search.search"],
)
def test_importing_the_registry_loads_nothing_heavy(
    start_python: Callable[..., "subprocess.Popen[str]"], statement: str
) -> None:
    process = start_python(f"{statement}\nimport sys\nprint(*sys.modules)")
    out, err = process.communicate(timeout=60)
    assert err == ""
    assert FORBIDDEN & set(out.split()) == set()


def test_import_registry_alone_does_not_even_load_the_database(
    start_python: Callable[..., "subprocess.Popen[str]"],
) -> None:
    out, _ = start_python("import registry, sys\nprint(*sys.modules)").communicate(timeout=60)
    assert {"sqlalchemy", "pydantic", "alembic", "difflib"} & set(out.split()) == set()


@pytest.mark.parametrize(
    "path",
    [*PACKAGE.rglob("*.py"), *migrations_folder().rglob("*.py")],
    ids=lambda path: "/".join(path.parts[-2:]),
)
def test_no_file_imports_what_is_above_it(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported & FORBIDDEN == set()


def test_every_public_name_is_there_and_sorted() -> None:
    assert registry.__all__ == sorted(registry.__all__)
    for name in registry.__all__:
        assert getattr(registry, name).__module__.startswith("registry.")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = registry.nonsense


def test_files_stay_small_enough_to_read() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length >= 300} == {}
