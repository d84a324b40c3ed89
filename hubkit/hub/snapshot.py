"""The files of a repository at a revision: which there are, and their checked bytes."""

from __future__ import annotations

import hashlib
import shutil
from functools import partial
from pathlib import Path
from typing import BinaryIO

from hubkit.hub.address import Repository
from hubkit.hub.answers import LISTING, Description, FileEntry, HeldVersion, RemoteFile
from hubkit.hub.cache import HubCache, Listing
from hubkit.hub.download import download, path_of_version
from hubkit.hub.revisions import number_of
from hubkit.hub.session import HubSession
from registry import Manifest
from registry.errors import (
    CorruptBlobError,
    FolderError,
    InvalidNameError,
    RemoteAnswerError,
    RemoteNotFoundError,
    RemoteUnreachableError,
    listed,
)
from registry.folders.contents import PICKLES, is_in_checkpoint, is_left_behind
from registry.folders.hubkit import OWN_CARD, path_there
from registry.folders.kinds import PARTS
from registry.manifest import MAX_BYTES
from registry.storage.durable import make_folders, storage_errors, write_file
from registry.storage.files import MANIFEST_NAME, find_clash, hash_stream

MOST_FILES = 10_000
"""The most files of a repository; one with more is not an adapter."""

_WEIGHTS = {part.pickle for part in PARTS}


class Snapshot:
    """A repository at a commit; its files are fetched when they are asked for.

    Args:
        session: The hub; None to take what came from it before.
        listing: The files that there are.
        cache: Where what was fetched is kept.
        version: The number of the version that the commit holds, as the hub says; default: it does
            not say, or the tag that hubkit set says it.
    """

    def __init__(
        self,
        session: HubSession | None,
        listing: Listing,
        cache: HubCache,
        version: int | None = None,
    ) -> None:
        self.repository = listing.repository
        self.files = listing.files
        self.version = version
        self._session = session
        self._cache = cache

    def open(self, name: str) -> Path:
        """Return where the bytes of a file are, held to their digest.

        Raises:
            FolderError: There is no such file.
            CorruptBlobError: The hub sends bytes that are not those of its own digest.
            RemoteError: The hub refuses, or cannot be reached.
            StorageError: They cannot be kept here.
        """
        file = self.files.get(name)
        if file is None:
            raise FolderError(f"{self.repository.url} has no file {name}.", name)
        found = self._cache.file(self.repository, file)
        if found is not None:
            return found
        session = self._session
        if session is None:
            raise not_here(self.repository)
        return self._cache.add(file, lambda to: download(session, self.repository, file, to))

    def manifest(self) -> Manifest | None:
        """Return the manifest; None if the commit holds no version of hubkit's.

        Raises:
            ManifestError: It is malformed.
            HubkitError: As :meth:`open`.
        """
        file = self.files.get(MANIFEST_NAME)
        if file is None:
            return None
        label = f"{self.repository.url}: {MANIFEST_NAME}"
        if file.size > MAX_BYTES:
            raise RemoteAnswerError(
                f"{label} is said to have {file.size:,} bytes; a manifest has at most "
                f"{MAX_BYTES:,}.",
                self.repository.url,
            )
        path = self.open(MANIFEST_NAME)
        with storage_errors("read", path), path.open("rb") as stream:
            return Manifest.from_json(stream.read(MAX_BYTES + 1), label)

    def path_of(self, path: str) -> str:
        """Return where a file of a version is.

        The card that a version came with makes room for the one that publishing to a hub writes.
        There is no other one where a hub published the version itself, or another tool pushed it.
        """
        there = path_there(path)
        return there if there in self.files else path

    def copy_version(self, manifest: Manifest, folder: Path) -> None:
        """Write the files of a manifest and the manifest to a folder.

        Raises:
            FolderError: The repository lacks one.
            CorruptBlobError: One has other bytes than the manifest says.
            HubkitError: As :meth:`open`.
        """
        for path, expected in manifest.files.items():
            there, target = self.path_of(path), folder / path
            if there not in self.files:
                raise FolderError(
                    f"{self.repository.url} lacks {there}, which its {MANIFEST_NAME} lists. "
                    "Publish the version again from where it was made.",
                    path,
                )
            source = self.open(there) if self.files[there].size == expected.size else None
            found: object = f"{self.files[there].size} bytes"
            if source is not None:
                with storage_errors("copy", source):
                    make_folders(target.parent)
                    with source.open("rb") as stream, target.open("xb") as file:
                        found = hash_stream(stream, most=expected.size, target=file)
            if found != expected:
                raise CorruptBlobError(
                    f"{self.repository.url}: {there}: {MANIFEST_NAME} says {expected}, found "
                    f"{found}. The repository was changed by hand; pull an earlier revision.",
                    path,
                )
        write_file(folder / MANIFEST_NAME, manifest.to_json())

    def copy_files(self, folder: Path) -> None:
        """Write to a folder what an adapter of another tool may be made of.

        Raises:
            HubkitError: As :meth:`open`.
        """
        for name in sorted(self.files):
            if name == OWN_CARD or (name.endswith(PICKLES) and name not in _WEIGHTS):
                continue
            source = self.open(name)
            with storage_errors("copy", source):
                make_folders((folder / name).parent)
                shutil.copyfile(source, folder / name)


