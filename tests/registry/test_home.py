"""Folders that are no place for a registry, or only to some."""

import multiprocessing
import os
import pkgutil
import re
import shutil
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

import registry
from registry import AdapterRef, Folder, open_catalog, read_folder
from registry.database import database
from registry.database.database import migrations_folder
from registry.database.journal import log_path
from registry.errors import ManifestError, StorageError
from registry.home import find_catalog
from registry.maintenance.backup import restore
from registry.maintenance.doctor import examine
from registry.maintenance.fsck import check_registry
from registry.manifest import MAX_BYTES

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")
NOBODY = 65534
_LOADED_LATER = ("difflib", "filelock", "platformdirs")


@pytest.fixture
def home(tmp_path: Path, make_folder: MakeFolder) -> Path:
    """A registry with one version, which nobody has open."""
    catalog = open_catalog(tmp_path / "home")
    catalog.publish(REF, make_folder(content=b"weights"))
    catalog.close()
    return catalog.home


@pytest.fixture
def read_only(home: Path) -> Iterator[Path]:
    """The same, where nothing can be written; to root, only another user can be refused."""
    for folder in (home, *(path for path in home.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    _let_pass(home.parent)
    yield home
    for folder in (home, *(path for path in home.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _let_pass(folder: Path) -> None:
    """Let other users get to a folder."""
    for parent in (folder, *folder.parents):
        mode = parent.stat().st_mode
        if mode & 0o055 != 0o055:
            parent.chmod(mode | 0o055)


@pytest.fixture
def reachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another user run what is tested, even where only the owner gets to this checkout.

    Its modules are loaded now, and its migrations copied to where that user can read them.
    """
    for module in pkgutil.walk_packages(registry.__path__, "registry."):
        import_module(module.name)
    for name in _LOADED_LATER:
        import_module(name)
    copied = shutil.copytree(migrations_folder(), tmp_path / "migrations")
    _let_pass(tmp_path)
    monkeypatch.setattr(database, "migrations_folder", lambda: copied)


def as_another_user(work: Callable[[], None]) -> None:
    """Run `work` in a process of a user who owns nothing here; see `reachable`."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)

    def run() -> None:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
        except BaseException:
            writer.send(traceback.format_exc())

    process = context.Process(target=run)
    process.start()
    process.join(60)
    assert not reader.poll(), reader.recv()
    assert process.exitcode == 0


@pytest.mark.usefixtures("reachable")
def test_a_registry_that_can_only_be_read_is_read(read_only: Path, tmp_path: Path) -> None:
    free = tmp_path / "free"
    free.mkdir()
    free.chmod(0o777)

    def look() -> None:
        catalog = open_catalog(read_only)
        version = catalog.resolve(REF)
        assert check_registry(catalog, full=True).status == 0
        catalog.materialize(version, free / "out")
        assert (free / "out" / "head" / "weights.bin").read_bytes() == b"weights"
        assert open_catalog(free / "copies").pull(REF, catalog) == version
        assert restore(read_only, find_catalog(free / "restored")).damaged == ()

    as_another_user(look)


@pytest.mark.usefixtures("reachable")
def test_a_registry_that_can_only_be_read_refuses_changes_in_a_sentence(
    read_only: Path, make_folder: MakeFolder
) -> None:
    folder = make_folder()

    def change() -> None:
        catalog = open_catalog(read_only)
        for work in (
            lambda: catalog.publish(REF, folder),
            lambda: catalog.yank(REF.at(1), "why"),
            lambda: catalog.set_alias(REF, "best"),
            lambda: catalog.delete(REF),
        ):
            with pytest.raises(
                StorageError,
                match=r"^Cannot .* Check its owner and permissions\.$",
            ):
                work()
        checks = {check.name: check for check in examine(find_catalog(read_only))}
        assert checks["folder"].state == "note"
        assert "you can only read it" in checks["folder"].text

    as_another_user(change)


@pytest.mark.usefixtures("reachable")
def test_what_another_process_just_wrote_is_read_too(read_only: Path) -> None:
    """There is a log then, so the file of the database is not all there is."""
    read_only.chmod(0o755)
    writer = open_catalog(read_only)
    writer.yank(REF.at(1), "wrong labels")
    read_only.chmod(0o555)
    assert log_path(writer.database.path).stat().st_size > 0
    as_another_user(lambda: _expect_yanked(read_only))
    writer.close()


def _expect_yanked(home: Path) -> None:
    assert open_catalog(home).resolve(REF.at(1)).yank_reason == "wrong labels"


@pytest.mark.usefixtures("reachable")
def test_a_registry_that_cannot_even_be_read_is_a_storage_error(home: Path) -> None:
    home.chmod(0o700)

    def look() -> None:
        with pytest.raises(StorageError, match="Permission denied"):
            open_catalog(home)
        assert [check.state for check in examine(find_catalog(home))][-1] == "problem"

    if os.getuid() == 0:
        _let_pass(home.parent)
        as_another_user(look)


def test_a_link_to_a_registry_is_that_registry(
    home: Path, tmp_path: Path, make_folder: MakeFolder
) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    assert open_catalog(link).publish(REF, make_folder()).number == 2
    assert len(open_catalog(home).versions(REF)) == 2


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("link", "link is a link to nowhere, which does not exist. Make that folder"),
        ("link/home", "link is a link to nowhere, which does not exist. Make that folder"),
        ("file", "file is a file, but a registry is a folder. Set HUBKIT_HOME"),
        ("file/a/home", "Cannot make a registry in {0}/file/a/home: {0}/file is a file. Set"),
    ],
)
def test_where_no_registry_can_be_it_is_said_why(tmp_path: Path, place: str, problem: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(StorageError, match=re.escape(problem.format(tmp_path))) as raised:
        open_catalog(tmp_path / place)
    check = examine(find_catalog(tmp_path / place))[-1]
    assert (check.name, check.state, check.text) == ("folder", "problem", str(raised.value))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.usefixtures("reachable")
def test_a_home_in_a_folder_of_others_is_a_storage_error(home: Path) -> None:
    def look() -> None:
        with pytest.raises(StorageError, match=r"Cannot look at .*: Permission denied\. Check"):
            open_catalog(home)
        assert examine(find_catalog(home))[-1].state == "problem"

    _let_pass(home.parent.parent)
    home.parent.chmod(0o700)
    if os.getuid() == 0:
        as_another_user(look)


def test_another_programs_lock_does_not_keep_readers_out(home: Path) -> None:
    other = sqlite3.connect(home / "hubkit.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert open_catalog(home).resolve(REF).number == 1
    other.close()


def test_a_manifest_of_100_mb_is_refused_unread(home: Path, make_folder: MakeFolder) -> None:
    folder = make_folder()
    with (folder.path / "hubkit.json").open("wb") as file:
        file.write(b'{"schema":1,"description":"')
        file.truncate(100_000_000)
    with pytest.raises(ManifestError, match=f"has at most {MAX_BYTES} bytes"):
        read_folder(folder.path)
