"""A repository on a hub as the place that versions are published to."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from hubkit.hub import upload
from hubkit.hub.address import Repository
from hubkit.hub.download import digest_like, require_bytes
from hubkit.hub.revisions import number_of
from hubkit.hub.session import HubSession
from hubkit.hub.snapshot import fetch_manifest, list_files, list_revision
from registry import Manifest
from registry.errors import RemoteConflictError, RemoteError, RemoteNotFoundError, listed
from registry.folders.card import CARD_NAME
from registry.folders.hubkit import OWN_CARD, path_there
from registry.folders.kinds import PARTS
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME

_log = logging.getLogger(__name__)

# What a hub puts into a new repository.
_KEPT = {".gitattributes"}


@dataclass(frozen=True, slots=True)
class Head:
    """The main branch of a repository.

    Attributes:
        commit: Its last commit.
        files: Those that a version put into it.
        digest: That of the version's manifest; None where there is no version yet.
    """

    commit: str
    files: frozenset[str]
    digest: str | None


class Target:
    """One repository that versions are published to.

    Args:
        session: The hub.
        repository: The repository.
    """

    def __init__(self, session: HubSession, repository: Repository) -> None:
        self.repository = repository
        self.name, self.url = repository.name, repository.url
        self._session = session
        self._api = f"/api/models/{repository.name}"
        self._made = False
        self._put: set[str] = set(_KEPT)

    def open(self, *, private: bool) -> set[str]:
        """Make the repository if it is not there, and return its tags.

        Args:
            private: Whether it must be private; False leaves it to what the owner has chosen.

        Raises:
            RemoteConflictError: It is there, and public, but `private` is True.
            RemoteError: The hub refuses, or cannot be reached.
        """
        try:
            refs = self._session.refs(self.repository)
        except RemoteNotFoundError:
            self._make(private)
            refs = self._session.refs(self.repository)
        if private and not self._session.describe(self.repository).private:
            raise RemoteConflictError(
                f"{self.url} exists already and is public; only a new one is made private. "
                "Change it in its settings.",
                self.name,
            )
        return {tag.name for tag in refs.tags}

    def require_writable(self) -> None:
        """Make sure that a new version may be put here.

        Raises:
            RemoteConflictError: It holds files, but no version.
            RemoteAccessError: The token may not write here.
        """
        if self._made:
            return
        try:
            self._session.ask(f"{self._api}/auth-check/write", what=self.url, writes=True)
        except RemoteError as error:
            # A hub that does not know the question says so when the commit comes.
            if error.status not in (404, 405, 501):
                raise
        self.head()

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

    def manifest(self, revision: str) -> Manifest | None:
        """Return the manifest at a revision, None if there is none.

        Raises:
            ManifestError: It is malformed.
            RemoteError: The hub refuses, or cannot be reached.
        """
        return fetch_manifest(self._session, self.repository.at(revision))

    def head(self) -> Head:
        """Return what the main branch holds. Nothing but an earlier version in it is hubkit's.

        Raises:
            RemoteConflictError: It holds files, but no version.
            RemoteError: The hub refuses, or cannot be reached.
        """
        head = self._session.describe(self.repository)
        there = frozenset(sibling.rfilename for sibling in head.siblings) - _KEPT
        made_there = head.hubkit.version is not None  # of what another tool pushed, maybe
        earlier = self.manifest(head.sha) if made_there or MANIFEST_NAME in there else None
        if earlier is not None:
            own = frozenset({*map(path_there, earlier.files), MANIFEST_NAME, CARD_NAME})
            if MANIFEST_NAME not in there:
                own |= {part.pickle for part in PARTS}  # which its safetensors were made of
            return Head(head.sha, own & there, earlier.digest)
        if there:
            raise RemoteConflictError(
                f"{self.url} holds {listed(sorted(there))}, which hubkit did not put there, "
                "and no version of hubkit.",
                self.name,
            )
        return Head(head.sha, frozenset(), None)

    def commit(
        self,
        contents: Mapping[str, Path | bytes],
        digest: str,
        *,
        tag: str,
        message: str,
        newest: bool,
    ) -> None:
        """Put the files of a version here in one commit, and set its tag.

        Args:
            contents: The files, by their paths here.
            digest: That of its manifest.
            tag: Its tag.
            message: One line.
            newest: Whether others get it by default: it goes into the main branch.

        Raises:
            RemoteConflictError: The repository holds files, but no version.
            RemoteError: The hub refuses, or cannot be reached; there is no tag then.
        """
        head = self.head()
        branch = "main" if newest else f"hubkit-{tag}"
        beside = f"{self._api}/branch/{quote(branch, safe='')}"
        done = head.commit
        # If all is there, only its tag was missing.
        if not newest or head.digest != digest or self._lacks(done, contents):
            if not newest:
                self._unless_there(beside, {})
            self._put |= contents.keys()
            with self._numbered(tag):
                made = upload.commit(
                    self._session,
                    self.repository,
                    contents,
                    head.files - contents.keys(),
                    branch=branch,
                    message=message,
                    # A hub of hubkit's gives the version this number, on whatever branch.
                    description=f"Version: {number_of(tag)}",
                    parent=head.commit if newest else None,
                )
            done = made.commit
            self.require_files(done, contents)
            self._require_bytes(done, made.unseen)
        # The tag is set last: a client that sees it sees the whole version.
        self._unless_there(f"{self._api}/tag/{done}", {"tag": tag})
        if not newest:
            self._session.send("DELETE", beside, what=self.url)

    @contextmanager
    def _numbered(self, tag: str) -> Iterator[None]:
        """Turn a conflict (409) into an error of its own: the hub has this version number for
        something else.
        """
        try:
            yield
        except RemoteError as error:
            if error.status != 409:
                raise
            raise RemoteConflictError(
                f"{error} Nothing was published as {tag}.", self.name
            ) from error

    def require_files(self, revision: str, contents: Mapping[str, Path | bytes]) -> None:
        """Make sure that the files at a revision are those that were sent.

        Args:
            revision: A tag or a commit.
            contents: The files, by their paths here; what else is there makes no difference.

        Raises:
            RemoteConflictError: One is missing, or has other bytes.
            RemoteError: The hub refuses, or cannot be reached.
            StorageError: A file cannot be read.
        """
        if lacking := self._lacks(revision, contents):
            raise RemoteConflictError(
                f"{self.url} does not hold what was sent: {lacking}. The version is not published. "
                "Run it again; if that does not help, tell the owner of the hub.",
                self.name,
            )

    def _lacks(self, revision: str, contents: Mapping[str, Path | bytes]) -> str:
        """Say how the files of a revision differ from some files; empty if they do not."""
        found = list_revision(self._session, self.repository.at(revision)).files
        for path, content in sorted(contents.items()):
            # Where a hub published the version itself, its own card is the only one.
            there = found.get(path) or (found.get(CARD_NAME) if path == OWN_CARD else None)
            if there is None:
                return f"it lists no {path}"
            with _opened(content) as stream:
                size = stream.seek(0, SEEK_END)
                stream.seek(0)
                digest = digest_like(stream, there.digest, size)
            if (there.size, there.digest) != (size, digest):
                return (
                    f"{path} has {size} bytes and the digest {digest[:12]}, but it lists "
                    f"{there.size} bytes and {there.digest[:12]}"
                )
        return ""

    def _require_bytes(self, commit: str, paths: Collection[str]) -> None:
        """Make sure that the hub has the large files that it did not want."""
        at = self.repository.at(commit)
        files = list_files(self._session, at) if paths else {}
        for path in sorted(paths):
            try:
                require_bytes(self._session, at, files[path])
            except RemoteNotFoundError as error:
                raise RemoteConflictError(
                    f"{self.url} said that it has the bytes of {path}, so they were not sent, but "
                    "it does not give them out. The version is not published. Tell the owner of "
                    "the hub.",
                    self.name,
                ) from error

    def _make(self, private: bool) -> None:
        owner, _, name = self.name.partition("/")
        wanted: dict[str, str] = {"name": name, "organization": owner, "type": "model"}
        if private:
            wanted["visibility"] = "private"
        self._made = self._unless_there("/api/repos/create", wanted)

    def _unless_there(self, path: str, document: dict[str, str]) -> bool:
        """Make something on the hub; return False if it was there already."""
        try:
            self._session.send("POST", path, document=document, what=self.url)
        except RemoteError as error:
            if error.status != 409:
                raise
            return False
        return True

    def _take_back(self) -> None:
        owner, _, name = self.name.partition("/")
        wanted = {"name": name, "organization": owner, "type": "model"}
        try:
            files = {one.rfilename for one in self._session.describe(self.repository).siblings}
            if files <= self._put:
                self._session.send("DELETE", "/api/repos/delete", document=wanted, what=self.url)
        except Exception:  # the error that is on its way says the reason
            _log.warning(
                "%s was made for this and still exists. Delete it on its page, or publish again.",
                self.url,
            )


@contextmanager
def _opened(content: Path | bytes) -> Iterator[BinaryIO]:
    if isinstance(content, bytes):
        yield BytesIO(content)
        return
    with storage_errors("read", content), content.open("rb") as stream:
        yield stream
