"""One file with a version and all its parents, for machines without a network.

A bundle is a tar archive of regular files, which `tar tvf` lists:

    hubkit-bundle.json          the versions, each after its parents
    blobs/<sha256> ...          each version's manifest, then its files by path; every blob once

It is read as a stream, and nothing in it is trusted: names and order follow from the parts before,
sizes and digests are checked while the bytes are stored, and no path in it is used.
"""

import io
import json
import tarfile
from functools import partial
from typing import Annotated, BinaryIO, Literal, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from registry.catalog.catalog import Catalog
from registry.catalog.heal import healing
from registry.catalog.measure import record_measurements
from registry.catalog.publish import publish_version
from registry.catalog.pull import ancestors
from registry.errors import BundleError, CorruptBlobError
from registry.fields import Ref, Several
from registry.manifest import MAX_BYTES, Manifest
from registry.refs import AdapterRef
from registry.storage.blobs import read_blob, verify_blob
from registry.storage.files import CHUNK, MANIFEST_NAME, Digest
from registry.tables.measurements import Measurement
from registry.tables.record import Publication
from registry.tables.versions import Version

INDEX_NAME = "hubkit-bundle.json"
MAX_INDEX_BYTES = 64 * 1024 * 1024
MAX_VERSIONS = 10_000
MAX_MEASUREMENTS = 10_000

_BLOCK = tarfile.BLOCKSIZE


class _Packed(BaseModel):
    """The facts of a version that its manifest does not have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: Ref
    digest: Digest
    created_at: AwareDatetime
    author: str
    message: str
    yanked_at: AwareDatetime | None = None
    yank_reason: str | None = None
    measurements: Annotated[Several[Measurement], Field(max_length=MAX_MEASUREMENTS)] = ()


class Index(BaseModel):
    """The first file of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Literal[1] = 1
    versions: Annotated[Several[_Packed], Field(min_length=1, max_length=MAX_VERSIONS)]


def export_bundle(catalog: Catalog, ref: AdapterRef, target: BinaryIO) -> Version:
    """Write a version to a stream, after all its parents; return the version.

    Args:
        catalog: The registry.
        ref: The version.
        target: The stream; after an error, its content is of no use.

    Raises:
        NotFoundError: As `Catalog.resolve`.
        ParentNotFoundError: A parent is not in this registry.
        CorruptBlobError: Stored bytes are missing, truncated or altered.
        OSError: `target` cannot be written.
    """
    wanted = catalog.resolve(ref)
    versions = [*ancestors(catalog.store, wanted), wanted]
    measured = catalog.measurements(versions)
    index = Index(versions=tuple(_pack(one, measured.get(one.ref, ())) for one in versions))
    content = json.dumps(index.model_dump(mode="json"), indent=1).encode()
    _write_member(target, INDEX_NAME, len(content), io.BytesIO(content))
    written: set[str] = set()
    for version in versions:
        manifest = catalog.manifest(version)
        content = manifest.to_json()
        if version.manifest_digest not in written:
            written.add(version.manifest_digest)
            _write_blob(target, version.manifest_digest, len(content), io.BytesIO(content))
        for path, info in sorted(manifest.files.items()):
            if info.sha256 not in written:
                written.add(info.sha256)
                label = f"{version.ref}: {path}"
                # Checked before a byte is written, since a stream cannot be taken back.
                verify = partial(verify_blob, catalog.blobs, info, label=label)
                healing(catalog.store, version, verify)
                with catalog.blobs.open(info.sha256, label=label) as stream:
                    _write_blob(target, info.sha256, info.size, stream)
    target.write(bytes(2 * _BLOCK))
    target.flush()
    return wanted


def import_bundle(catalog: Catalog, source: BinaryIO) -> list[Version]:
    """Publish the versions in a bundle, and return them: parents first, the exported one last.

    Names, numbers, authors and dates stay. Each version is there whole or not at all; a second call
    continues where the first one stopped.

    Args:
        catalog: The registry that gets the versions.
        source: The bundle; read once from its start.

    Raises:
        BundleError: It is not a bundle, is cut off, or differs from its index.
        ManifestError: A manifest in it is malformed.
        ParentNotFoundError: It lacks a parent, and so does this registry.
        ConflictError: A name and number have other content here.
        CorruptBlobError: Bytes are not those that a manifest lists.
        StorageError: The disk is full or not writable.
    """
    read: set[str] = set()
    versions = []
    for packed in read_index(source).versions:
        manifest = _read_manifest(catalog, source, packed, read)
        ref = AdapterRef.parse(packed.ref)
        for path, info in sorted(manifest.files.items()):
            if info.sha256 not in read:
                read.add(info.sha256)
                with open_member(source, f"blobs/{info.sha256}", info.size) as member:
                    catalog.blobs.put(cast(BinaryIO, member), info, label=f"{ref}: {path}")
                    member.finish()
        version = _publish(catalog, ref, manifest, packed)
        record_measurements(catalog.store, version.ref, packed.measurements)
        versions.append(version)
    end = source.read(2 * _BLOCK)
    if len(end) < 2 * _BLOCK or end.strip(b"\0"):
        raise _broken("it does not end after the last version that it lists")
    return versions


