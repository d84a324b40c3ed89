"""Taking in bytes: several files with two waits for the disk, rather than three for each."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from registry.storage.durable import (
    at_once,
    flush,
    fsync_folder,
    make_folders,
    new_folders,
    scratch_file,
    storage_errors,
)
from registry.storage.files import FileInfo, hash_stream, require_same

if TYPE_CHECKING:
    from registry.storage.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class Arrival:
    """Bytes to be stored.

    Attributes:
        open: Opens them; called at most once.
        expected: What they must be; None for whatever they are.
        label: What they are, for messages.
    """

    open: Callable[[], AbstractContextManager[BinaryIO]]
    expected: FileInfo | None
    label: str


def take_in(store: "BlobStore", arrivals: Sequence[Arrival]) -> list[FileInfo]:
    """Store bytes, each under its digest, all of them durable on return; see `BlobStore.put`."""
    infos: list[FileInfo] = []
    staged: list[tuple[FileInfo, BinaryIO]] = []
    waits: list[Callable[[], None]] = []
    label = arrivals[0].label + (f" and {len(arrivals) - 1} more" if arrivals[1:] else "")
    with _errors(store, label), ExitStack() as scratch:
        for arrival in arrivals:
            with _errors(store, arrival.label):
                info = arrival.expected
                if info is None or not store.holds(info):
                    info, file = _stage(store, arrival, scratch)
                    staged.append((info, file))
                    waits.append(partial(flush, file))
                infos.append(info)
        targets = {store.path(info.sha256).parent for info in infos}
        # A folder that is there may have been made by another process, and not be on the disk yet.
        changed = {target.parent for target in targets} | {store.root}
        changed.update(folder for target in targets for folder in new_folders(target))
        at_once([*waits, *(partial(fsync_folder, folder) for folder in sorted(changed))])
        for info, file in staged:
            if not store.holds(info):  # another process may have been quicker
                os.chmod(file.name, 0o444)
                os.replace(file.name, store.path(info.sha256))
        # Those of what is there already too: whoever renamed that may not have come to this yet.
        at_once([partial(fsync_folder, target) for target in sorted(targets)])
    return infos


def _stage(store: "BlobStore", arrival: Arrival, scratch: ExitStack) -> tuple[FileInfo, BinaryIO]:
    """Copy bytes to a scratch file, and require that they are the right ones."""
    make_folders(store.scratch)
    file = scratch.enter_context(scratch_file(store.scratch))
    expected = arrival.expected
    with arrival.open() as stream:
        most = None if expected is None else expected.size
        found = hash_stream(stream, most=most, target=file)
    if expected is not None:
        cure = " Nothing was stored: copy, pull or write the file again."
        require_same(arrival.label, expected, found, cure)
    return found, file


def _errors(store: "BlobStore", label: str) -> AbstractContextManager[None]:
    return storage_errors(f"store {label} in", store.root.parent)
