"""Which revision of a repository is which version of an adapter.

In a repository that hubkit made, the tag ``v2`` is version 2. A hub of hubkit's says which version
a commit holds, whatever tool made it. In any other repository, such a tag may mean anything: it has
revisions, but no versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hubkit.hub.address import Repository
from hubkit.hub.cache import HubCache
from hubkit.hub.session import HubSession
from registry import Manifest
from registry.errors import FolderError, RemoteNotFoundError
from registry.folders.hubkit import OWN_CARD
from registry.storage.files import MANIFEST_NAME

_TAG = re.compile(r"v([1-9][0-9]{0,9})")


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


def choose(session: HubSession | None, repository: Repository, number: int | None) -> Repository:
    """Find the revision that is wanted: a version's tag, else the newest's, else the main branch.

    Args:
        session: The hub; None to look at what came from it before.
        repository: A repository, and maybe the revision already.
        number: Which version; None for the newest, or the revision in `repository`.

    Raises:
        RemoteError: The hub refuses, or cannot be reached.
    """
    if number is not None:
        return repository.at(tag_of(number))
    if repository.revision is not None:
        return repository
    newest = _highest(_cached(repository)) if session is None else _newest(session, repository)
    return repository.at(tag_of(newest) if newest else "main")


def version_at(
    repository: Repository, manifest: Manifest | None, number: int | None, held: int | None
) -> int | None:
    """Return the number of the version at a revision, None if it has none.

    Args:
        repository: A repository and the revision that was chosen.
        manifest: That of the version; None where there is none.
        number: The version that was asked for, if one was.
        held: The number of the version there, as the hub says; None if it does not say.

    Raises:
        RemoteNotFoundError: A version was asked for, but the repository has none of that number.
    """
    if held is not None:
        if number not in (None, held):
            raise RemoteNotFoundError(
                f"{repository.url} has no version {number}: its tag {repository.revision} is at "
                f"version {held}. Pull that, if it is what you mean.",
                repository.url,
            )
        return held
    if manifest is not None:
        return number_of(repository.revision or "")
    if number is not None:
        raise RemoteNotFoundError(
            f"{repository.url} was not made by hubkit, so its tag {repository.revision} need not "
            f"be version {number}. To have it anyway, pull {repository.page}.",
            repository.url,
        )
    return None


def _newest(session: HubSession, repository: Repository) -> int | None:
    about = session.describe(repository)
    if about.hubkit.newest is not None or not about.lists(MANIFEST_NAME):
        return about.hubkit.newest
    return _highest(tag.name for tag in session.refs(repository).tags)


def _highest(tags: Iterable[str]) -> int | None:
    return max((number for tag in tags if (number := number_of(tag))), default=None)


def _cached(repository: Repository) -> list[str]:
    cache = HubCache(repository.hub)
    return [
        name
        for name in cache.revisions(repository)
        if number_of(name)
        and (known := cache.recall(repository.at(name))) is not None
        and MANIFEST_NAME in known.files
    ]
