"""Nothing but SQLite opens the file of a database.

When a process closes any descriptor of a file, POSIX takes all its locks on that file away. So what
reads the file of a database beside SQLite lets other processes write over what is being written.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, read_folder
from registry.errors import FolderError, StorageError
from registry.maintenance.backup import back_up, restore
from registry.maintenance.bundle import export_bundle
from registry.maintenance.doctor import examine
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage
from registry.maintenance.rebuild import rebuild
from tests.registry.maintenance.conftest import make_busy

_opened: list[str] | None = None


def _note(event: str, arguments: tuple[object, ...]) -> None:
    # Python's own opens, of any module; not those of SQLite, which are no business of Python's.
    if (
        _opened is not None
        and event == "open"
        and isinstance(arguments[0], str | bytes | os.PathLike)
    ):
        _opened.append(os.path.basename(os.fsdecode(arguments[0])))


sys.addaudithook(_note)  # which cannot be taken away again


@pytest.fixture
def opened() -> Iterator[list[str]]:
    global _opened
    _opened = []
    yield _opened
    _opened = None


@pytest.mark.sqlite
@pytest.mark.from_nothing
def test_no_verb_opens_the_file_of_a_database(
    catalog: Catalog,
    other_catalog: Catalog,
    make_folder: Callable[..., Folder],
    tmp_path: Path,
    opened: list[str],
) -> None:
    make_busy(catalog, other_catalog, make_folder)
    ref = AdapterRef.parse("two")
    examine(catalog)
    check_registry(catalog, full=True, repair=True)
    collect_garbage(catalog, dry_run=True)
    collect_garbage(catalog)
    catalog.folder(catalog.resolve(ref))
    export_bundle(catalog, ref, io.BytesIO())
    back_up(catalog, tmp_path / "backup")
    back_up(catalog, tmp_path / "backup")
    restore(tmp_path / "backup", Catalog(tmp_path / "restored"))
    rebuild(catalog)
    os.replace(catalog.home / "hubkit.db", tmp_path / "lost.db")
    catalog.close()
    rebuild(catalog)
    assert "hubkit.json" in opened  # so it is noted what is opened
    assert not [name for name in opened if name.startswith("hubkit.db") and ".lock" not in name]


@pytest.mark.sqlite
def test_a_registry_that_is_published_as_if_it_were_an_adapter_is_not_opened_either(
    catalog: Catalog, make_folder: Callable[..., Folder], opened: list[str]
) -> None:
    catalog.publish(AdapterRef.parse("one"), make_folder())
    with pytest.raises((FolderError, StorageError)):
        read_folder(catalog.home)
    assert not [name for name in opened if name == "hubkit.db"]
