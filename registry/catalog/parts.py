"""."""

from __future__ import annotations

from registry import Catalog, Parent, Version
from registry.errors import ParentNotFoundError


def find_part(catalog: Catalog, whole: Version, part: Parent) -> Version:
    """Return the version here that another one is made of.

    Raises:
        ParentNotFoundError: It is not in the registry.
    """
    version = catalog.find_digest(part.digest)
    if version is None:
        raise ParentNotFoundError(
            f"{whole.ref} is made of {part.ref} ({part.digest[:12]}), which this registry does not "
            f"have. Pull {whole.ref} again to bring it.",
            part.digest,
        )
    return version
