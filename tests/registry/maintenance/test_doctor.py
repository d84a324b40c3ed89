import errno
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder
from registry.database import journal
from registry.errors import DamagedDatabaseError, StorageError
from registry.home import find_catalog
from registry.maintenance import doctor
from registry.maintenance.doctor import Check, examine

MakeFolder = Callable[..., Folder]


def found(catalog: Catalog) -> dict[str, Check]:
    return {check.name: check for check in examine(catalog)}


def test_a_sound_registry_has_no_problems(catalog: Catalog, make_folder: MakeFolder) -> None:
    catalog.publish(AdapterRef.parse("sst2"), make_folder())
    checks = found(catalog)
    assert "problem" not in {check.state for check in checks.values()}
    assert checks["database"].state == "ok"
    with catalog.database.read() as connection:
        assert catalog.log.head(connection)[1] in checks["log"].text
    assert [path for path in catalog.home.iterdir() if path.suffix == ".tmp"] == []


def test_looking_makes_nothing(tmp_path: Path) -> None:
    checks = found(find_catalog(tmp_path / "none"))
    assert checks["folder"].state == "note"
    assert [*tmp_path.iterdir()] == []


@pytest.mark.once
@pytest.mark.parametrize(("fixed", "state"), [(True, "ok"), (False, "note")])
def test_the_bug_of_the_write_ahead_log_is_told_by_version(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, fixed: bool, state: str
) -> None:
    monkeypatch.setattr(doctor, "has_wal_reset_fix", lambda version: fixed)
    assert found(catalog)["sqlite"].state == state


@pytest.mark.sqlite
def test_a_network_file_system_recommends_postgresql(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (doctor, journal):
        monkeypatch.setattr(module, "file_system", lambda folder: "nfs4")
    checks = found(catalog)
    assert checks["file system"].state == "note"
    assert "PostgreSQL" in checks["file system"].text
    assert checks["database"].state == "note"  # it has the other journal still


@pytest.mark.once
@pytest.mark.parametrize("has_scratch", [True, False])
def test_on_a_full_disk_nothing_is_left_of_the_file_that_was_tried(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, has_scratch: bool
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if has_scratch:
        (catalog.home / "tmp").mkdir(exist_ok=True)
    before = {*catalog.home.rglob("*")}
    monkeypatch.setattr(os, "fsync", fail)
    check = found(catalog)["writing"]
    assert (check.state, "No space left on device" in check.text) == ("problem", True)
    assert {*catalog.home.rglob("*")} == before


@pytest.mark.once
@pytest.mark.parametrize(("free", "state"), [(10**11, "ok"), (10**9, "note"), (10**6, "problem")])
def test_a_disk_that_fills_up_is_told(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("", (), {"free": free}))
    assert found(catalog)["space"].state == state


@pytest.mark.sqlite
@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 99])
def test_a_lost_or_damaged_database_is_a_problem(
    catalog: Catalog, make_folder: MakeFolder, content: bytes | None
) -> None:
    catalog.publish(AdapterRef.parse("sst2"), make_folder())
    catalog.close()
    path = catalog.database.path
    path.unlink() if content is None else path.write_bytes(content)
    check = found(find_catalog(catalog.home))["database"]
    assert check.state == "problem"
    assert check.about is DamagedDatabaseError


def test_a_newer_database_is_a_problem(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE hubkit_version SET version_num = '9999'"))
    check = found(catalog)["database"]
    assert check.state == "problem"
    assert "newer hubkit" in check.text


@pytest.mark.once
def test_a_folder_that_everybody_can_write_is_told(catalog: Catalog) -> None:
    catalog.home.chmod(0o777)
    assert "chmod o-w" in found(catalog)["folder"].text


@pytest.mark.once
def test_what_was_left_is_counted(catalog: Catalog) -> None:
    for folder, name in (("tmp", ".a.tmp"), ("quarantine", "b")):
        (catalog.home / folder).mkdir(exist_ok=True)
        (catalog.home / folder / name).touch()
    checks = found(catalog)
    assert checks["leftovers"].text == "1 file was never finished."
    assert checks["quarantine"].text.startswith("1 file found damaged once, in")
    assert {checks["leftovers"].state, checks["quarantine"].state} == {"note"}


def test_what_somebody_took_out_of_the_database_is_a_problem(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("DELETE FROM log_head"))
    check = found(catalog)["database"]
    assert check.state == "problem"
    assert "the log has lost its head" in check.text
    assert check.about is DamagedDatabaseError


@pytest.mark.once
def test_storage_that_cannot_be_reached_is_a_problem(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(catalog)["storage"].text == f"{catalog.home / 'blobs'} can be read."
    refusal = StorageError("Cannot read s3://team: no such bucket. Check the URL.")
    monkeypatch.setattr(catalog.blobs, "size", mock.Mock(side_effect=refusal))
    assert found(catalog)["storage"].state == "problem"


@pytest.mark.once
def test_training_that_broke_off_is_listed(catalog: Catalog) -> None:
    (catalog.home / "runs" / ("0" * 16)).mkdir(parents=True)
    (check,) = [check for check in examine(catalog) if check.name == "leftovers"]
    assert check.state == "note"
    assert f"1 training run broke off, in {catalog.home / 'runs'}" in check.text
    assert "for 14 days" in check.text
