"""Which kinds of places bytes can be fetched from again. Loads nothing, and knows no kind itself.

Whoever knows how to open a kind of place adds it here: the registry folders, hubkit hubs.
"""

from collections.abc import Callable
from typing import BinaryIO, Protocol

from registry.errors import StorageError


class Origin(Protocol):
    """What can give back the bytes of a blob."""

    def open(self, digest: str, *, label: str) -> BinaryIO:
        """Open a blob for reading; whoever reads it checks the digest.

        Raises:
            CorruptBlobError: It is not there.
            HubkitError: It cannot be read.
        """
        ...


_KINDS: dict[str, Callable[[str], Origin]] = {}


def add_origin_kind(scheme: str, open: Callable[[str], Origin]) -> None:
    """Say how to open locations of a kind.

    Args:
        scheme: That of its URLs; empty for folders.
        open: Called with a location; it need not exist.
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
