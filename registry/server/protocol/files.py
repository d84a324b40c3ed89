"""The files of a repository, whole or in ranges."""

from urllib.parse import quote

from starlette.responses import Response
from starlette.types import ASGIApp

from registry.errors import EntryNotFoundError
from registry.history.commits import Commit
from registry.history.trees import TreeFile
from registry.server.asking import Asking
from registry.server.errors import header_text, refuse
from registry.server.hub import Hub


def head_file(hub: Hub, ask: Asking) -> ASGIApp:
    """Describe a file."""
    commit = hub.history.resolve(ask.repository, ask.params["revision"])
    try:
        file = hub.history.file(commit, ask.params["path"])
    except EntryNotFoundError as error:
        return _missing(commit, error)
    return Response(headers={**_described(commit, file), "Content-Length": str(file.size)})


def get_file(hub: Hub, ask: Asking) -> ASGIApp:
    """Send a file, or a range of it."""
    commit = hub.history.resolve(ask.repository, ask.params["revision"])
    try:
        file = hub.history.file(commit, ask.params["path"])
    except EntryNotFoundError as error:
        return _missing(commit, error)
    headers = _described(commit, file)
    if headers["ETag"] in ask.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={key: headers[key] for key in _UNCHANGED})
    asked = ask.headers.get("range")
    if file.large and (asked is None or asked.startswith("bytes=0-")):
        hub.counts.download(ask.repository.id)
    label = f"{ask.repository.full_name}: {file.path}"
    return hub.downloads.answer(file.info, headers, asked=asked, label=label)


_UNCHANGED = ("ETag", "X-Repo-Commit", "Cache-Control")


def _missing(commit: Commit, error: EntryNotFoundError) -> Response:
    # The client remembers by the commit that there is no such file.
    return refuse(404, str(error), "EntryNotFound", {"X-Repo-Commit": commit.oid})


def _described(commit: Commit, file: TreeFile) -> dict[str, str]:
    etag = f'"{file.sha256 if file.large else file.oid}"'
    name = file.path.rpartition("/")[2]
    plain = header_text(name).replace("\\", "_").replace('"', "_")
    headers = {
        "X-Repo-Commit": commit.oid,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        # Never shown in a browser as a page of the hub.
        "Content-Disposition": (
            f"attachment; filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\";"
        ),
        "Cache-Control": "no-cache",
    }
    if file.large:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(file.size)}
    return headers
