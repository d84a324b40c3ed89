"""The steps of a publish, in the order that makes it safe."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection

from registry.errors import CorruptBlobError
from registry.history.steps import keep_bytes
from registry.history.trees import Tree
from registry.history.versions import commit_version, facts_of_version, tree_of
from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.storage.blobs import Arrival
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME, FileInfo
from registry.store import Store
from registry.tables.record import (
    MAX_COPIED_NUMBER,
    Publication,
    record_version,
    require_number,
    require_publishable,
)
from registry.tables.versions import Version, load_version

_TRIES = 5


class _BlobsGoneError(Exception):
    """Garbage collection removed bytes that were there before the publish."""


def publish_version(
    store: Store,
    ref: AdapterRef,
    manifest: Manifest,
    open_file: Callable[[str], BinaryIO],
    publication: Publication,
) -> Version:
    """Make a version visible once all of it is stored, and return it.

    Args:
        store: The registry.
        ref: The adapter's name, without version or alias.
        manifest: The manifest.
        open_file: Opens the file of a path that the manifest lists; may be called again.
        publication: The other facts of the version.

    Raises:
        InvalidNameError: `ref` has a version or an alias, or the number is out of range.
        ParentNotFoundError: A parent is not in this registry.
        ConflictError: The number holds other content, or the name was deleted.
        CorruptBlobError: The bytes of a file are not those that the manifest lists.
        StorageError: The disk is full or not writable.
    """

    def record(connection: Connection) -> Version:
        require_publishable(connection, ref, manifest)
        revision, new = record_version(connection, ref, manifest, publication)
        version = load_version(connection, revision)
        if new:
            committed = commit_version(connection, revision, publication, tree, facts)
            store.log.append_publication(
                connection, version, origin=publication.origin, **committed
            )
        # A blob that was there before may be condemned, or was just removed. Garbage is removed
        # inside a write transaction, too: before this one, which then sees it, or after it.
        files = {info.sha256 for info in manifest.files.values()}
        try:
            keep_bytes(connection, store.blobs, {manifest.digest, tree.digest, *files})
        except CorruptBlobError as error:
            raise _BlobsGoneError from error
        return version

    number = publication.number
    named = ref if number is None else require_number(ref, number, most=MAX_COPIED_NUMBER)
    with store.database.read() as connection:
        require_publishable(connection, ref, manifest)
    opened = _reading(open_file)
    tree = tree_of(manifest, opened)
    facts = facts_of_version(manifest, tree, opened)
    for _ in range(_TRIES):
        # Bytes first, rows last. A crash in between leaves blobs that nothing refers to, never a
        # version whose bytes are missing.
        store.blobs.put_all(_arrivals(str(named), manifest, tree, opened))
        try:
            return store.database.transact(record)
        except _BlobsGoneError:
            continue
    raise CorruptBlobError(
        f"{named}: its bytes vanished from {store.blobs.location()} as often as they were "
        "stored. Find out what removes them there, then publish again.",
        named,
    )


def _reading(open_file: Callable[[str], BinaryIO]) -> Callable[[str], BinaryIO]:
    def opened(path: str) -> BinaryIO:
        with storage_errors("read", Path(path)):
            return open_file(path)

    return opened


def _arrivals(
    label: str, manifest: Manifest, tree: Tree, open_file: Callable[[str], BinaryIO]
) -> Iterator[Arrival]:
    for path, info in sorted(manifest.files.items()):
        yield Arrival(partial(open_file, path), info, f"{label}: {path}")
    for name, content in ((MANIFEST_NAME, manifest.to_json()), ("its tree", tree.to_json())):
        yield Arrival(partial(io.BytesIO, content), FileInfo.of(content), f"{label}: {name}")
