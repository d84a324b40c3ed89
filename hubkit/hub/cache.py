"""What came from a hub before: files by digest, and which files a revision has.

It is hubkit's own, as the stock client's cache names its files after whatever a hub says. That one
is read, too, for the default hub; all that is taken from either is held to its digest first.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from hubkit.hub.address import Hub, Repository
from hubkit.hub.answers import RemoteFile
from hubkit.hub.download import digest_like
from registry.errors import InvalidNameError
from registry.storage.durable import flush, make_folders, scratch_file, settle, storage_errors
from registry.storage.durable import write_file as write_whole

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at a commit.

    Attributes:
        repository: The repository; its revision is the commit.
        files: By their paths there.
    """

    repository: Repository
    files: dict[str, RemoteFile]


class HubCache:
    """What came from one hub.

    Args:
        hub: The hub.
    """

    def __init__(self, hub: Hub) -> None:
        host = hub.url.partition("://")[2]
        self._folder = Path(constants.HF_HOME) / "hubkit" / "hubs" / quote(host, safe="")
        self._stock = Path(constants.HF_HUB_CACHE) if hub.is_default else None

    def file(self, repository: Repository, file: RemoteFile) -> Path | None:
        """Return the path of a file's cached bytes; None if there are none with this digest.

        Raises:
            StorageError: They cannot be read.
        """
        own = self._blob(file)
        if self._is_intact(own, file):
            return own
        with storage_errors("remove", own):
            own.unlink(missing_ok=True)
        if self._stock is not None:
            theirs = self._stock_folder(repository) / "blobs" / file.digest
            if self._is_intact(theirs, file):
                return theirs
        return None

    def add(self, file: RemoteFile, write: Callable[[BinaryIO], None]) -> Path:
        """Keep the bytes of a file.

        Args:
            file: The file.
            write: Writes them to an empty one that can be read back; raises if they are others.

        Raises:
            StorageError: The disk is full, or not writable.
        """
        target = self._blob(file)
        with storage_errors("write", target):
            make_folders(target.parent)
            with scratch_file(target.parent) as scratch, open(scratch.name, "r+b") as both:
                write(both)
                flush(both)
                settle(scratch, target)
        return target

    def remember(self, asked: Repository, listing: Listing) -> None:
        """Keep which commit a revision is, and which files it has.

        Raises:
            StorageError: The disk is full, or not writable.
        """
        commit = listing.repository.revision or ""
        known = self._known(asked)
        content = [asdict(file) for file in listing.files.values()]
        for path, text in (
            (known / f"{commit}.json", json.dumps(content)),
            (known / "revisions" / quote(asked.revision or commit, safe=""), commit),
        ):
            with storage_errors("write", path):
                make_folders(path.parent)
            write_whole(path, text.encode())

    def recall(self, asked: Repository) -> Listing | None:
        """Return the files that a revision had when it was last asked for; None if it was not."""
        known, revision = self._known(asked), asked.revision or "main"
        commit = _commit_in(known / "revisions" / quote(revision, safe=""), revision)
        with suppress(OSError, ValueError, TypeError, InvalidNameError):
            content = json.loads((known / f"{commit}.json").read_bytes())
            files = [RemoteFile(**file) for file in content]
            return Listing(asked.at(str(commit)), {file.path: file for file in files})
        return self._recall_stock(asked, revision)

    def revisions(self, repository: Repository) -> list[str]:
        """Return the revisions of a repository that can be recalled."""
        folders = [self._known(repository) / "revisions"]
        if self._stock is not None:
            folders.append(self._stock_folder(repository) / "refs")
        return sorted({path.name for folder in folders for path in folder.glob("*")})

    def _recall_stock(self, asked: Repository, revision: str) -> Listing | None:
        if self._stock is None:
            return None
        folder = self._stock_folder(asked)
        refs = folder / "refs"
        # A branch may have a slash in it; a path that leads out of the folder is not a branch.
        named = refs / revision if not {"", ".", ".."} & {*revision.split("/")} else refs
        commit = _commit_in(named, revision)
        if commit is None:
            return None
        files = {file.path: file for file in _linked(folder / "snapshots" / commit)}
        return Listing(asked.at(commit), files) if files else None

    def _blob(self, file: RemoteFile) -> Path:
        return self._folder / "blobs" / file.digest

    def _known(self, repository: Repository) -> Path:
        return self._folder / "repositories" / quote(repository.name, safe="")

    def _stock_folder(self, repository: Repository) -> Path:
        assert self._stock is not None
        return self._stock / repo_folder_name(repo_id=repository.name, repo_type="model")

    def _is_intact(self, path: Path, file: RemoteFile) -> bool:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
            return False
        with storage_errors("read", path), path.open("rb") as stream:
            return digest_like(stream, file.digest, file.size) == file.digest


def _commit_in(path: Path, revision: str) -> str | None:
    """The commit that a file names; that of a revision which is one."""
    with suppress(OSError, ValueError):
        if path.is_file() and _COMMIT.fullmatch(found := path.read_text().strip()):
            return found
    return revision if _COMMIT.fullmatch(revision) else None


def _linked(snapshot: Path) -> Iterator[RemoteFile]:
    """The files of a snapshot of the stock client, each of which links to a blob of its digest.

    Where the system has no links, there is no digest, and so nothing to take.
    """
    for path in sorted(snapshot.rglob("*")):
        if path.is_symlink() and path.is_file():
            name = Path(os.readlink(path)).name
            with suppress(InvalidNameError):
                found = path.relative_to(snapshot).as_posix()
                yield RemoteFile(found, path.stat().st_size, name)
