"""A process that is killed, or a disk that fills up, at any step of a publish."""

import errno
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from registry import (
    AdapterRef,
    Catalog,
    Folder,
    RefNotFoundError,
    StorageError,
    VersionNotFoundError,
    open_catalog,
    read_folder,
)

REF = AdapterRef.parse("alice/sst2")
FORK = multiprocessing.get_context("fork")
CALLS = ("open", "fsync", "replace", "rename", "mkdir", "chmod", "unlink")


def before_each_step(patch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Call `action` before each change of the file system."""

    def stepping(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            action()
            return call(*args, **kwargs)

        return wrapper

    for name in CALLS:
        patch.setattr(os, name, stepping(getattr(os, name)))


def before_each_statement(action: Callable[[], None]) -> None:
    """Call `action` before each statement and commit of any database."""
    for name in ("before_cursor_execute", "commit"):
        event.listen(Engine, name, lambda *_: action())


def count_down(steps: int, end: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls `end` the `steps`-th time it is called."""
    left = steps

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            end()

    return step


def kill_publish_at(catalog: Catalog, folder: Folder, steps: int) -> bool:
    """Publish in another process that is killed at that step; return whether it got there."""

    def run() -> None:
        step = count_down(steps, lambda: os.kill(os.getpid(), signal.SIGKILL))
        before_each_step(pytest.MonkeyPatch(), step)
        before_each_statement(step)
        catalog.publish(REF, folder)

    process = FORK.Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file()}


def test_whenever_a_publish_is_killed_the_registry_is_whole(
    tmp_path: Path, make_folder: Callable[..., Folder]
) -> None:
    catalog = open_catalog(tmp_path / "registry")
    acknowledged = [catalog.publish(REF, make_folder())]
    steps = 1
    while kill_publish_at(catalog, folder := make_folder(), steps):
        assert catalog.versions(REF) == acknowledged[::-1]
        with pytest.raises(VersionNotFoundError):
            catalog.resolve(REF.at(len(acknowledged) + 1))
        # What was interrupted is simply done again, under the number it would have had.
        acknowledged.append(catalog.publish(REF, folder))
        assert acknowledged[-1].number == len(acknowledged)
        steps += 1
    assert steps > 40
    for version in catalog.versions(REF):
        catalog.folder(version)


def test_whenever_the_disk_is_full_nothing_is_registered_and_no_scratch_file_is_left(
    tmp_path: Path, make_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder()
    empty = open_catalog(tmp_path / "empty").home

    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    failures = 0
    while True:
        catalog = Catalog(shutil.copytree(empty, tmp_path / f"registry-{failures}"))
        with monkeypatch.context() as patch:
            before_each_step(patch, count_down(failures + 1, fail))
            try:
                catalog.publish(REF, folder)
            except StorageError as error:
                message = str(error)
            else:
                break
        assert message.endswith("Free some disk space and run it again.")
        with pytest.raises(RefNotFoundError):
            catalog.versions(REF)
        assert files(catalog.home / "tmp") == set()
        assert catalog.publish(REF, folder).number == 1
        failures += 1
    assert failures > 20


def test_whenever_the_disk_is_full_a_destination_is_whole_or_not_there(
    catalog: Catalog,
    make_folder: Callable[..., Folder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = catalog.publish(REF, make_folder())
    destination = tmp_path / "out" / "folder"

    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    failures = 0
    while True:
        with monkeypatch.context() as patch:
            before_each_step(patch, count_down(failures + 1, fail))
            try:
                catalog.materialize(version, destination)
            except StorageError:
                failures += 1
            else:
                break
        if destination.exists():  # only the last step failed, which makes the rename durable
            assert read_folder(destination).manifest.digest == version.manifest_digest
            shutil.rmtree(destination)
        assert files(tmp_path / "out") == set()
    assert failures > 10
