"""Which revision of a repository is which version of an adapter.

In a repository that hubkit made, the tag ``v2`` is version 2. In any other, such a tag may mean
anything: it has revisions, but no versions.
"""

from __future__ import annotations

import re
from dataclasses import replace

from huggingface_hub import HfApi
from huggingface_hub.file_download import repo_folder_name

from hubkit.hub.address import RemoteAddress
from hubkit.hub.errors import remote_errors
from hubkit.hub.session import cache_of
from registry import Manifest
from registry.errors import FolderError, RemoteNotFoundError
from registry.folders.card import CARD_NAME
from registry.folders.contents import listed
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME


def choose(hub: HfApi | None, address: RemoteAddress, number: int | None) -> RemoteAddress:
    """Find the revision that is wanted: a version's tag, else the newest's, else the main branch.

    Args:
        hub: The client; None to look at what is in its cache.
        address: A repository, and maybe the revision already.
        number: Which version; None for the newest, or the revision in `address`.

    Raises:
        RemoteError: The hub refuses, or cannot be reached.
    """
    assert address.repository is not None
    if number is not None:
        return replace(address, revision=tag_of(number))
    if address.revision is not None:
        return address
    if hub is None:
        names = _cached_versions(address)
    else:
        with remote_errors(address.endpoint, address.repository):
            names = _versions(hub, address.repository)
    newest = max((found for name in names if (found := number_of(name))), default=None)
    return replace(address, revision=tag_of(newest) if newest else "main")


def no_revision(hub: HfApi, address: RemoteAddress) -> RemoteNotFoundError:
    """Return what to raise where a repository lacks the revision that is wanted.

    Raises:
        HfHubHTTPError: The hub does not tell which it has.
    """
    assert address.repository is not None
    refs = hub.list_repo_refs(address.repository)
    tags = sorted((tag.name for tag in refs.tags), key=lambda tag: (-(number_of(tag) or 0), tag))
    names = [*tags, *sorted(branch.name for branch in refs.branches)]
    return RemoteNotFoundError(
        f"{address.url} has no revision {address.revision}; it has {listed(names)}. Name one of "
        "these, or none for the newest.",
        address.url,
    )


def version_at(address: RemoteAddress, manifest: Manifest | None, number: int | None) -> int | None:
    """Return the number of the version at a revision, None if it has none.

    Args:
        address: A repository and the revision that was chosen.
        manifest: What hubkit wrote there; None where hubkit did not.
        number: The version that was asked for, if one was.

    Raises:
        RemoteNotFoundError: A version was asked for, but the repository has none.
    """
    if manifest is not None:
        return number_of(address.revision or "")
    if number is not None:
        raise RemoteNotFoundError(
            f"{address.url} was not made by hubkit, so its tag {address.revision} need not be "
            f"version {number}. To have it all the same, pull "
            f"{address.url}/tree/{address.revision}.",
            address.url,
        )
    return None


def _versions(hub: HfApi, repository: str) -> list[str]:
    siblings = hub.model_info(repository).siblings or ()
    if not any(sibling.rfilename == MANIFEST_NAME for sibling in siblings):
        return []
    return [tag.name for tag in hub.list_repo_refs(repository).tags]


def _cached_versions(address: RemoteAddress) -> list[str]:
    assert address.repository is not None
    name = repo_folder_name(repo_id=address.repository, repo_type="model")
    folder = cache_of(address.endpoint) / name
    with storage_errors("read", folder / "refs"):
        return [
            path.name
            for path in (folder / "refs").glob("v*")
            if (folder / "snapshots" / path.read_text().strip() / MANIFEST_NAME).is_file()
        ]


OWN_CARD = "hubkit-own-card.md"
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
