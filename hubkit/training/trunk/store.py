"""What was computed for rows, in a file that goes when it is closed, or with the process."""

from __future__ import annotations

import mmap
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from registry.storage.durable import storage_errors


@dataclass(frozen=True)
class _Entry:
    start: int
    shape: torch.Size
    dtype: torch.dtype


class RowStore(AbstractContextManager["RowStore"]):
    """Tensors by key, read through a memory map. A context manager, at whose end the file is gone.

    The file has no name, so that it goes with the process also where that is killed.

    Args:
        folder: On whose disk it is; made if it is not there.
        limit: Its bytes at most.

    Raises:
        StorageError: The folder cannot be written.

    Example:
        >>> with RowStore(folder, limit=4_000_000_000) as store:
        ...     store.put(b"key", torch.zeros(12, 768))
        ...     store.get(b"key").shape
        True
        torch.Size([12, 768])
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._size = 0
        self._entries: dict[bytes, _Entry] = {}
        self._map: mmap.mmap | None = None
        with storage_errors("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def put(self, key: bytes, rows: Tensor) -> bool:
        """Keep ``rows``; return False if that would exceed the limit.

        Raises:
            FullDiskError: The disk is full.
            StorageError: It cannot be written.
        """
        content = rows.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        if self._size + len(content) > self._limit:
            return False
        with storage_errors("keep the outputs of the frozen trunk in", self._folder):
            written = 0
            while written < len(content):
                written += self._file.write(content[written:])
        self._entries[key] = _Entry(self._size, rows.shape, rows.dtype)
        self._size += len(content)
        return True

    def get(self, key: bytes) -> Tensor | None:
        """The rows of ``key``, in memory of the file; None where there are none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        count = entry.shape.numel() * entry.dtype.itemsize
        if self._map is None or len(self._map) < entry.start + count:
            # Copied on write, though nothing is written: torch has no read-only tensors.
            self._map = mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_COPY)
        numbers = numpy.frombuffer(self._map, numpy.uint8, count, entry.start)
        return torch.from_numpy(numbers).view(entry.dtype).view(entry.shape)

    def __exit__(self, *_: object) -> None:
        self._map = None
        self._entries.clear()
        self._file.close()
