import errno
import hashlib
import os
from pathlib import Path

import pytest

from registry.errors import StorageError
from registry.log.folder_records import FolderRecordStore
from tests.support.power import before_each_step


@pytest.fixture
def records(tmp_path: Path) -> FolderRecordStore:
    return FolderRecordStore(tmp_path)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_records_come_back_as_they_were_written_lowest_first(records: FolderRecordStore) -> None:
    records.write([(number, b"entry %d" % number) for number in (2, 1, 1_000_000)])
    assert [*records.sequences()] == [1, 2, 1_000_000]
    assert records.get(2) == b"entry 2"
    assert records.path(2).stat().st_mode & 0o222 == 0


def test_what_was_put_is_the_record_once_it_is_settled(records: FolderRecordStore) -> None:
    records.put(1, b"one")
    assert (records.has(1), records.get(1), [*records.sequences()]) == (False, None, [])
    assert records.pending() == [(1, digest(b"one"))]
    assert records.get(1, digest(b"one")) == b"one"
    records.settle(1, b"one", "0" * 64)
    assert (records.has(1), records.get(1), [*records.sequences()]) == (True, b"one", [1])


def test_of_two_that_take_one_number_none_writes_over_the_other(records: FolderRecordStore) -> None:
    records.put(1, b"acknowledged")
    records.settle(1, b"acknowledged", "0" * 64)
    records.put(1, b"lost its lock")
    assert records.get(1) == b"acknowledged"
    assert {found for _, found in records.pending()} == {
        digest(b"acknowledged"),
        digest(b"lost its lock"),
    }
    records.remove_pending(1, digest(b"lost its lock"))
    assert records.pending() == [(1, digest(b"acknowledged"))]


def test_what_was_put_is_removed_when_the_next_one_is_settled(records: FolderRecordStore) -> None:
    for number, content, previous in ((1, b"one", "0" * 64), (2, b"two", digest(b"one"))):
        records.put(number, content)
        records.settle(number, content, previous)
    assert records.pending() == [(2, digest(b"two"))]
    assert [records.get(1), records.get(2)] == [b"one", b"two"]


def test_what_an_older_hubkit_left_under_a_number_is_replaced(records: FolderRecordStore) -> None:
    records.write([(1, b"never committed")])
    records.put(1, b"entry")
    records.settle(1, b"entry", "0" * 64)
    assert records.get(1) == b"entry"


def test_where_there_are_no_links_the_file_is_renamed(
    records: FolderRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    records.put(1, b"entry")
    records.settle(1, b"entry", "0" * 64)
    assert (records.get(1), records.pending()) == (b"entry", [])


def test_an_empty_file_as_a_power_cut_leaves_counts_as_none(records: FolderRecordStore) -> None:
    records.write([(1, b"entry"), (2, b"half")])
    records.path(2).chmod(0o644)
    records.path(2).write_bytes(b"")
    assert [*records.sequences()] == [1]
    assert not records.has(2)
    assert records.get(2) is None


def test_a_disk_that_fails_leaves_no_file(
    records: FolderRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left"):
        records.put(2, b"entry")
    assert records.pending() == []


def test_a_record_is_there_at_every_step_of_writing_it_again(
    records: FolderRecordStore, tmp_path: Path
) -> None:
    records.write([(1, b"entry")])
    found = set()
    with before_each_step(lambda name: found.add(records.path(1).read_bytes()), statements=False):
        records.write([(1, b"entry")])
    assert found == {b"entry"}
    assert [*(tmp_path / "tmp").iterdir()] == []


def test_a_late_writer_does_not_lose_what_another_process_settled(
    records: FolderRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.put(1, b"one")
    look = FolderRecordStore.get

    def overtaken(self: FolderRecordStore, sequence: int, pending: str | None = None) -> object:
        found = look(self, sequence, pending)
        monkeypatch.setattr(FolderRecordStore, "get", look)
        records.settle(1, b"one", "0" * 64)  # another process settles it, and its own
        records.put(2, b"two")
        records.settle(2, b"two", digest(b"one"))
        return found

    monkeypatch.setattr(FolderRecordStore, "get", overtaken)
    with pytest.raises(StorageError):  # which whoever settles lets pass
        records.settle(1, b"one", "0" * 64)
    assert (records.get(1), records.get(2)) == (b"one", b"two")
