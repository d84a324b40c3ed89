"""Make files of uploaded chunks, as a shard describes: blobs, each checked by its digest."""

from collections import OrderedDict
from contextlib import closing

from registry.errors import RequestError
from registry.server.xet.scratch import Shelf, Xorb
from registry.server.xet.shard import Shard, ShardFile
from registry.storage.blobs import BlobStore
from registry.storage.files import FileInfo

MOST_BYTES = 1024**4
"""Most bytes of the files of one shard. A chunk can be used many times, so a small upload could
describe huge files."""

MOST_FILES = 100_000
"""Most files of a shard."""

_OPEN = 8


def make_files(shard: Shard, shelf: Shelf, blobs: BlobStore) -> list[FileInfo]:
    """Store the files that a shard describes, and return their digests and sizes.

    No file is stored unless all chunks of all files are there.

    Args:
        shard: The shard.
        shelf: The shelf with the xorbs.
        blobs: The blobs of the registry.

    Raises:
        RequestError: A xorb or a chunk is missing, or has another length than in the shard.
        CorruptBlobError: A file does not have its digest.
        StorageError: The disk is full or not writable.
    """
    with closing(_Xorbs(shelf)) as xorbs:
        sizes: list[int] = []
        left = MOST_BYTES
        for file in shard.files():
            sizes.append(_size_of(file, shard, xorbs))
            left -= sizes[-1]
            if left < 0 or len(sizes) > MOST_FILES:
                raise RequestError(
                    f"A shard describes more than {MOST_BYTES} bytes or {MOST_FILES} files."
                )
        return [
            _make(file, size, shard, xorbs, blobs)
            for file, size in zip(shard.files(), sizes, strict=True)
        ]


class _Xorbs:
    """The xorbs of a shelf; the last used ones stay open."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._open: OrderedDict[str, Xorb] = OrderedDict()

    def __getitem__(self, name: str) -> Xorb:
        if name not in self._open:
            self._open[name] = self._shelf.open(name)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(name)
        return self._open[name]

    def close(self) -> None:
        for xorb in self._open.values():
            xorb.close()


def _size_of(file: ShardFile, shard: Shard, xorbs: _Xorbs) -> int:
    """Return the bytes of a file whose segments are all there."""
    total = 0
    for segment in shard.segments(file):
        size = xorbs[segment.xorb].length(segment.first, segment.end)
        if size != segment.size:
            raise RequestError(f"A segment has {size} bytes, not {segment.size} as the shard says.")
        total += size
    return total


def _make(file: ShardFile, size: int, shard: Shard, xorbs: _Xorbs, blobs: BlobStore) -> FileInfo:
    expected = None if file.sha256 is None else FileInfo(sha256=file.sha256, size=size)
    receiver = blobs.receive(expected, f"an upload of {(file.sha256 or 'a file')[:12]}")
    try:
        for segment in shard.segments(file):
            for piece in xorbs[segment.xorb].read(segment.first, segment.end):
                receiver.write(piece)
        return receiver.finish()
    finally:
        receiver.give_up()
