"""A repository on a hub as the place that lost bytes are fetched from again."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import BinaryIO, cast

from huggingface_hub import is_offline_mode

from hubkit.hub.address import RemoteAddress
from hubkit.hub.errors import remote_errors
from hubkit.hub.revisions import path_there
from hubkit.hub.session import open_hub
from hubkit.hub.snapshot import copy_files, fetch, read_manifest
from hubkit.sharing.pickles import without_pickles
from registry.errors import CorruptBlobError
from registry.storage.durable import storage_errors
from registry.storage.files import hash_stream


class HubOrigin:
    """Where a version was pulled from.

    Args:
        location: A repository's URL, an @, and a revision: what `RemoteAddress.origin` is.
    """

    def __init__(self, location: str) -> None:
        url, _, revision = location.rpartition("@")
        self._address = RemoteAddress.parse(f"{url}/tree/{revision}")

    def open(self, digest: str, *, label: str) -> BinaryIO:
        """Fetch the repository, or take it from the client's cache, and open the file of a digest.

        Raises:
            CorruptBlobError: The repository has no such file.
            RemoteError: The hub refuses, or cannot be reached.
            StorageError: A file cannot be read or written.
        """
        hub = None if is_offline_mode() else open_hub(self._address.endpoint)
        with remote_errors(self._address.endpoint, self._address.repository):
            snapshot = fetch(hub, self._address)
        manifest = read_manifest(snapshot, self._address)
        if manifest is None:
            return self._open_foreign(snapshot, digest, label)
        if manifest.digest == digest:
            return io.BytesIO(manifest.to_json())
        for path, info in manifest.files.items():
            if info.sha256 == digest:
                with storage_errors("read", snapshot / path_there(path)):
                    return (snapshot / path_there(path)).open("rb")
        raise CorruptBlobError(f"{self._address.url} does not hold these bytes.", label)

    def _open_foreign(self, snapshot: Path, digest: str, label: str) -> BinaryIO:
        """As a pull would: from a copy in which pickled weights are converted."""
        with TemporaryDirectory() as scratch:
            copy_files(snapshot, Path(scratch))
            with without_pickles(Path(scratch)) as (folder, _):
                for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                    with storage_errors("read", path), path.open("rb") as stream:
                        if hash_stream(stream).sha256 == digest:
                            stream.seek(0)
                            kept = cast(BinaryIO, TemporaryFile())  # noqa: SIM115  whoever reads it closes it
                            shutil.copyfileobj(stream, kept)
                            kept.seek(0)
                            return kept
        raise CorruptBlobError(
            f"{self._address.url} does not hold these bytes; hubkit did not make it, so the "
            "manifest was written here. Pull it again.",
            label,
        )
