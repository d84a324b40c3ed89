"""The bytes of a file on a hub: hashed while they come, and no more than were announced."""

from __future__ import annotations

import hashlib
import re
import time
from typing import BinaryIO
from urllib.parse import quote

from hubkit.hub.address import Repository
from hubkit.hub.answers import RemoteFile
from hubkit.hub.session import HubSession
from registry.errors import CorruptBlobError, RemoteAnswerError, RemoteUnreachableError
from registry.storage.files import CHUNK

_PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a download that broke off is resumed."""


def download(
    session: HubSession, repository: Repository, file: RemoteFile, target: BinaryIO
) -> None:
    """Write a file's bytes to an empty one; if the connection breaks, resume.

    Args:
        session: The hub.
        repository: A repository at a commit.
        file: What its listing announces.
        target: Can be read back and cut off.

    Raises:
        CorruptBlobError: The bytes are not those of the digest.
        RemoteAnswerError: There are more, or fewer, than was announced.
        RemoteError: The hub refuses, or cannot be reached.
    """
    path, broken = _path_of(repository, file), 0
    while True:
        done = target.tell()
        try:
            if done < file.size or not done:
                _fetch_rest(session, path, file, target, repository.url)
        except RemoteUnreachableError as error:
            if error.status is not None or broken == len(_PAUSES):
                raise
            time.sleep(_PAUSES[broken])
            broken += 1
            continue
        target.seek(0)
        if digest_like(target, file.digest, file.size) == file.digest:
            return
        if not done:
            raise CorruptBlobError(
                f"{repository.url}: {file.path} is not the file that its hash promises, so "
                "nothing was registered. Run it again; if that does not help, tell the owner of "
                "the repository.",
                file.path,
            )
        target.seek(0)
        target.truncate()  # the parts of several answers do not belong together


def require_bytes(session: HubSession, repository: Repository, file: RemoteFile) -> None:
    """Make sure that a hub gives a file out, of which the first byte is asked for.

    Args:
        session: The hub.
        repository: A repository at a commit.
        file: What its listing announces.

    Raises:
        RemoteAnswerError: It has another size than was announced.
        RemoteError: The hub refuses, or cannot be reached.
    """
    path, what = _path_of(repository, file), repository.url
    with session.reading_file(path, what, {"range": "bytes=0-0"}) as response:
        size = response.headers.get("content-length", "")
        if response.status_code == 206:
            size = response.headers.get("content-range", "").rpartition("/")[2]
    if size != str(file.size):
        raise RemoteAnswerError(
            f"{what}: {file.path} was announced with {file.size} bytes, but has {size[:20]!a}. "
            "Tell the owner of the hub.",
            what,
        )


def _path_of(repository: Repository, file: RemoteFile) -> str:
    """Where a file is, after the hub's URL."""
    if file.version is not None:
        return path_of_version(repository, file.version, file.path)
    name = f"{quote(repository.revision or 'main', safe='')}/{quote(file.path)}"
    return f"/{repository.name}/resolve/{name}"


def path_of_version(repository: Repository, number: int, path: str) -> str:
    """Return where a hub of hubkit's has a file of a version, after its URL."""
    return f"/api/models/{repository.name}/versions/{number}/{quote(path)}"


def _fetch_rest(
    session: HubSession, path: str, file: RemoteFile, target: BinaryIO, what: str
) -> None:
    done = target.tell()
    headers = {"range": f"bytes={done}-"} if done else {}
    with session.reading_file(path, what, headers) as response:
        begins = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("content-range", ""))
        if response.status_code != 206 or begins is None or int(begins[1]) != done:
            target.seek(0)
            target.truncate()
            done = 0
            if response.status_code == 206:
                raise RemoteAnswerError(
                    f"{what}: asked for a part of {file.path}, got another.", what
                )
        for piece in response.iter_raw():
            done += len(piece)
            if done > file.size:
                raise RemoteAnswerError(
                    f"{what}: {file.path} was announced with {file.size} bytes, but has more. "
                    "Tell the owner of the hub.",
                    what,
                )
            target.write(piece)
    if done < file.size:
        raise RemoteAnswerError(
            f"{what}: {file.path} was announced with {file.size} bytes, but has {done}. Tell "
            "the owner of the hub.",
            what,
        )


def digest_like(stream: BinaryIO, digest: str, size: int) -> str:
    """Return the digest of a stream, of the same form as another.

    Args:
        stream: Is read to its end, or one byte after `size`.
        digest: SHA-256 in 64 digits, or in 40 the SHA-1 that git gives a file.
        size: The bytes that are expected.
    """
    if len(digest) == 64:
        found = hashlib.sha256()
    else:
        found = hashlib.sha1(usedforsecurity=False)
        found.update(b"blob %d\0" % size)
    left = size + 1
    while left and (chunk := stream.read(min(CHUNK, left))):
        found.update(chunk)
        left -= len(chunk)
    return found.hexdigest()
