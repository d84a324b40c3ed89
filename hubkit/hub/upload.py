"""Put files into a repository in one commit: the protocol's preupload, Git LFS and commit.

Large files go the way of Git LFS, which every hub speaks. The other way, Xet, is a library whose
requests cannot be held to one host; for files of an adapter's size it saves little.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO
from urllib.parse import quote

from hubkit.hub.address import Repository
from hubkit.hub.answers import Actions, AllAccepted, CommitMade, Transfers, parse_answer, said
from hubkit.hub.session import HubSession
from registry.errors import RemoteAnswerError, RemoteError, RemoteUnreachableError
from registry.storage.durable import storage_errors
from registry.storage.files import hash_stream

_AT_ONCE = 250  # files in a question; hubs take 256
_SAMPLE = 512
_PIECE = 3 * 256 * 1024  # base64 goes by threes
_PAUSES = (1.0, 4.0)
_LFS = "application/vnd.git-lfs+json"


@dataclass(frozen=True, slots=True)
class Committed:
    """What a hub made of files.

    Attributes:
        commit: The commit that holds them.
        unseen: The paths of large files whose bytes the hub did not want, as it says it has them.
    """

    commit: str
    unseen: frozenset[str]


@dataclass(frozen=True, slots=True)
class _File:
    """A file that is put into a repository."""

    path: str
    content: Path | bytes
    size: int

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        if isinstance(self.content, bytes):
            with TemporaryFile() as file:
                file.write(self.content)
                file.seek(0)
                yield file
            return
        with storage_errors("read", self.content), self.content.open("rb") as stream:
            yield stream


def commit(
    session: HubSession,
    repository: Repository,
    contents: Mapping[str, Path | bytes],
    removed: Collection[str],
    *,
    branch: str,
    message: str,
    description: str,
    parent: str | None,
) -> Committed:
    """Put files into a branch and remove others, all or nothing.

    Args:
        session: The hub.
        repository: The repository to put them into.
        contents: The files to put, by their paths there.
        removed: Paths of files to remove.
        branch: The branch.
        message: One line.
        description: The text below that line.
        parent: The commit that the branch must be at; None for any.

    Raises:
        RemoteAnswerError: The hub leaves a file out, or names an address that is not for it.
        RemoteError: The hub refuses, or cannot be reached.
        StorageError: A file cannot be read.
    """
    files = []
    for path, content in sorted(contents.items()):
        with storage_errors("read", path):
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
        files.append(_File(path, content, size))
    large = _large_of(session, repository, files, branch)
    oids = {}
    for file in files:
        if file.path in large:
            with file.open() as stream:
                oids[file.path] = hash_stream(stream).sha256
    sent = _upload(
        session, repository, [file for file in files if file.path in large], oids, branch
    )
    header = {"summary": message, "description": description}
    with TemporaryFile() as lines:
        _line(lines, "header", {**header, **({"parentCommit": parent} if parent else {})})
        for file in files:
            if file.path in oids:
                known = {"path": file.path, "algo": "sha256", "oid": oids[file.path]}
                _line(lines, "lfsFile", {**known, "size": file.size})
            else:
                _inline(lines, file)
        for path in sorted(removed):
            _line(lines, "deletedFile", {"path": path})
        size = lines.tell()
        lines.seek(0)
        path = f"/api/models/{repository.name}/commit/{quote(branch, safe='')}"
        answer = session.send_lines(path, lines, size, what=repository.url)
    unseen = frozenset(path for path, oid in oids.items() if oid not in sent)
    return Committed(parse_answer(CommitMade, answer, repository.url).commit, unseen)


def _large_of(
    session: HubSession, repository: Repository, files: list[_File], branch: str
) -> set[str]:
    """The paths of the files that the hub takes by Git LFS; the others go into the commit."""
    large = set()
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        asked = []
        for file in some:
            with file.open() as stream:
                sample = base64.b64encode(stream.read(_SAMPLE)).decode()
            asked.append({"path": file.path, "sample": sample, "size": file.size})
        answer = session.send(
            "POST",
            f"/api/models/{repository.name}/preupload/{quote(branch, safe='')}",
            document={"files": asked},
            what=repository.url,
        )
        accepted = parse_answer(AllAccepted, answer, repository.url).files
        if {one.path for one in accepted} != {file.path for file in some}:
            raise RemoteAnswerError(
                f"{repository.url} was asked about {len(some)} files, and answers about others.",
                repository.url,
            )
        ignored = sorted(one.path for one in accepted if one.ignored)
        if ignored:
            raise RemoteAnswerError(
                f"{repository.url} would leave out {ignored[0]}, as its .gitignore says. Remove "
                "that line there, and run it again.",
                repository.url,
            )
        large |= {one.path for one in accepted if one.mode == "lfs"}
    return large - {file.path for file in files if not file.size}  # LFS has no empty files


def _upload(
    session: HubSession,
    repository: Repository,
    files: list[_File],
    oids: Mapping[str, str],
    branch: str,
) -> set[str]:
    """Send the large files that the hub has not yet, and return their digests."""
    sent = set()
    by_oid = {oids[file.path]: file for file in files}
    wanted = [{"oid": oid, "size": file.size} for oid, file in by_oid.items()]
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        answer = session.send(
            "POST",
            f"/{repository.name}.git/info/lfs/objects/batch",
            document={
                "operation": "upload",
                "transfers": ["basic"],
                "hash_algo": "sha256",
                "objects": some,
                "ref": {"name": branch},
            },
            kind=_LFS,
            what=repository.url,
        )
        objects = parse_answer(Transfers, answer, repository.url).objects
        asked = sorted((str(one["oid"]), one["size"]) for one in some)
        if sorted((one.oid, one.size) for one in objects) != asked:
            raise RemoteAnswerError(
                f"{repository.url} was asked to take {len(some)} large files, and answers about "
                "others.",
                repository.url,
            )
        for one in objects:
            file = by_oid[one.oid]
            if one.error is not None:
                raise RemoteError(
                    f"{repository.url} does not take {file.path}: {said(one.error.message)}.",
                    repository.url,
                )
            if one.actions is not None:
                _put(session, repository, file, one.oid, one.actions)
                sent.add(one.oid)
    return sent


def _put(
    session: HubSession, repository: Repository, file: _File, oid: str, actions: Actions
) -> None:
    """Send the bytes of a large file to where the hub says, which sees no token."""
    if actions.upload is None:
        raise RemoteAnswerError(
            f"{repository.url} does not say where {file.path} goes: expected an action upload.",
            repository.url,
        )
    if "chunk_size" in actions.upload.header:
        raise RemoteAnswerError(
            f"{repository.url} wants {file.path} in parts: expected that it takes the file whole, "
            "as it was asked to.",
            repository.url,
        )
    url = session.elsewhere(actions.upload.href, repository.url, anywhere=True)
    # Asked before the bytes go: the token is for the hub itself.
    verify = actions.verify and session.elsewhere(
        actions.verify.href, repository.url, anywhere=False
    )
    for pause in (*_PAUSES, None):
        try:
            with file.open() as stream:
                pieces = iter(lambda: stream.read(_PIECE), b"")
                session.send_bytes(
                    "PUT", url, pieces, file.size, "", repository.url, with_token=False
                )
            break
        except RemoteUnreachableError:
            if pause is None:
                raise
            time.sleep(pause)
    if verify:
        content = json.dumps({"oid": oid, "size": file.size}).encode()
        session.send_bytes("POST", verify, [content], len(content), _LFS, repository.url)


def _line(lines: BinaryIO, key: str, value: Mapping[str, object]) -> None:
    lines.write(json.dumps({"key": key, "value": value}).encode() + b"\n")


def _inline(lines: BinaryIO, file: _File) -> None:
    """Write a small file as a line; in pieces, as it is the hub that calls it small."""
    start = json.dumps({"path": file.path, "encoding": "base64", "content": ""})[:-2]
    lines.write(b'{"key": "file", "value": ' + start.encode())
    with file.open() as stream:
        while piece := stream.read(_PIECE):
            lines.write(base64.b64encode(piece))
    lines.write(b'"}}\n')
