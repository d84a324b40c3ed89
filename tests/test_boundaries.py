"""What may import what: each floor of the house rests only on those below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import hubkit

PACKAGE = Path(hubkit.__file__).parent
HEAVY = {"torch", "numpy", "transformers", "datasets", "sklearn", "matplotlib", "safetensors"}

# From the ground up. A package stands for all of its modules.
FLOORS: tuple[set[str], ...] = (
    {"base_names", "composition", "known_bases", "messages", "methods", "notation"},
    {"nn"},
    {"combining", "comparing"},
    {"formats"},
    {"base_models", "plots", "tasks"},
    {"converting", "stored_bases"},
    {"adapters"},
    {"folder_fit"},
    {"publishing"},
    {"remote"},
    {"pulling"},
    {"peft_models"},
    {"inference"},
    {"pruning"},
    {"training"},
    {"cli"},
)
HEIGHT = {module: height for height, floor in enumerate(FLOORS) for module in floor}
# Take no part in the house: the door, and its key.
DOORS = {"__init__"}
# May be used where no torch is installed.
LIGHT = (
    "base_names",
    "cli",
    "combining",
    "composition",
    "converting",
    "methods.table",
    "notation",
    "publishing",
    "stored_bases",
)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def owner(module: str) -> str | None:
    """The part of hubkit that a dotted name belongs to."""
    parts = module.split(".")
    known = len(parts) > 1 and parts[0] == "hubkit" and parts[1] in HEIGHT
    return parts[1] if known else None


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if part_of(path) not in DOORS]


def test_every_module_has_its_floor() -> None:
    assert {part_of(path) for path in FILES} == set(HEIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_imports_from_a_higher_floor(path: Path) -> None:
    own = part_of(path)
    for module in imports(path):
        other = owner(module)
        if other is not None and other != own:
            assert HEIGHT[other] <= HEIGHT[own], f"{own} imports {module}"
        if own != "cli":
            assert module.partition(".")[0] != "click"


def test_no_two_modules_need_each_other() -> None:
    needs: dict[str, set[str]] = {part: set() for part in HEIGHT}
    for path in FILES:
        needs[part_of(path)] |= {owner(module) or "" for module in imports(path)}
    for part in needs:
        reached, todo = set(), needs[part] - {part}
        while todo:
            reached |= todo
            todo = set().union(*(needs.get(module, set()) for module in todo)) - reached
        assert part not in reached


@pytest.mark.parametrize(
    "statement",
    [
        "import hubkit",
        "import registry",
        *(f"import hubkit.{m}" for m in LIGHT),
    ],
)
def test_what_a_light_command_needs_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


def test_every_public_name_is_sorted_and_there() -> None:
    assert hubkit.__all__ == sorted(hubkit.__all__)
    assert dir(hubkit) == hubkit.__all__
    assert set(hubkit._HOMES) <= set(hubkit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hubkit.nonsense


def test_no_module_hides_a_public_name_once_it_is_imported() -> None:
    for path in FILES:
        if part_of(path) != "cli":
            dotted = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            import_module(f"hubkit.{dotted}".removesuffix(".__init__"))
    for name in hubkit.__all__:
        assert not isinstance(getattr(hubkit, name), ModuleType), name
        assert getattr(hubkit, name).__name__ == name
