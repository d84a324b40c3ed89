"""The files of a repository, whole or in ranges."""

from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import ASGIApp

from registry.errors import EntryNotFoundError
from registry.history.commits import Commit
from registry.history.trees import TreeFile
from registry.server.asking import Asking
from registry.server.errors import header_text, refuse
from registry.server.hub import Hub
from registry.server.memory import Again
from registry.server.serving import raw

PICTURES = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""Endings of the files that pages show as pictures: browsers do not guess their types. Unlike an
SVG, they contain nothing that can run."""


def head_file(hub: Hub, ask: Asking) -> Again:
    """Describe a file."""
    commit, file = _found(hub, ask)
    if file is None:
        return _missing(commit, ask.params["path"])
    return _same(Response(headers={**_described(commit, file), "Content-Length": str(file.size)}))


def get_file(hub: Hub, ask: Asking) -> ASGIApp | Again:
    """Send a file, or a range of it."""
    commit, file = _found(hub, ask)
    if file is None:
        return _missing(commit, ask.params["path"])
    return send_file(hub, ask, commit, file)


def send_file(hub: Hub, ask: Asking, commit: Commit, file: TreeFile) -> ASGIApp | Again:
    """Return what sends a file of a commit, or the range of it that is asked for."""
    headers, info, id = _described(commit, file), file.info, ask.repository.id
    if headers["ETag"] in ask.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={key: headers[key] for key in _UNCHANGED})
    asked = ask.headers.get("range")
    if ask.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        asked = None  # the client has a part of other bytes
    if not asked:
        whole = raw({**headers, "Content-Length": str(file.size)})

        def make() -> ASGIApp | None:
            answer = hub.downloads.answer_at_once(info, whole)
            if answer is not None and file.large:
                hub.counts.download(id)
            return answer

        at_once = make()
        if at_once is not None:
            return Again(at_once, make)
    ask.require_thread()
    label = f"{ask.repository.full_name}: {file.path}"
    answer = hub.downloads.answer(info, headers, asked=asked, label=label)
    if file.large and (not asked or asked.startswith("bytes=0-")):
        hub.counts.download(id)
    return answer


def _same(answer: Response) -> Again:
    return Again(answer, lambda: answer)


def _found(hub: Hub, ask: Asking) -> tuple[Commit, TreeFile | None]:
    """Return the commit and the file that the path names."""
    id, revision, path = ask.repository.id, ask.params["revision"], ask.params["path"]

    def find() -> tuple[Commit, TreeFile | None]:
        commit = hub.history.resolve(ask.repository, revision)
        try:
            return commit, hub.history.file(commit, path)
        except EntryNotFoundError:
            return commit, None

    return ask.recall(("file", id, revision, path), find)


_BYTES = "application/octet-stream"
_UNCHANGED = ("ETag", "X-Repo-Commit", "Cache-Control")


def _missing(commit: Commit, path: str) -> Again:
    # The client remembers for this commit that there is no such file.
    message = f"The commit {commit.oid} has no file {path!r}."
    return _same(refuse(404, message, "EntryNotFound", {"X-Repo-Commit": commit.oid}))


def _described(commit: Commit, file: TreeFile) -> dict[str, str]:
    etag = f'"{file.sha256 if file.large else file.oid}"'
    name = file.path.rpartition("/")[2]
    plain = header_text(name).replace("\\", "_").replace('"', "_")
    headers = {
        "X-Repo-Commit": commit.oid,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Type": PICTURES.get(PurePosixPath(name).suffix.lower(), _BYTES),
        # A browser must not show it as a page of the hub.
        "Content-Disposition": (
            f"attachment; filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\";"
        ),
        "Cache-Control": "no-cache",
    }
    if file.large:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(file.size)}
    return headers
