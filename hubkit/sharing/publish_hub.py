"""Publish a version to a hub: one commit and a tag, after all that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from hubkit.hub.address import RemoteAddress
from hubkit.hub.card import write_card
from hubkit.hub.errors import login_cure, remote_errors
from hubkit.hub.repository import HubRepository
from hubkit.hub.revisions import number_of, path_there, require_free_paths, tag_of
from hubkit.hub.session import open_hub
from hubkit.sharing.base_ids import BaseIds
from registry import AdapterRef, Catalog, Version
from registry.errors import ConflictError, RemoteAccessError, RemoteError
from registry.folders.card import CARD_NAME, read_card
from registry.storage.files import MANIFEST_NAME


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


def publish_remote(
    catalog: Catalog,
    ref: AdapterRef,
    address: RemoteAddress,
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
        ref: What to publish.
        address: The hub, and maybe the repository there.
        name: The repository there; default: the one in `address`, else as it is called here, with
            the owner of the token where it has none.
        base: The id of the base model, where the version names a folder on this machine; see
            `hubkit.sharing.base_ids`.
        private: Whether a repository that is made for it is private.

    Raises:
        NotFoundError: There is no such version here.
        FolderError: It names its base model by a folder, and `base` is None.
        ConflictError: The hub has something else under this version's tag.
        RemoteError: The hub refuses, or cannot be reached; the version is not visible there.
    """
    version = catalog.resolve(ref)
    hub = open_hub(address.endpoint)
    named = AdapterRef.parse(address.repository) if address.repository else name
    named = named or version.ref.repository
    owner = named.owner or _user(hub, address.endpoint)
    ids = BaseIds(catalog, version, base)
    return _Push(catalog, hub, address.endpoint, owner, private, ids).push(
        version, AdapterRef(owner, named.name)
    )


def _user(hub: HfApi, endpoint: str) -> str:
    if not hub.token:
        raise RemoteAccessError(
            f"{endpoint} does not know you. {login_cure(endpoint)}.",
            endpoint,
        )
    with remote_errors(endpoint):
        return str(hub.whoami()["name"])


class _Push:
    """One call of `publish_remote`: what is published already, and where."""

    def __init__(
        self,
        catalog: Catalog,
        hub: HfApi,
        endpoint: str,
        owner: str,
        private: bool,
        ids: BaseIds,
    ) -> None:
        self._catalog = catalog
        self._hub = hub
        self._endpoint = endpoint
        self._owner = owner
        self._private = private
        self._ids = ids
        self._done: dict[str, Pushed] = {}

    def push(self, version: Version, target: AdapterRef) -> Pushed:
        """Publish a version: its repository is opened first, and filled after those of its parents.

        So who may not write there is told so before anything is published, here or there.
        """
        digest = version.manifest_digest
        if digest in self._done:
            return self._done[digest]
        require_free_paths(self._catalog.manifest(version))
        there = HubRepository(self._hub, self._endpoint, str(target))
        with remote_errors(self._endpoint, there.name), there.taken_back():
            tags = there.open(private=self._private)
            if self._ids.renames(version):
                there.require_writable()
            parents = [self._push_parent(parent) for parent in self._catalog.parents(version)]
            version = self._ids.rename(version)
            tag = tag_of(version.number)
            new = tag not in tags
            if new:
                self._commit(version, there, tags, parents)
            _require_same(version, there)
        self._done[digest] = Pushed(version, there.name, tag, f"{there.url}/tree/{tag}", new)
        return self._done[digest]

    def _push_parent(self, parent: Version) -> Pushed:
        own = AdapterRef(self._owner, parent.ref.name)
        if parent.ref.owner not in (None, self._owner):
            parent = self._ids.rename(parent)
            if self._is_there(parent):
                own = parent.ref.repository
        return self.push(parent, own)

    def _is_there(self, version: Version) -> bool:
        """Whether a hub has a version under the name that it has here, whoever owns it."""
        there = HubRepository(self._hub, self._endpoint, str(version.ref.repository))
        try:
            with remote_errors(self._endpoint, there.name):
                found = there.manifest(tag_of(version.number))
        except RemoteError:
            return False
        return found is not None and found.digest == version.manifest_digest

    def _commit(
        self,
        version: Version,
        there: HubRepository,
        tags: dict[str, str],
        parents: list[Pushed],
    ) -> None:
        manifest = self._catalog.manifest(version)
        folder, tag = self._catalog.folder(version), tag_of(version.number)
        card = write_card(
            version,
            manifest,
            there.name,
            revision=tag,
            endpoint=self._endpoint,
            parents=[(parent.repository, parent.tag) for parent in parents],
            own=read_card(folder) if CARD_NAME in manifest.files else None,
        )
        contents: dict[str, Path | bytes] = {
            **{path_there(path): folder / path for path in manifest.files},
            MANIFEST_NAME: folder / MANIFEST_NAME,
            CARD_NAME: card.encode(),
        }
        head, earlier = there.head()
        # An older version, published late, must not become what others get by default.
        newer = any((number_of(other) or 0) > version.number for other in tags)
        branch = f"hubkit-{tag}" if newer else "main"
        if newer:
            self._hub.create_branch(there.name, branch=branch, exist_ok=True)
        there.puts(contents)
        commit = self._hub.create_commit(
            there.name,
            [
                *(
                    CommitOperationAdd(
                        path, content if isinstance(content, bytes) else str(content)
                    )
                    for path, content in sorted(contents.items())
                ),
                *(CommitOperationDelete(path) for path in sorted(earlier - contents.keys())),
            ],
            commit_message=version.message.partition("\n")[0] or f"Publish {version.ref}",
            revision=branch,
            parent_commit=None if newer else head,
        )
        # A tag that is set last: whoever sees it sees the whole version.
        self._hub.create_tag(there.name, tag=tag, revision=commit.oid, exist_ok=True)
        if newer:
            self._hub.delete_branch(there.name, branch=branch)


def _require_same(version: Version, there: HubRepository) -> None:
    tag = tag_of(version.number)
    manifest = there.manifest(tag)
    found = "none" if manifest is None else manifest.digest[:12]
    if manifest is None or manifest.digest != version.manifest_digest:
        raise ConflictError(
            f"{there.url} has something else under {tag}: expected manifest "
            f"{version.manifest_digest[:12]}, found {found}. "
            "Versions never change; publish under another --name.",
            version.ref,
        )
