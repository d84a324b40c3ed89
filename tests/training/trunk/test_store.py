from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from hubkit.training.trunk.store import RowStore
from registry.errors import FullDiskError


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_come_back_as_they_were_also_while_more_are_kept(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    rows = {bytes([i]): torch.randn(i + 1, 3).to(dtype) for i in range(4)}
    with RowStore(tmp_path, 10_000) as store:
        for key, value in rows.items():
            assert store.put(key, value)
            assert all(
                torch.equal(found, rows[other])
                for other in rows
                if (found := store.get(other)) is not None
            )
        assert [store.get(key) is not None for key in rows] == [True] * 4
        assert store.get(b"other") is None


def test_no_more_is_kept_than_the_limit(tmp_path: Path) -> None:
    with RowStore(tmp_path, 100) as store:
        assert store.put(b"a", torch.zeros(20))
        assert not store.put(b"b", torch.zeros(20))
        assert store.get(b"b") is None
        assert store.put(b"c", torch.zeros(5))


def test_the_file_has_no_name_that_could_be_left_behind(tmp_path: Path) -> None:
    with RowStore(tmp_path / "new", 100) as store:
        store.put(b"a", torch.zeros(20))
        assert [*(tmp_path / "new").iterdir()] == []


def test_a_full_disk_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def write(self, _content: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    with RowStore(tmp_path, 100) as store, monkeypatch.context() as patch:
        patch.setattr(store, "_file", Full())
        with pytest.raises(FullDiskError, match="Cannot keep the outputs of the frozen trunk in"):
            store.put(b"a", torch.zeros(20))
        assert store.get(b"a") is None
