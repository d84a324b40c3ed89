"""A repository on a hub as the place that lost bytes are fetched from again."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import BinaryIO, cast
from urllib.parse import quote

from hubkit.hub.address import Repository
from hubkit.hub.session import open_unless_offline
from hubkit.hub.snapshot import Snapshot, find_snapshot
from hubkit.sharing.pickles import without_pickles
from registry.errors import CorruptBlobError
from registry.folders.contents import list_files
from registry.storage.durable import storage_errors
from registry.storage.files import hash_stream, open_file
from registry.storage.place import Copy


class HubOrigin:
    """Where a version was pulled from.

    Args:
        location: A repository's URL, an @, and a revision: what `Repository.origin` is.
    """

    def __init__(self, location: str) -> None:
        url, _, revision = location.rpartition("@")
        self._repository = Repository.parse(f"{url}/tree/{quote(revision)}")

    def open(self, digest: str, *, label: str) -> BinaryIO:
        """Fetch the repository, or take it from the client's cache, and open the file of a digest.

        Raises:
            CorruptBlobError: The repository has no such file.
            RemoteError: The hub refuses, or cannot be reached.
            StorageError: A file cannot be read or written.
        """
        with open_unless_offline(self._repository.hub) as session:
            return self._open(find_snapshot(session, self._repository), digest, label)

    def _open(self, snapshot: Snapshot, digest: str, label: str) -> BinaryIO:
        manifest = snapshot.manifest()
        if manifest is None:
            return self._open_foreign(snapshot, digest, label)
        if manifest.digest == digest:
            return io.BytesIO(manifest.to_json())
        for path, info in manifest.files.items():
            if info.sha256 == digest:
                found = snapshot.open(snapshot.path_of(path))
                with storage_errors("read", found):
                    return found.open("rb")
        raise CorruptBlobError(f"{self._repository.url} does not hold these bytes.", label)

    def _open_foreign(self, snapshot: Snapshot, digest: str, label: str) -> BinaryIO:
        """As a pull would: from a copy in which pickled weights are converted."""
        with TemporaryDirectory() as scratch:
            snapshot.copy_files(Path(scratch))
            copy = Copy(Path(scratch), self._repository.url)
            with without_pickles(copy) as (folder, _):
                for path in sorted(list_files(folder)):
                    with storage_errors("read", folder / path), open_file(folder / path) as stream:
                        if hash_stream(stream).sha256 == digest:
                            stream.seek(0)
                            kept = cast(BinaryIO, TemporaryFile())  # noqa: SIM115  the reader closes it
                            shutil.copyfileobj(stream, kept)
                            kept.seek(0)
                            return kept
        raise CorruptBlobError(
            f"{self._repository.url} does not hold these bytes; hubkit did not make it, so the "
            "manifest was written here. Pull it again.",
            label,
        )
