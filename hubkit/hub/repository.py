"""A repository on a hub as the place that versions are published to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
)

from hubkit.hub.revisions import path_there
from hubkit.hub.session import cache_of
from registry import Manifest
from registry.errors import ConflictError
from registry.folders.card import CARD_NAME
from registry.manifest import MAX_BYTES
from registry.storage.files import MANIFEST_NAME

_log = logging.getLogger(__name__)

# What a hub puts into a new repository.
_KEPT = {".gitattributes"}


class HubRepository:
    """One repository; what it raises is to be translated by `remote_errors`.

    Args:
        hub: The client.
        endpoint: The hub's URL.
        name: ``owner/name``.
    """

    def __init__(self, hub: HfApi, endpoint: str, name: str) -> None:
        self.name = name
        self.url = f"{endpoint}/{name}"
        self._hub = hub
        self._endpoint = endpoint
        self._made = False
        self._put: set[str] = set(_KEPT)

    def open(self, *, private: bool) -> dict[str, str]:
        """Make the repository if it is not there, and return its commits by tag.

        Args:
            private: Whether it must be private; False leaves it to what the owner has chosen.

        Raises:
            ConflictError: It is there, and public, but `private` is True.
        """
        try:
            refs = self._hub.list_repo_refs(self.name)
        except RepositoryNotFoundError:
            self._hub.create_repo(self.name, private=private or None, exist_ok=True)
            self._made = True
            refs = self._hub.list_repo_refs(self.name)
        if private and not self._hub.model_info(self.name).private:
            raise ConflictError(
                f"{self.url} is there already, and public; --private makes a new one private. "
                "Change it in its settings, or publish under another name.",
                self.name,
            )
        return {tag.name: tag.target_commit for tag in refs.tags}

    def require_writable(self) -> None:
        """Make sure that a new version may be put here.

        Raises:
            ConflictError: It holds files, but no version.
            HfHubHTTPError: The token may not write here.
        """
        if self._made:
            return
        try:
            self._hub.auth_check(self.name, write=True)
        except HfHubHTTPError as error:
            # A hub that does not know the question says so when the commit comes.
            if error.response.status_code not in (404, 405, 501):
                raise
        self.head()

    def puts(self, paths: Iterable[str]) -> None:
        """Note the files that are about to be put here."""
        self._put |= {*paths}

    @contextmanager
    def taken_back(self) -> Iterator[None]:
        """If the block fails, delete the repository again if it was made for it.

        Not if it holds what someone else put there in the meantime.
        """
        try:
            yield
        except BaseException:
            if self._made:
                self._take_back()
            raise

    def _take_back(self) -> None:
        try:
            if set(self._hub.list_repo_files(self.name)) <= self._put:
                self._hub.delete_repo(self.name)
        except Exception:  # the reason for this is told by the error that is on its way
            _log.warning(
                "%s was made for this and is there still. Delete it on its page, or publish again.",
                self.url,
            )

    def manifest(self, revision: str) -> Manifest | None:
        """Return the manifest at a revision, None if there is none.

        Raises:
            ManifestError: It is malformed.
        """
        try:
            path = hf_hub_download(
                self.name,
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
        return Manifest.from_json(content, f"{self.name}: {MANIFEST_NAME}")

    def head(self) -> tuple[str | None, set[str]]:
        """Return the last commit of the main branch, and what an earlier version put into it.

        Nothing else in it is hubkit's.

        Raises:
            ConflictError: It holds files, but no version.
        """
        head = self._hub.model_info(self.name)
        there = {sibling.rfilename for sibling in head.siblings or ()} - _KEPT
        earlier = self.manifest(head.sha or "main") if MANIFEST_NAME in there else None
        if earlier is not None:
            own = {*map(path_there, earlier.files), MANIFEST_NAME, CARD_NAME}
            return head.sha, own & there
        if there:
            raise ConflictError(
                f"{self.url} holds {', '.join(sorted(there)[:5])}, which hubkit did not put there, "
                "and nothing of hubkit's. Publish under another name: --to HUB/OWNER/NAME.",
                self.name,
            )
        return head.sha, set()