def find_snapshot(session: HubSession | None, repository: Repository) -> Snapshot:
    """Return a repository at a revision, of which nothing is fetched yet.

    Args:
        session: The hub; None to take what came from it before.
        repository: A repository and a revision.

    Raises:
        RemoteNotFoundError: The repository goes by another name now.
        RemoteAnswerError: What the hub says of it cannot be.
        FolderError: It holds no adapter.
        RemoteError: The hub refuses, or cannot be reached.
    """
    cache = HubCache(repository.hub)
    if session is None:
        known = cache.recall(repository)
        if known is None:
            raise not_here(repository)
        versions = {file.version for file in known.files.values()}
        return Snapshot(None, known, cache, *versions)
    try:
        about = session.describe(repository)
    except RemoteNotFoundError as error:
        raise _no_revision(session, repository) from error
    if about.id != repository.name:
        raise RemoteNotFoundError(
            f"{repository.url} is called {about.id} now. Pull that, if it is what you mean: a name "
            "that was given up may be taken by someone else.",
            repository.url,
        )
    listing = _listing(session, repository, about, cache)
    _require_adapter(listing)
    cache.remember(repository, listing)
    held = about.hubkit.version
    # The same content may have another number there, beside the tag that hubkit set.
    is_tagged = about.lists(MANIFEST_NAME) and number_of(repository.revision or "") is not None
    version = None if held is None or is_tagged else held.number
    return Snapshot(session, listing, cache, version)


def not_here(repository: Repository) -> RemoteUnreachableError:
    """Return what to raise where the hub may not be asked, and what is needed is not here."""
    return RemoteUnreachableError(
        f"{repository.page} is not asked, as HF_HUB_OFFLINE is set, and what is needed of it did "
        "not come from there before. Unset HF_HUB_OFFLINE and run it again.",
        repository.url,
    )


def fetch_manifest(session: HubSession, repository: Repository) -> Manifest | None:
    """Return the manifest of a repository at a revision; None if it has none.

    Raises:
        ManifestError: It is malformed.
        RemoteError: The hub refuses, or cannot be reached.
        HubkitError: As :meth:`Snapshot.open`.
    """
    listing = list_revision(session, repository)
    return Snapshot(session, listing, HubCache(repository.hub)).manifest()


def list_revision(session: HubSession, repository: Repository) -> Listing:
    """Return the files of the version at a revision; those of the commit where there is none.

    Raises:
        CorruptBlobError: The hub sends another manifest than that of its own digest.
        ManifestError: The manifest is malformed.
        RemoteError: The hub refuses, or cannot be reached.
    """
    about = session.describe(repository)
    return _listing(session, repository, about, HubCache(repository.hub))


