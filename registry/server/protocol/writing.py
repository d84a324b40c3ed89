"""Writes of a client: it asks how to send each file, and then makes a commit."""

import base64
import hashlib
import io
import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from pathspec import GitIgnoreSpec
from pydantic import Field, TypeAdapter, ValidationError
from starlette.responses import JSONResponse, Response

from registry.errors import ForbiddenError, RequestError
from registry.history.changes import Change, Put, Remove, RemoveFolder
from registry.history.commits import Commit
from registry.history.trees import TreeFile, is_large
from registry.server.admitting import reader_of
from registry.server.asking import Asking, Body, Text, problem_of
from registry.server.errors import header_text
from registry.server.hub import Hub
from registry.server.protocol.lfs import LARGEST, possessed
from registry.storage.blobs import Arrival, read_blob
from registry.storage.files import Digest, FileInfo
from registry.tables.reader import may_read_parents

MOST_LINE_BYTES = 4 * 1024 * 1024
"""Most bytes of a line of a commit: more than a file of 1 MiB in base64."""

MOST_COMMIT_BYTES = 1024 * 1024 * 1024
"""Most bytes of a commit, without the files that came by LFS."""

MOST_CHANGES = 50_000
"""Files that one commit changes."""

_STORED_AT_ONCE = 64
_STORED_BYTES = 4 * 1024 * 1024
_IGNORED_NAME = ".gitignore"
_MOST_IGNORED_BYTES = 64 * 1024


class _Announced(Body):
    path: str
    size: Annotated[int, Field(ge=0, le=LARGEST)]
    sample: Annotated[str, Field(max_length=4096)] = ""


class _Preupload(Body):
    files: Annotated[list[_Announced], Field(max_length=1000)]
    gitIgnore: str | None = None


def preupload(hub: Hub, ask: Asking) -> Response:
    """Return for each file how to send it, and the id of the file at its path."""
    _require_no_pull_request(ask)
    wanted = ask.read(_Preupload)
    commit = hub.history.branch(ask.repository, ask.params["revision"])
    there = {file.path: file for file in hub.history.tree(commit).files}
    ignored = _ignored(hub, wanted.gitIgnore, there.get(_IGNORED_NAME))
    files = [_advised(one, _intact(hub, there.get(one.path)), ignored) for one in wanted.files]
    return JSONResponse({"files": files})


def _intact(hub: Hub, there: TreeFile | None) -> TreeFile | None:
    """Return a file if its bytes are there: clients send lost ones again."""
    if there is None or hub.catalog.blobs.size(there.sha256) != there.size:
        return None
    return there


def _advised(
    one: _Announced, there: TreeFile | None, ignored: GitIgnoreSpec
) -> dict[str, str | bool]:
    large = is_large(one.path, one.size) or (one.size > 0 and _is_binary(one.sample))
    advice: dict[str, str | bool] = {
        "path": one.path,
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": ignored.match_file(one.path),
    }
    # The client leaves out a file with this id.
    if there is not None and large:
        advice["oid"] = there.sha256
    elif there is not None and not there.large:
        advice["oid"] = there.oid
    return advice


def _is_binary(sample: str) -> bool:
    try:
        return b"\0" in base64.b64decode(sample)
    except ValueError as error:
        raise RequestError("A sample is not base64.") from error


def _ignored(hub: Hub, sent: str | None, there: TreeFile | None) -> GitIgnoreSpec:
    text = sent or ""
    if sent is None and there is not None and there.size <= _MOST_IGNORED_BYTES:
        content = read_blob(hub.catalog.blobs, there.sha256, most=_MOST_IGNORED_BYTES)
        text = content.decode(errors="replace")
    lines = text[:_MOST_IGNORED_BYTES].splitlines()
    return GitIgnoreSpec.from_lines(filter(_is_pattern, lines))


def _is_pattern(line: str) -> bool:
    """Whether a line can be matched, and quickly; git, too, passes over what is malformed."""
    try:
        return _is_quick(line) and bool(GitIgnoreSpec.from_lines([line]))
    except (ValueError, re.error):
        return False


def _is_quick(line: str) -> bool:
    """Whether a pattern is quick to match: many stars in a name can take very long."""
    return all(part.count("*") <= 4 for part in line.split("/")) and line.count("**") <= 4


def _require_no_pull_request(ask: Asking) -> None:
    if ask.flag("create_pr"):
        raise ForbiddenError("Discussions are disabled on this hub: commit to a branch.")


class _Header(Body):
    summary: Annotated[Text, Field(max_length=65_536)] = ""
    description: Annotated[Text, Field(max_length=1_048_576)] = ""
    parentCommit: str | None = None


class _File(Body):
    path: str
    content: str
    encoding: Literal["base64", "utf-8"] = "base64"


class _LargeFile(Body):
    path: str
    algo: Literal["sha256"] = "sha256"
    oid: Digest
    size: Annotated[int, Field(ge=0, le=LARGEST)] | None = None


class _Path(Body):
    path: str


class _HeaderLine(Body):
    key: Literal["header"]
    value: _Header