def _pack(version: Version, measured: tuple[Measurement, ...]) -> _Packed:
    return _Packed(
        ref=str(version.ref),
        digest=version.manifest_digest,
        created_at=version.created_at,
        author=version.author,
        message=version.message,
        yanked_at=version.yanked_at,
        yank_reason=version.yank_reason,
        measurements=measured[::-1],  # in the order in which they were made
    )


def _publish(catalog: Catalog, ref: AdapterRef, manifest: Manifest, packed: _Packed) -> Version:
    there = catalog.find_digest(packed.digest)
    if there is not None and there.ref.folded == ref.folded and there.number == ref.version:
        return there  # as after an interrupted import: its bytes were checked just now
    publication = Publication(
        author=packed.author,
        message=packed.message,
        created_at=packed.created_at,
        number=ref.version,
        yanked_at=packed.yanked_at,
        yank_reason=packed.yank_reason,
    )
    return publish_version(
        catalog.store,
        ref.repository,
        manifest,
        catalog.store.opener(ref, manifest),
        publication,
    )


def read_index(source: BinaryIO) -> Index:
    """Read the first file of a bundle.

    Raises:
        BundleError: It is not the start of a bundle.
    """
    with open_member(source, INDEX_NAME) as member:
        content = member.read(MAX_INDEX_BYTES + 1)
        if len(content) > MAX_INDEX_BYTES:
            raise _broken(f"{INDEX_NAME} has more than {MAX_INDEX_BYTES} bytes")
        member.finish()
    try:
        index = Index.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, problem["loc"])) or "it"
        raise _broken(f"{INDEX_NAME}: {field}: {problem['msg']}") from error
    if any(AdapterRef.parse(packed.ref).version is None for packed in index.versions):
        raise _broken(f"{INDEX_NAME} has a version without a number")
    return index


def _read_manifest(catalog: Catalog, source: BinaryIO, packed: _Packed, read: set[str]) -> Manifest:
    label = f"{packed.ref}: {MANIFEST_NAME}"
    if packed.digest in read:  # a file of an earlier version that has the same bytes
        content = read_blob(catalog.blobs, packed.digest, most=MAX_BYTES, label=label)
    else:
        read.add(packed.digest)
        with open_member(source, f"blobs/{packed.digest}") as member:
            content = member.read(MAX_BYTES + 1)
            if len(content) <= MAX_BYTES:
                member.finish()
    manifest = Manifest.from_json(content, label)
    if manifest.digest != packed.digest:
        raise CorruptBlobError(
            f"{label}: expected SHA-256 {packed.digest}, found {manifest.digest}. Nothing of it "
            "was stored: export the version again.",
            label,
        )
    return manifest


def _write_blob(target: BinaryIO, digest: str, size: int, stream: BinaryIO) -> None:
    _write_member(target, f"blobs/{digest}", size, stream)


def _write_member(target: BinaryIO, name: str, size: int, stream: BinaryIO) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o444
    target.write(member.tobuf(tarfile.GNU_FORMAT))
    written = 0
    while chunk := stream.read(min(CHUNK, size - written)):
        target.write(chunk)
        written += len(chunk)
    if written != size:
        raise CorruptBlobError(f"{name}: expected {size} bytes, found {written}.", name)
    target.write(bytes(-size % _BLOCK))


class Member(io.RawIOBase):
    """The bytes of one file in a bundle."""

    def __init__(self, source: BinaryIO, name: str, size: int) -> None:
        """Start at the current place of the source."""
        self._source, self._name, self._left = source, name, size
        self._padding = -size % _BLOCK

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, none at the end of the file.

        Raises:
            BundleError: The bundle ends before the file does.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        content = self._source.read(wanted) if wanted else b""
        if len(content) < wanted:
            raise _broken(f"it is cut off in {self._name}")
        self._left -= wanted
        return content

    def finish(self) -> None:
        """Go to the next file in the bundle.

        Raises:
            BundleError: The bundle ends before that.
        """
        while self.read(CHUNK):
            pass
        if len(self._source.read(self._padding)) < self._padding:
            raise _broken(f"it is cut off after {self._name}")


def open_member(source: BinaryIO, name: str, size: int | None = None) -> Member:
    """Open the next file of a bundle, which must have this name and, if given, size.

    Raises:
        BundleError: Something else comes next.
    """
    header = source.read(_BLOCK)
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        problem = "it is cut off" if len(header) < _BLOCK else "it is not a tar archive"
        raise _broken(f"{problem} where {name} should start") from error
    if found.name != name or not found.isreg() or found.size < 0:
        raise _broken(f"expected the file {name}, found {found.name!a}")
    if size is not None and found.size != size:
        raise _broken(f"{name} should have {size} bytes, but has {found.size}")
    return Member(source, name, found.size)


def _broken(problem: str) -> BundleError:
    return BundleError(
        f"hubkit did not write this bundle, or it was damaged on the way: {problem}. "
        "Export it again and compare the two files."
    )