def _listing(
    session: HubSession, repository: Repository, about: Description, cache: HubCache
) -> Listing:
    at, held = repository.at(about.sha), about.hubkit.version
    if held is None or about.lists(MANIFEST_NAME):
        return Listing(at, list_files(session, at))
    return Listing(at, _files_of_version(session, at, held, cache))


def _files_of_version(
    session: HubSession, at: Repository, held: HeldVersion, cache: HubCache
) -> dict[str, RemoteFile]:
    """The files of a version that the hub made of what another tool pushed."""
    label = f"{at.url}: {MANIFEST_NAME}"
    path = path_of_version(at, held.number, MANIFEST_NAME)
    content = session.fetch(path, what=label, most=MAX_BYTES)
    if hashlib.sha256(content).hexdigest() != held.manifest:
        raise CorruptBlobError(
            f"{label} is not the file that its hash promises. Run it again; if that does not help, "
            "tell the owner of the hub.",
            MANIFEST_NAME,
        )
    own = RemoteFile(MANIFEST_NAME, len(content), held.manifest, held.number)
    if cache.file(at, own) is None:
        cache.add(own, partial(_write, content))
    listed = Manifest.from_json(content, label).files
    return {
        MANIFEST_NAME: own,
        **{
            path: RemoteFile(path, info.size, info.sha256, held.number)
            for path, info in listed.items()
        },
    }


def _write(content: bytes, to: BinaryIO) -> None:
    to.write(content)


def list_files(session: HubSession, at: Repository) -> dict[str, RemoteFile]:
    """The files that are listed for a commit; of another tool's, those an adapter may need.

    Raises:
        RemoteAnswerError: There are too many, or they cannot lie in one folder.
        RemoteError: The hub refuses, or cannot be reached.
    """
    entries = session.get_all(
        f"/api/models/{at.name}/tree/{at.revision}",
        LISTING,
        what=at.url,
        most=MOST_FILES + 1,
        query=[("recursive", "true")],
    )
    if len(entries) > MOST_FILES:
        raise RemoteAnswerError(f"{at.url} lists more than {MOST_FILES:,} files.", at.url)
    files = [entry for entry in entries if isinstance(entry, FileEntry)]
    own = any(file.path == MANIFEST_NAME for file in files)
    found = {}
    for file in files:
        if not own and not _is_wanted(file.path):
            continue
        large = file.lfs
        try:
            found[file.path] = RemoteFile(
                file.path, large.size if large else file.size, large.oid if large else file.oid
            )
        except InvalidNameError as error:
            if own:  # files that others put beside a version; a manifest lists no such path
                continue
            raise RemoteAnswerError(f"{at.url}: {error}", at.url) from error
    if not own and (clash := find_clash(found)) is not None:
        raise RemoteAnswerError(
            f"{at.url} lists {clash[0]} and {clash[1]}, which cannot lie in one folder.", at.url
        )
    return found


def _no_revision(session: HubSession, repository: Repository) -> RemoteNotFoundError:
    """The error for a revision that a repository lacks; if all are missing, the hub says so."""
    refs = session.refs(repository)
    tags = sorted((tag.name for tag in refs.tags), key=lambda tag: (-(number_of(tag) or 0), tag))
    names = [*tags, *sorted(branch.name for branch in refs.branches)]
    return RemoteNotFoundError(
        f"{repository.url} has no revision {repository.revision}; it has {listed(names)}. Name one "
        "of these, or none for the newest.",
        repository.url,
    )


def _is_wanted(path: str) -> bool:
    if is_in_checkpoint(path) or is_left_behind(path):
        return False
    return path in _WEIGHTS or not path.endswith(PICKLES)


def _require_adapter(listing: Listing) -> None:
    names = sorted(listing.files)
    known = {MANIFEST_NAME, *(name for part in PARTS for name in (part.config, part.weights))}
    if known.isdisjoint(names):
        url = listing.repository.url
        raise FolderError(
            f"{url} holds no adapter: expected {MANIFEST_NAME}, or a configuration of PEFT or "
            f"AdapterHub such as {PARTS[0].config}; found {listed(names) or 'nothing'}. Check the "
            "name: this may be a base model.",
            url,
        )
