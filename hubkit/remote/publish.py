"""Publish a version to a hub: one commit and a tag, after all that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
)
from huggingface_hub.errors import EntryNotFoundError

from hubkit.remote.address import RemoteAddress
from hubkit.remote.card import write_card
from hubkit.remote.errors import remote_errors
from hubkit.remote.layout import number_of, path_there, require_free_paths, tag_of
from hubkit.remote.session import cache_of, open_hub
from registry import AdapterRef, Catalog, Manifest, Version
from registry.errors import (
    ConflictError,
    ParentNotFoundError,
    RemoteAccessError,
    RemoteError,
    RemoteNotFoundError,
)
from registry.folders.card import CARD_NAME, read_card
from registry.manifest import MAX_BYTES
from registry.storage.files import MANIFEST_NAME

_KEPT = (".gitattributes",)


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
    private: bool = False,
) -> Pushed:
    """Publish a version of this registry to a hub; again, and nothing changes.

    Args:
        catalog: This registry.
        ref: What to publish.
        address: The hub, and maybe the repository there.
        name: The repository there; default: the one in `address`, else as it is called here, with
            the owner of the token where it has none.
        private: Whether a repository that is made for it is private.

    Raises:
        NotFoundError: There is no such version here.
        ConflictError: The hub has something else under this version's tag.
        RemoteError: The hub refuses, or cannot be reached; the version is not visible there.
    """
    version = catalog.resolve(ref)
    hub = open_hub(address.endpoint)
    named = AdapterRef.parse(address.repository) if address.repository else name
    named = named or version.ref.repository
    owner = named.owner or _user(hub, address.endpoint)
    return _Push(catalog, hub, address.endpoint, owner, private).push(
        version, AdapterRef(owner, named.name)
    )


def _user(hub: HfApi, endpoint: str) -> str:
    if not hub.token:
        raise RemoteAccessError(
            f"{endpoint} does not know you. Log in with `hubkit login`, or set HF_TOKEN, or say "
            "under which owner to publish with --name OWNER/NAME.",
            endpoint,
        )
    with remote_errors(endpoint):
        return str(hub.whoami()["name"])


class _Push:
    """One call of `publish_remote`: what is published already, and where."""

    def __init__(
        self, catalog: Catalog, hub: HfApi, endpoint: str, owner: str, private: bool
    ) -> None:
        self._catalog = catalog
        self._hub = hub
        self._endpoint = endpoint
        self._owner = owner
        self._private = private
        self._done: dict[str, Pushed] = {}

    def push(self, version: Version, target: AdapterRef) -> Pushed:
        """Publish a version, parents first."""
        if version.manifest_digest in self._done:
            return self._done[version.manifest_digest]
        manifest = self._catalog.manifest(version)
        require_free_paths(manifest)
        parents = [self._push_parent(version, parent.digest) for parent in manifest.parents]
        repository, tag = str(target), tag_of(version.number)
        url = f"{self._endpoint}/{repository}/tree/{tag}"
        with remote_errors(self._endpoint, repository):
            tags = self._tags(repository)
            new = tag not in tags
            if new:
                self._commit(version, manifest, repository, tag, tags, parents)
            else:
                self._require_same(version, repository, tag)
        pushed = Pushed(version, repository, tag, url, new)
        self._done[version.manifest_digest] = pushed
        return pushed

    def _push_parent(self, child: Version, digest: str) -> Pushed:
        parent = self._catalog.find_digest(digest)
        if parent is None:
            raise ParentNotFoundError(
                f"{child.ref} is made of {digest[:12]}, which this registry does not have. Pull "
                f"{child.ref} again to bring it.",
                digest,
            )
        own = AdapterRef(self._owner, parent.ref.name)
        if parent.ref.owner not in (None, self._owner) and self._is_there(parent):
            own = parent.ref.repository
        return self.push(parent, own)

    def _is_there(self, version: Version) -> bool:
        """Whether a hub has a version under the name that it has here, whoever owns it."""
        repository = str(version.ref.repository)
        try:
            with remote_errors(self._endpoint, repository):
                digest = self._digest(repository, tag_of(version.number))
        except RemoteError:
            return False
        return digest == version.manifest_digest

    def _tags(self, repository: str) -> dict[str, str]:
        """Commits by tag; the repository is made if it is not there."""
        try:
            with remote_errors(self._endpoint, repository):
                refs = self._hub.list_repo_refs(repository)
                self._require_private(repository)
        except RemoteNotFoundError:
            private = self._private or None  # None leaves it to what the owner has chosen
            self._hub.create_repo(repository, private=private, exist_ok=True)
            refs = self._hub.list_repo_refs(repository)
        return {tag.name: tag.target_commit for tag in refs.tags}

    def _digest(self, repository: str, tag: str) -> str | None:
        manifest = self._manifest(repository, tag)
        return None if manifest is None else manifest.digest

    def _manifest(self, repository: str, revision: str) -> Manifest | None:
        try:
            path = hf_hub_download(
                repository,
                MANIFEST_NAME,
                revision=revision,
                endpoint=self._endpoint,
                token=self._hub.token,
                cache_dir=cache_of(self._endpoint),
            )
        except EntryNotFoundError:
            return None
        with Path(path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        return Manifest.from_json(content, f"{repository}: {MANIFEST_NAME}")

    def _own_files(self, repository: str, revision: str | None, there: set[str]) -> set[str]:
        """What an earlier version has put into a repository; nothing else in it is hubkit's.

        Raises:
            ConflictError: It holds files, but no version.
        """
        others = there - set(_KEPT)
        if MANIFEST_NAME not in there:
            if others:
                raise ConflictError(
                    f"{self._endpoint}/{repository} holds {', '.join(sorted(others)[:5])}, which "
                    "hubkit did not put there, and nothing of hubkit's. Publish under another "
                    "name: --to HUB/OWNER/NAME.",
                    repository,
                )
            return set()
        earlier = self._manifest(repository, revision or "main")
        assert earlier is not None
        return {*map(path_there, earlier.files), MANIFEST_NAME, CARD_NAME} & others

    def _require_private(self, repository: str) -> None:
        if self._private and not self._hub.model_info(repository).private:
            raise ConflictError(
                f"{self._endpoint}/{repository} is there already, and public; --private makes a "
                "new one private. Change it in its settings, or publish under another name.",
                repository,
            )

    def _require_same(self, version: Version, repository: str, tag: str) -> None:
        found = self._digest(repository, tag)
        if found != version.manifest_digest:
            raise ConflictError(
                f"{self._endpoint}/{repository} has something else under {tag}: expected manifest "
                f"{version.manifest_digest[:12]}, found {found[:12] if found else 'none'}. "
                "Versions never change; publish under another --name.",
                version.ref,
            )

    def _commit(
        self,
        version: Version,
        manifest: Manifest,
        repository: str,
        tag: str,
        tags: dict[str, str],
        parents: list[Pushed],
    ) -> None:
        folder = self._catalog.folder(version)
        card = write_card(
            version,
            manifest,
            repository,
            revision=tag,
            parents=[(parent.repository, parent.tag) for parent in parents],
            own=read_card(folder) if CARD_NAME in manifest.files else None,
        )
        contents: dict[str, Path | bytes] = {
            **{path_there(path): folder / path for path in manifest.files},
            MANIFEST_NAME: folder / MANIFEST_NAME,
            CARD_NAME: card.encode(),
        }
        head = self._hub.model_info(repository)
        there = {sibling.rfilename for sibling in head.siblings or ()}
        gone = sorted(self._own_files(repository, head.sha, there) - contents.keys())
        # An older version, published late, must not become what others get by default.
        newer = any((number_of(other) or 0) > version.number for other in tags)
        branch = f"hubkit-{tag}" if newer else "main"
        if newer:
            self._hub.create_branch(repository, branch=branch, exist_ok=True)
        commit = self._hub.create_commit(
            repository,
            [
                *(
                    CommitOperationAdd(
                        path, content if isinstance(content, bytes) else str(content)
                    )
                    for path, content in sorted(contents.items())
                ),
                *(CommitOperationDelete(path) for path in gone),
            ],
            commit_message=version.message.partition("\n")[0] or f"Publish {version.ref}",
            revision=branch,
            parent_commit=None if newer else head.sha,
        )
        # A tag that is set last: whoever sees it sees the whole version.
        self._hub.create_tag(repository, tag=tag, revision=commit.oid, exist_ok=True)
        if newer:
            self._hub.delete_branch(repository, branch=branch)
        self._require_same(version, repository, tag)
