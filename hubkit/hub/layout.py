"""How a version lies in its repository: which tag it has, and where its files are."""

from __future__ import annotations

import re

from registry import Manifest
from registry.errors import FolderError
from registry.folders.card import CARD_NAME

OWN_CARD = "hubkit-own-card.md"
"""Where the card that a version came with lies; README.md is the one that hubkit writes."""

_TAG = re.compile(r"v([1-9][0-9]{0,9})")


def path_there(path: str) -> str:
    """Return where a file of a version is in its repository."""
    return OWN_CARD if path == CARD_NAME else path


def require_free_paths(manifest: Manifest) -> None:
    """Make sure that no file of a version is where its card goes.

    Raises:
        FolderError: One is.
    """
    if OWN_CARD in manifest.files:
        raise FolderError(
            f"A version with a file {OWN_CARD} cannot be published to a hub, where its card goes "
            "under that name. Publish it again without the file.",
            OWN_CARD,
        )


def tag_of(number: int) -> str:
    """Return the tag of a version."""
    return f"v{number}"


def number_of(tag: str) -> int | None:
    """Return the number of the version that a tag is for, None if it is another tag."""
    found = _TAG.fullmatch(tag)
    return int(found[1]) if found else None