class _FileLine(Body):
    key: Literal["file"]
    value: _File


class _LargeFileLine(Body):
    key: Literal["lfsFile"]
    value: _LargeFile


class _RemovalLine(Body):
    key: Literal["deletedFile", "deletedFolder"]
    value: _Path


_LINE: TypeAdapter[_HeaderLine | _FileLine | _LargeFileLine | _RemovalLine] = TypeAdapter(
    Annotated[_HeaderLine | _FileLine | _LargeFileLine | _RemovalLine, Field(discriminator="key")]
)


def commit(hub: Hub, ask: Asking) -> Response:
    """Make a commit: all of it, or nothing."""
    _require_no_pull_request(ask)
    header, changes = _read(hub, ask)
    made = hub.committer.commit(
        ask.repository,
        ask.params["revision"],
        changes,
        title=header.summary,
        description=header.description,
        parent=header.parentCommit,
        actor=ask.actor,
        readable=partial(may_read_parents, reader_of(ask.caller)),
    )
    hub.conversions.add(ask.repository, made)
    return JSONResponse(
        {
            "success": True,
            "commitOid": made.oid,
            "commitUrl": f"{ask.base}/{ask.repository.place}/commit/{made.oid}",
            "hookOutput": "",
        },
        headers=_warning(made),
    )


def _warning(made: Commit) -> dict[str, str]:
    if made.version is not None or not made.reason:
        return {}
    text = header_text(f"The commit is stored, but makes no version: {made.reason}")
    # Clients show a topic once.
    topic = hashlib.sha256(made.reason.encode()).hexdigest()[:12]
    return {"X-HF-Warning": f"no-version-{topic}; {text}"}


def _read(hub: Hub, ask: Asking) -> tuple[_Header, list[Change]]:
    """Return the header and the changes of a commit; the small files in it are stored already."""
    header: _Header | None = None
    changes: list[Change] = []
    large: dict[int, _LargeFile] = {}
    waiting: list[bytes] = []
    for line in ask.lines(MOST_LINE_BYTES):
        try:
            one = _LINE.validate_json(line)
        except ValidationError as error:
            raise RequestError(f"A line is not part of a commit: {problem_of(error)}.") from error
        if header is None:
            if not isinstance(one, _HeaderLine):
                raise RequestError("The first line of a commit is its header.")
            header = one.value
        elif isinstance(one, _HeaderLine):
            raise RequestError("A commit has one header.")
        elif isinstance(one, _FileLine):
            content = _content(one.value)
            waiting.append(content)
            changes.append(Put(TreeFile.small(one.value.path, content)))
        elif isinstance(one, _LargeFileLine):
            large[len(changes)] = one.value
            changes.append(Remove(one.value.path))  # a placeholder, until its size is known
        else:
            path = one.value.path.rstrip("/")
            if not path:  # an empty path would mean all files
                raise RequestError("A commit that deletes a folder names it.")
            is_file = one.key == "deletedFile"
            changes.append(Remove(one.value.path) if is_file else RemoveFolder(path))
        if len(changes) > MOST_CHANGES:
            raise RequestError(f"A commit changes more than {MOST_CHANGES} files.")
        if len(waiting) >= _STORED_AT_ONCE or sum(map(len, waiting)) > _STORED_BYTES:
            _store(hub, waiting)
            waiting.clear()
    if header is None:
        raise RequestError("A commit has a header.")
    _store(hub, waiting)
    infos = _infos(hub, ask, list(large.values()))
    for place, one_file in large.items():
        changes[place] = Put(TreeFile.pointed(one_file.path, infos[one_file.oid]))
    return header, changes


def _content(file: _File) -> bytes:
    if file.encoding == "utf-8":
        return file.content.encode()
    try:
        return base64.b64decode(file.content, validate=True)
    except ValueError as error:
        raise RequestError(f"The content of {file.path[:200]!r} is not base64.") from error


def _store(hub: Hub, contents: Sequence[bytes]) -> None:
    """Store small files; until the commit is made, nothing refers to them."""
    hub.catalog.blobs.put_all(
        Arrival(
            partial(io.BytesIO, content),
            FileInfo.of(content),
            "a file of a commit",
        )
        for content in contents
    )


def _infos(hub: Hub, ask: Asking, files: Sequence[_LargeFile]) -> dict[str, FileInfo]:
    """Return the digests and sizes of the large files of a commit.

    To know a digest is not enough: the account must have sent the bytes, or may read them.

    Raises:
        RequestError: It has not, or a size is wrong.
    """
    there = possessed(hub, ask, {file.oid for file in files})
    infos: dict[str, FileInfo] = {}
    for file in files:
        size = there.get(file.oid)
        if size is None:
            raise RequestError(
                f"The bytes of {file.path[:200]!r} have not come: send them by LFS before the "
                "commit, at most a day before it."
            )
        if file.size not in (None, size):
            raise RequestError(
                f"{file.path[:200]!r} has {size} bytes, not {file.size} as the commit says."
            )
        infos[file.oid] = FileInfo(sha256=file.oid, size=size)
    return infos
