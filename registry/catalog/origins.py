"""The places that bytes can be fetched from again, and how to open each kind of place.

Folders are built in; other code adds kinds, as hubkit adds hubs. This imports next to nothing,
because ``import hubkit`` imports it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from registry.errors import StorageError


class Origin(Protocol):
    """A place that has the bytes of blobs."""

    def open(self, digest: str, *, label: str) -> BinaryIO:
        """Open a blob for reading; whoever reads it checks the digest.

        Raises:
            CorruptBlobError: It is not there.
            HubkitError: It cannot be read.
        """
        ...


def _open_folder(location: str) -> Origin:
    from registry.storage.folder_blobs import FolderBlobStore

    return FolderBlobStore(Path(location))


_KINDS: dict[str, Callable[[str], Origin]] = {"": _open_folder}


def add_origin_kind(scheme: str, open: Callable[[str], Origin]) -> None:
    """Say how to open locations of a kind.

    Args:
        scheme: That of its URLs, such as ``https``.
        open: Called with a location, at which there may be nothing.
    """
    _KINDS[scheme] = open


def open_origin(location: str) -> Origin:
    """Return what is at a location.

    Raises:
        StorageError: It is of a kind that nobody added.
    """
    scheme, separator, _ = location.partition("://")
    kind = _KINDS.get(scheme if separator else "")
    if kind is None:
        raise StorageError(
            f"{location} is no place that this hubkit can fetch from: expected a folder or the "
            "URL of a hub.",
            location,
        )
    return kind(location)
