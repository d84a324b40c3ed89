"""Repair damaged bytes: set them aside, and fetch them again from their origin.

Each read compares the bytes with their digest, and so finds damage.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from registry.catalog.origins import open_origin
from registry.errors import CorruptBlobError, DamagedBlobError, HubkitError, StorageError
from registry.manifest import MAX_BYTES
from registry.storage.blobs import BlobStore
from registry.storage.files import MANIFEST_NAME, FileInfo
from registry.store import Store
from registry.tables.origins import find_origins
from registry.tables.versions import Version

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Damage:
    """A blob that was missing, truncated or altered.

    Attributes:
        label: Its name in messages: a version and a path.
        digest: The right digest of its bytes.
        found: A description of the wrong bytes.
        kept: The places of damaged bytes, of this time and of earlier ones.
        origin: Where it was fetched from again; None if it is still missing.
        tried: A sentence for each origin from which it could not be fetched.
    """

    label: str
    digest: str
    found: str
    kept: tuple[str, ...] = ()
    origin: str | None = None
    tried: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Describe the damage and the repair."""
        text = f"{self.label}: expected SHA-256 {self.digest}, found {self.found}."
        if self.kept:
            text += f" The damaged bytes are kept as {' and '.join(self.kept)}."
        if self.origin is not None:
            return f"{text} Fetched again from {self.origin}."
        cure = "Publish or pull the same adapter again, or restore a backup."
        return " ".join([text, *self.tried, cure])


def healing(store: Store, version: Version, read: Callable[[], Result]) -> Result:
    """Return the result of `read`; if a version's bytes are damaged, repair them and read again.

    Raises:
        CorruptBlobError: They are damaged, and cannot be fetched from where they came from; the
            message names what was damaged and where the damaged bytes are kept now.
    """
    try:
        return read()
    except CorruptBlobError as error:
        try:
            lost = [damage for damage in heal(store, version) if damage.origin is None]
        except StorageError as refused:  # a read-only registry
            raise DamagedBlobError(f"{error} (It was left as it is. {refused})") from error
        if lost:
            raise CorruptBlobError("\n".join(map(str, lost)), error.subject) from error
    return read()


def heal(store: Store, version: Version) -> list[Damage]:
    """Check all blobs of a version, repair damaged ones if possible, and return the damage.

    Raises:
        StorageError: A blob cannot be read, or the registry cannot be written.
    """
    label = f"{version.ref}: {MANIFEST_NAME}"
    damage = heal_blob(store, version.manifest_digest, None, label)
    if damage is not None and damage.origin is None:
        return [damage]  # without the manifest, its other blobs are not known
    found = [damage]
    manifest = store.manifest(version.ref, version.manifest_digest)
    for path, info in sorted(manifest.files.items()):
        found.append(heal_blob(store, info.sha256, info.size, f"{version.ref}: {path}"))
    return [damage for damage in found if damage is not None]


def heal_blob(store: Store, digest: str, size: int | None, label: str) -> Damage | None:
    """Set a damaged blob aside and fetch it again; return None if it is intact.

    Args:
        store: The registry.
        digest: The right digest of its bytes.
        size: Its right size; None for a manifest.
        label: Its name in messages: a version and a path.

    Raises:
        StorageError: It cannot be read, or the registry cannot be written.
    """
    blobs = store.blobs
    found = blobs.examine(digest, size=size)
    if found is not None and found.sha256 == digest:
        return None
    aside = blobs.set_aside(digest)
    with store.database.read() as connection:
        origins = find_origins(connection, digest)
    fetched, tried = None, []
    for location in origins:
        try:
            _fetch(blobs, digest, size, location, label)
        except HubkitError as error:
            tried.append(f"It came from {location}, but: {error}")
        else:
            fetched = location
            break
    with store.database.write() as connection:
        if aside is not None:
            store.log.append(
                connection, "quarantine", sha256=digest, label=label, kept=Path(aside).name
            )
        if fetched is not None:
            store.log.append(connection, "fetch", sha256=digest, label=label, origin=fetched)
    kept = tuple(blobs.find_set_aside(digest))
    return Damage(label, digest, describe(found, size), kept, fetched, tuple(tried))


def describe(found: FileInfo | None, size: int | None) -> str:
    """Describe the bytes of a blob's file."""
    if found is None:
        return "no file"
    if size is not None and found.size != size:
        return f"{'more than' if found.size > size else f'{found.size} of'} {size} bytes"
    return f"SHA-256 {found.sha256}"


def _fetch(blobs: BlobStore, digest: str, size: int | None, location: str, label: str) -> None:
    with open_origin(location).open(digest, label=label) as stream:
        if size is not None:
            blobs.put(stream, FileInfo(sha256=digest, size=size), label=label)
            return
        content = stream.read(MAX_BYTES)
    blobs.put(BytesIO(content), FileInfo(sha256=digest, size=len(content)), label=label)
