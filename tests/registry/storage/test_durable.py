import errno
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from registry.errors import FullDiskError, StorageError
from registry.storage.durable import at_once, make_folders, new_folders, storage_errors


def test_things_are_done_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=10)
    at_once([barrier.wait] * 3)


def test_an_error_of_one_is_raised_when_the_others_have_ended() -> None:
    ended = []

    def fail() -> None:
        raise OSError(errno.EIO, "broken")

    for calls in ([fail, lambda: ended.append(1)], [lambda: ended.append(1), fail]):
        with pytest.raises(OSError, match="broken"):
            at_once(calls)
    assert ended == [1, 1]


def test_a_forked_process_has_threads_of_its_own() -> None:
    barrier = threading.Barrier(2, timeout=10)
    at_once([barrier.wait] * 2)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=at_once, args=([lambda: None, lambda: None],))
    child.start()
    child.join(20)
    assert child.exitcode == 0


def test_new_folders_names_every_folder_that_got_a_name(tmp_path: Path) -> None:
    assert new_folders(tmp_path / "a" / "b") == [tmp_path, tmp_path / "a"]
    assert new_folders(tmp_path / "a" / "b") == []


def test_made_folders_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    make_folders(tmp_path / "a" / "b")
    assert sorted(synced) == [tmp_path, tmp_path / "a"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, FullDiskError),
        (errno.EDQUOT, FullDiskError),
        (errno.EACCES, StorageError),
        (errno.EIO, StorageError),
    ],
)
def test_a_full_disk_is_told_from_what_else_goes_wrong(
    number: int, kind: type[StorageError]
) -> None:
    with (
        pytest.raises(StorageError, match=r"^Cannot write w\.bin: ") as caught,
        storage_errors("write", Path("w.bin")),
    ):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
    assert caught.value.subject == Path("w.bin")
