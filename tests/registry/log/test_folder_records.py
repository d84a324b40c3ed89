import errno
import os
from pathlib import Path

import pytest

from registry import StorageError
from registry.log.folder_records import FolderRecordStore


@pytest.fixture
def records(tmp_path: Path) -> FolderRecordStore:
    return FolderRecordStore(tmp_path)


def test_entries_come_back_as_they_were_put_lowest_first(records: FolderRecordStore) -> None:
    for number in (2, 1, 1_000_000):
        records.put(number, b"entry %d" % number)
    assert [*records.sequences()] == [1, 2, 1_000_000]
    assert records.get(2) == b"entry 2"
    assert not os.access(records.path(2), os.W_OK) or os.geteuid() == 0
    assert records.path(2).stat().st_mode & 0o222 == 0


def test_what_was_left_under_a_number_is_replaced(records: FolderRecordStore) -> None:
    records.put(1, b"never committed")
    records.put(1, b"entry")
    assert records.get(1) == b"entry"


def test_an_empty_file_as_a_power_cut_leaves_counts_as_none(records: FolderRecordStore) -> None:
    records.put(1, b"entry")
    records.put(2, b"half")
    records.path(2).chmod(0o644)
    records.path(2).write_bytes(b"")
    assert [*records.sequences()] == [1]
    assert not records.has(2)
    assert records.get(2) is None
    records.put(2, b"entry")
    assert records.get(2) == b"entry"


def test_a_disk_that_fails_leaves_no_file(
    records: FolderRecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.put(1, b"entry")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left"):
        records.put(2, b"entry")
    assert not records.path(2).exists()
