"""Publish a version to a hub: one commit and a tag, after all that it is made of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hubkit.hub.address import Hub, Repository
from hubkit.hub.card import RESULTS_NAME, write_card, write_results
from hubkit.hub.repository import Target
from hubkit.hub.revisions import number_of, require_free_paths, tag_of
from hubkit.hub.session import HubSession, open_session
from hubkit.sharing.base_ids import BaseIds
from registry import AdapterRef, Catalog, Measurement, Version
from registry.arguments import checked
from registry.errors import HubkitError, RemoteConflictError
from registry.folders.card import CARD_NAME, read_card
from registry.folders.hubkit import path_there
from registry.storage.files import MANIFEST_NAME
from registry.tables.measurements import counting

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pushed:
    """A version on a hub.

    Attributes:
        version: The version in this registry.
        repository: ``owner/name`` there.
        tag: Its tag there.
        url: The page of that tag.
        new: Whether it was not there before.
    """

    version: Version
    repository: str
    tag: str
    url: str
    new: bool


@checked
def publish_remote(
    catalog: Catalog,
    ref: AdapterRef,
    to: Hub | Repository,
    *,
    name: AdapterRef | None = None,
    base: str | None = None,
    private: bool = False,
) -> Pushed:
    """Publish a version of this registry to a hub; again, and nothing changes.

    A version that names its base model by a folder is published here once more under `base`, but
    only when the hub has said that it may be written there.

    Args:
        catalog: This registry.
        ref: The version to publish.
        to: The hub, or the repository there.
        name: The repository, if `to` is a hub; default: as it is called here, with the owner of
            the token where it has none.
        base: The id of the base model, where the version names a folder on this machine; see
            `hubkit.sharing.base_ids`.
        private: Whether a repository that is made for it is private.

    Raises:
        NotFoundError: There is no such version here.
        UnknownBaseError: It names its base model by a folder, and `base` is None.
        RemoteConflictError: The hub has something else under this version's tag, or does not hold
            what was sent.
        RemoteError: The hub refuses, or cannot be reached; the version is not visible there.
    """
    version = catalog.resolve(ref)
    if isinstance(to, Repository):
        hub, name = to.hub, AdapterRef.parse(to.name)
    else:
        hub, name = to, name or version.ref.repository
    with open_session(hub) as session:
        owner = name.owner or session.user()
        target = Repository(hub, f"{owner}/{name.name}")
        ids = BaseIds(catalog, version, base)
        return _Push(catalog, session, owner, private, ids).push(version, target)


class _Push:
    """One call of `publish_remote`: what is published already, and where."""

    def __init__(
        self, catalog: Catalog, session: HubSession, owner: str, private: bool, ids: BaseIds
    ) -> None:
        self._catalog = catalog
        self._session = session
        self._owner = owner
        self._private = private
        self._ids = ids
        self._done: dict[str, Pushed] = {}

    def push(self, version: Version, repository: Repository) -> Pushed:
        """Publish a version: its repository is opened first, and filled after those of its parents.

        So a missing right to write is noticed before anything is published, here or there.
        """
        digest = version.manifest_digest
        if digest in self._done:
            return self._done[digest]
        require_free_paths(self._catalog.manifest(version))
        there = Target(self._session, repository)
        with there.taken_back():
            tags = there.open(private=self._private)
            if self._ids.renames(version):
                there.require_writable()
            parents = [self._push_parent(parent) for parent in self._catalog.parents(version)]
            # Before a version with another name for its base model takes its place.
            measured = counting(self._catalog.measurements([version]).get(version.ref, ()))
            version = self._ids.rename(version)
            tag = tag_of(version.number)
            new = tag not in tags
            if new:
                self._commit(version, there, tags, parents, measured)
            _require_same(version, there)
            there.require_files(tag, self._contents(version))
        page = repository.at(tag).page
        self._done[digest] = Pushed(version, repository.name, tag, page, new)
        return self._done[digest]

    def _push_parent(self, parent: Version) -> Pushed:
        hub, owner = self._session.hub, self._owner
        if parent.ref.owner not in (None, owner):
            parent = self._ids.rename(parent)
            theirs = Repository(hub, str(parent.ref.repository))
            if self._is_there(parent, theirs):
                if parent.ref.is_nameless:  # the hub keeps it itself, and no user may write there
                    tag = tag_of(parent.number)
                    return Pushed(parent, theirs.name, tag, theirs.at(tag).page, new=False)
                return self.push(parent, theirs)
        pushed = self.push(parent, Repository(hub, f"{owner}/{parent.ref.name}"))
        if pushed.new and parent.ref.owner not in (None, owner):
            _log.warning(
                "%s was also published as %s: under its own name, %s has no hubkit.json for it, "
                "which a pull needs.",
                *(parent.ref, pushed.repository, hub.url),
            )
        return pushed

    def _is_there(self, version: Version, theirs: Repository) -> bool:
        """Whether a hub has a version under the name that it has here, of whatever owner."""
        try:
            found = Target(self._session, theirs).manifest(tag_of(version.number))
        except HubkitError:
            return False
        return found is not None and found.digest == version.manifest_digest

    def _commit(
        self,
        version: Version,
        there: Target,
        tags: set[str],
        parents: list[Pushed],
        measurements: Sequence[Measurement],
    ) -> None:
        manifest = self._catalog.manifest(version)
        folder, tag = self._catalog.folder(version), tag_of(version.number)
        card = write_card(
            version,
            manifest,
            there.name,
            revision=tag,
            endpoint=self._session.hub.url,
            parents=[(parent.repository, parent.tag) for parent in parents],
            own=read_card(folder) if CARD_NAME in manifest.files else None,
            measurements=measurements,
        )
        contents = {**self._contents(version), CARD_NAME: card.encode()}
        results = write_results(measurements)
        if results is not None:
            contents.setdefault(RESULTS_NAME, results.encode())
        there.commit(
            contents,
            version.manifest_digest,
            tag=tag,
            message=version.message.partition("\n")[0] or f"Publish {version.ref}",
            # An older version, published late, must not become what others get by default.
            newest=not any((number_of(other) or 0) > version.number for other in tags),
        )

    def _contents(self, version: Version) -> dict[str, Path | bytes]:
        """The files of a version, by their paths on a hub; its card there is another one."""
        manifest, folder = self._catalog.manifest(version), self._catalog.folder(version)
        files = {path_there(path): folder / path for path in manifest.files}
        return {**files, MANIFEST_NAME: folder / MANIFEST_NAME}


def _require_same(version: Version, there: Target) -> None:
    tag = tag_of(version.number)
    manifest = there.manifest(tag)
    found = None if manifest is None else manifest.digest
    if found != version.manifest_digest:
        raise RemoteConflictError(
            f"{there.url} has something else under {tag}: expected manifest "
            f"{version.manifest_digest[:12]}, found {'none' if found is None else found[:12]}. "
            "Versions never change.",
            version.ref,
            expected=version.manifest_digest,
            found=found,
        )
