"""Messages that name what the user knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import HubkitError


@contextmanager
def told_as(copy: Path, original: str | Path) -> Iterator[None]:
    """In errors of the block, call a copy that only hubkit knows by the name of its original.

    Raises:
        HubkitError: Whichever the block raises, with another message.
    """
    try:
        yield
    except HubkitError as error:
        if str(copy) not in str(error):
            raise
        message = str(error).replace(str(copy), str(original))
        raise type(error)(message, error.subject) from error
