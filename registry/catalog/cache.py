"""The folders that versions are loaded from: verified each time, kept while a process uses them.

cache/<digest>/        a version's files, as its manifest lists them
cache/.<hex>.tmp       being written or removed
cache/.<hex>.reader    the digests of the folders that one process uses; it locks the file
cache/.lock            held while a digest is added to those, and while a folder is removed
"""

import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from registry.catalog.checkout import read_manifest, write_folder
from registry.catalog.heal import healing
from registry.errors import CorruptBlobError, FolderError, ManifestError, StorageError
from registry.manifest import MAX_BYTES, Manifest
from registry.storage.blobs import copy_blob
from registry.storage.durable import make_folders, storage_errors, write_file
from registry.storage.files import MANIFEST_NAME, is_digest, open_file
from registry.store import Store
from registry.tables.versions import Version

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

CACHE_NAME = "cache"
"""The folder of the cache, in that of a registry."""

_SCRATCH = re.compile(r"\.[0-9a-f]{32}\.tmp")

_LOCK = threading.Lock()
_READERS: dict[Path, tuple[int, Path, set[str]]] = {}
"""By cache: the open file of this process, its path, and the digests in it."""


def cached_folder(store: Store, version: Version, manifest: Manifest | None = None) -> Path:
    """As `Catalog.folder`: verified now, even if the folder was changed since it was written."""
    if manifest is None:
        manifest = read_manifest(store, version)
    cache = store.home / CACHE_NAME
    _hold(cache, manifest.digest)
    folder, label = cache / manifest.digest, str(version.ref)
    return healing(store, version, lambda: _verified(store, manifest, folder, label))


def unused_folders(cache: Path) -> dict[str, Path]:
    """Return the folders of a cache that hubkit wrote and no process uses, by digest."""
    if cache.is_symlink() or not cache.is_dir():  # the target of a link may be another program's
        return {}
    with storage_errors("read", cache):
        used = set(_used(cache))
        return {
            path.name: path
            for path in cache.iterdir()
            if is_digest(path.name) and path.name not in used and _is_ours(path)
        }


def scratch_folders(cache: Path) -> list[Path]:
    """Return the folders of a cache that were being written or removed."""
    if cache.is_symlink() or not cache.is_dir():
        return []
    with storage_errors("read", cache):
        return [path for path in cache.iterdir() if _SCRATCH.fullmatch(path.name)]


def take_away(cache: Path, digests: Iterable[str]) -> int:
    """Remove these folders from the cache, except those in use; return how many."""
    taken = []
    with storage_errors("clear", cache), FileLock(cache / ".lock"):
        for digest in sorted(unused_folders(cache).keys() & set(digests)):
            scratch = cache / f".{uuid.uuid4().hex}.tmp"
            os.rename(cache / digest, scratch)  # so that no process uses it when it is half removed
            taken.append(scratch)
    for scratch in taken:
        shutil.rmtree(scratch, ignore_errors=True)
    return len(taken)


def _hold(cache: Path, digest: str) -> None:
    """Record that this process uses a folder, until the process ends."""
    if fcntl is None:
        return
    with _LOCK, suppress(OSError):  # no process removes it from a read-only registry
        held = _READERS.get(cache)
        if held is not None and digest in held[2]:
            return
        make_folders(cache)
        with FileLock(cache / ".lock"):
            if held is None:
                path = cache / f".{uuid.uuid4().hex}.reader"
                # Only the end of the process closes it; a forked one keeps it open, too.
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                held = _READERS[cache] = (descriptor, path, set())
            os.write(held[0], f"{digest}\n".encode())
            held[2].add(digest)


def _used(cache: Path) -> Iterator[str]:
    """Yield the digests of the folders that running processes use."""
    own = _READERS.get(cache)
    for path in cache.glob(".*.reader"):
        if own is not None and path == own[1]:
            yield from own[2]
        elif fcntl is not None:
            with suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield from file.read().decode("ascii", "replace").split()


def remove_dead_readers(cache: Path) -> None:
    """Remove the files of processes that ended."""
    if fcntl is None or cache.is_symlink():
        return
    for path in cache.glob(".*.reader"):
        if path not in {own[1] for own in _READERS.values()}:
            with suppress(OSError), FileLock(cache / ".lock"), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _is_ours(folder: Path) -> bool:
    """Whether hubkit wrote a folder: its name is the digest of its manifest."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        with open_file(folder / MANIFEST_NAME) as stream:
            return hashlib.sha256(stream.read(MAX_BYTES)).hexdigest() == folder.name
    except (OSError, StorageError):
        return False


def _verified(store: Store, manifest: Manifest, folder: Path, label: str) -> Path:
    if _is_intact(folder, manifest):
        return folder
    # Another process may write the same folder at any of these steps.
    with storage_errors("replace", folder), suppress(IsADirectoryError):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink(missing_ok=True)
    if folder.is_dir():
        # File by file, and in place: a process may use it.
        _mend(store, manifest, folder, label)
    else:
        try:
            write_folder(store.blobs, manifest, folder, label)
        except (FolderError, StorageError):
            if not _is_intact(folder, manifest):
                raise
    return folder


def _mend(store: Store, manifest: Manifest, folder: Path, label: str) -> None:
    with storage_errors("mend", folder):
        wanted = {folder / path for path in manifest.files} | {folder / MANIFEST_NAME}
        kept = {folder for path in wanted for folder in path.parents}
        for path in sorted(folder.rglob("*"), reverse=True):
            is_folder = path.is_dir() and not path.is_symlink()
            if path not in (kept if is_folder else wanted):
                path.rmdir() if is_folder else path.unlink()
        for name, info in sorted(manifest.files.items()):
            make_folders((folder / name).parent)
            copy_blob(store.blobs, info, folder / name, label=f"{label}: {name}")
        write_file(folder / MANIFEST_NAME, manifest.to_json())


def _is_intact(folder: Path, manifest: Manifest) -> bool:
    from registry.folders import read_folder  # all kinds of folders, which listing never needs

    if not folder.is_dir():
        return False
    try:
        return read_folder(folder).manifest.digest == manifest.digest
    except (FolderError, ManifestError, CorruptBlobError, StorageError):
        return False
