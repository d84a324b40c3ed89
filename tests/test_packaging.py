"""The built wheel, in an environment of its own with nothing but what listing needs."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
# What the registry and the command line rest on; the wheel also asks for torch and the like.
LIGHT = ("alembic", "click", "filelock", "platformdirs", "pydantic", "rich", "sqlalchemy")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    run(command, PIP_CONSTRAINT=str(ROOT / "constraints.txt"))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's programs, hubkit among them."""
    environment = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    python = environment / "bin" / "python"
    (packages,) = environment.glob("lib/python*/site-packages")
    for path in sorted(files_of(LIGHT)):
        (packages / path.name).symlink_to(path)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    run([*pip, "--no-compile", "--no-deps", str(wheel)])
    return environment / "bin"


def files_of(names: Iterable[str]) -> set[Path]:
    """The folders and modules of distributions that are installed here, and of what they need."""
    found: set[Path] = set()
    todo, seen = [*names], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        here = distribution(name)
        tops = {file.parts[0] for file in here.files or ()} - {"..", "__pycache__"}
        found |= {Path(str(here.locate_file(top))) for top in tops}
        needs = map(Requirement, here.requires or ())
        todo += [one.name for one in needs if not one.marker or one.marker.evaluate({"extra": ""})]
    return found


def test_the_wheel_holds_both_packages_the_pages_and_the_migrations_and_nothing_else(
    wheel: Path,
) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {
        "hubkit",
        "registry",
    }
    assert {"hubkit/py.typed", "registry/py.typed"} <= {*names}
    server = ROOT / "registry" / "server"
    shown = [path for folder in ("templates", "static") for path in (server / folder).iterdir()]
    assert len(shown) > 2
    assert {str(path.relative_to(ROOT)) for path in shown} <= {*names}
    migrations = sorted((ROOT / "migrations" / "versions").glob("*.py"))
    assert migrations
    for path in (ROOT / "migrations" / "env.py", *migrations):
        assert f"registry/{path.relative_to(ROOT).as_posix()}" in names


def test_the_installed_command_prints_its_help(installed: Path) -> None:
    assert "hubkit train" in run([str(installed / "hubkit"), "--help"])


def test_the_installed_command_makes_and_upgrades_a_database(
    installed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    listed = run([str(installed / "hubkit"), "list", "--json"], HUBKIT_HOME=str(home))
    assert json.loads(listed)["adapters"] == []
    newest = sorted((ROOT / "migrations" / "versions").glob("*.py"))[-1].name.split("_")[0]
    script = (
        "import sqlite3, sys; "
        "print(sqlite3.connect(sys.argv[1]).execute('select * from hubkit_version').fetchall())"
    )
    assert run([sys.executable, "-c", script, str(home / "hubkit.db")]) == f"[('{newest}',)]\n"


def run(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
