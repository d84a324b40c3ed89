"""Origins from which bytes can be fetched again, and how to open each kind of origin.

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
        """Open a blob for reading; the reader checks the digest.

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
    """Register a function that opens locations of a kind.

    Args:
        scheme: The scheme of their URLs, such as ``https``.
        open: Called with a location, which may not exist.
    """
    _KINDS[scheme] = open


def open_origin(location: str) -> Origin:
    """Open a location.

    Raises:
        StorageError: Its kind is not registered.
    """
    scheme, separator, _ = location.partition("://")
    kind = _KINDS.get(scheme if separator else "")
    if kind is None:
        raise StorageError(
            f"This hubkit cannot fetch from {location}: expected a folder or the URL of a hub.",
            location,
        )
    return kind(location)
