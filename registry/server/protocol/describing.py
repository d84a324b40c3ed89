"""Descriptions of a repository, by itself and in listings."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from registry.history.cards import Facts
from registry.history.commits import Commit
from registry.history.git import pointer
from registry.history.listing import Listed
from registry.history.names import MAIN
from registry.history.repositories import Repository
from registry.history.trees import TreeFile
from registry.server.hub import Hub

_SHORT = (
    *("_id", "id", "modelId", "likes", "trendingScore", "private", "downloads", "tags"),
    *("createdAt", "pipeline_tag", "library_name"),
)
_FULL = (*_SHORT, "author", "sha", "lastModified", "gated", "disabled", "siblings")
_ALL = (*_FULL, "cardData", "usedStorage", "sdk", "hubkit")


def describe(
    hub: Hub, repository: Repository, commit: Commit, *, blobs: bool, only: Sequence[str]
) -> dict[str, Any]:
    """Describe a repository at a commit.

    Args:
        hub: The hub.
        repository: The repository.
        commit: The commit.
        blobs: Whether its files come with their sizes and ids.
        only: The properties that the client wants, beside the id; empty for all.
    """
    head = hub.history.resolve(repository, MAIN)
    if commit.id == head.id:
        facts = hub.history.facts(repository)
    else:
        facts = hub.history.facts_at(repository, commit)
    return _described(hub, repository, commit, facts, only or _ALL, blobs)


def describe_listed(
    hub: Hub, one: Listed, *, full: bool, card: bool, only: Sequence[str]
) -> dict[str, Any]:
    """Describe a repository in a listing.

    Args:
        hub: The hub.
        one: The repository.
        full: Whether its files are named, too.
        card: Whether the fields of its card come with it.
        only: The properties that the client wants, beside the id; empty for the usual ones.
    """
    wanted = only or (_FULL if full else _SHORT)
    if card:
        wanted = (*wanted, "cardData")
    return _described(hub, one.repository, one.head, one.facts, wanted, False)


def timestamp(at: datetime) -> str:
    """Return a moment as clients read it: UTC, with milliseconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def large(file: TreeFile) -> dict[str, Any]:
    """Return the extra properties of a large file in listings."""
    return {"oid": file.sha256, "size": file.size, "pointerSize": len(pointer(file.info))}


def _described(
    hub: Hub,
    repository: Repository,
    commit: Commit,
    facts: Facts,
    wanted: Sequence[str],
    blobs: bool,
) -> dict[str, Any]:
    files: list[TreeFile] = []
    if "siblings" in wanted or "usedStorage" in wanted:
        files = [*hub.history.tree(commit).files]
    properties: Mapping[str, Callable[[], Any]] = {
        "_id": lambda: f"{repository.id:024x}",
        "id": lambda: repository.full_name,
        "modelId": lambda: repository.full_name,
        "author": lambda: repository.ref.owner,
        "sha": lambda: commit.oid,
        "lastModified": lambda: timestamp(commit.created_at),
        "createdAt": lambda: timestamp(repository.created_at),
        "private": lambda: repository.visibility == "private",
        "gated": lambda: False,
        "disabled": lambda: False,
        "downloads": lambda: repository.downloads,
        "downloadsAllTime": lambda: repository.downloads,
        "likes": lambda: 0,
        "trendingScore": lambda: 0,
        "tags": lambda: [*facts.tags],
        "library_name": lambda: facts.library,
        "pipeline_tag": lambda: facts.pipeline_tag,
        "cardData": lambda: facts.card,
        "sdk": lambda: facts.card.get("sdk"),
        "siblings": lambda: [_sibling(file, blobs) for file in files],
        "usedStorage": lambda: sum({file.sha256: file.size for file in files}.values()),
        "hubkit": lambda: _versions(hub, repository, commit),
    }
    said = {name: properties[name]() for name in ("id", *wanted) if name in properties}
    return {name: value for name, value in said.items() if value is not None}


def _versions(hub: Hub, repository: Repository, commit: Commit) -> dict[str, Any] | None:
    """Return the facts for hubkit itself: the newest version, and the version of a commit.

    A commit of another tool has no manifest in it, but may still have a version.
    """
    newest, version = hub.history.newest_number(repository), hub.history.version(commit)
    found: dict[str, Any] = {} if newest is None else {"newest": newest}
    if version is not None:
        found["version"] = {"number": version.number, "manifest": version.manifest_digest}
    return found or None


def _sibling(file: TreeFile, blobs: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": file.path}
    if blobs:
        found |= {"size": file.size, "blobId": file.oid}
        if file.large:
            found["lfs"] = {**large(file), "sha256": file.sha256}
    return found
