"""The content of a repository: its files, its commits and its card."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from registry.errors import EntryNotFoundError
from registry.history.commits import Commit
from registry.history.git import folder_ids
from registry.history.names import MAIN
from registry.history.trees import TreeFile
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.protocol.describing import describe, large, timestamp

TREE_PAGE = 1000
"""Files and folders of a page, unless the client wants fewer."""

COMMIT_PAGE = 50
"""Commits of a page, unless the client wants another number."""

MOST_OF_A_PAGE = 1000
"""The most that a client can ask for at once."""


def info(hub: Hub, ask: Asking) -> Response:
    """Describe a repository at a revision, at `main` if the path names none."""
    commit = hub.history.resolve(ask.repository, ask.params.get("revision", MAIN))
    return JSONResponse(
        describe(hub, ask.repository, commit, blobs=ask.flag("blobs"), only=ask.values("expand"))
    )


def tree(hub: Hub, ask: Asking) -> Response:
    """List a folder, with or without its subfolders."""
    commit = hub.history.resolve(ask.repository, ask.params["revision"])
    files = hub.history.tree(commit).files
    folder = ask.params.get("path", "").strip("/")
    entries = _entries(files, folder, recursive=ask.flag("recursive"))
    if folder and not entries:
        raise EntryNotFoundError(f"There is no folder {folder!r} at this revision.", folder)
    after = ask.value("cursor")
    if after is not None:
        entries = [entry for entry in entries if entry["path"] > after]
    limit = ask.number("limit", default=TREE_PAGE, most=MOST_OF_A_PAGE)
    page, more = entries[:limit], entries[limit:]
    headers = ask.next_page(cursor=page[-1]["path"]) if more else {}
    if ask.flag("expand"):
        _add_last_commits(hub, commit, page)
    return JSONResponse(page, headers=headers)


def paths(hub: Hub, ask: Asking) -> Response:
    """Describe files and folders; missing ones are left out."""
    fields = ask.form()
    commit = hub.history.resolve(ask.repository, ask.params["revision"])
    wanted = {value.strip("/") for key, value in fields if key in ("paths", "paths[]")}
    entries = _entries(hub.history.tree(commit).files, "", recursive=True)
    found = [entry for entry in entries if entry["path"] in wanted]
    if any(key == "expand" and value.lower() == "true" for key, value in fields):
        _add_last_commits(hub, commit, found)
    return JSONResponse(found)


def commits(hub: Hub, ask: Asking) -> Response:
    """List the commits that lead to a revision, the newest first."""
    start = hub.history.resolve(ask.repository, ask.params["revision"])
    limit = ask.number("limit", default=COMMIT_PAGE, most=MOST_OF_A_PAGE)
    after = ask.value("cursor")
    if after is not None:
        start = hub.history.resolve(ask.repository, after)
    found = hub.history.commits(start, limit + 1)
    page, more = found[:limit], found[limit:]
    headers = ask.next_page(cursor=more[0].oid) if more else {}
    return JSONResponse(
        [_commit(one, "formatted" in ask.values("expand")) for one in page], headers=headers
    )


def large_files(hub: Hub, ask: Asking) -> Response:
    """List the large files of the last commit of each branch."""
    found: dict[str, dict[str, Any]] = {}
    for branch in hub.history.branches(ask.repository):
        # By its id, since the tag of a version may have its name.
        commit = hub.history.resolve(ask.repository, branch.oid)
        for file in hub.history.tree(commit).files:
            if file.large:
                found.setdefault(
                    file.sha256,
                    {
                        "fileOid": file.sha256,
                        "oid": file.sha256,
                        "filename": file.path,
                        "size": file.size,
                        "ref": f"refs/heads/{branch.name}",
                        "pushedAt": timestamp(commit.created_at),
                    },
                )
    return JSONResponse([*found.values()])


def _commit(one: Commit, formatted: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": one.oid,
        "title": one.title,
        "message": one.description,
        "authors": [{"user": one.author, "avatar": ""}],
        "date": timestamp(one.created_at),
    }
    # Clients show these as HTML.
    if formatted:
        from html import escape

        described["formatted"] = {"title": escape(one.title), "message": escape(one.description)}
    return described


def _entries(files: Sequence[TreeFile], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """Return the files and folders in a folder, by path."""
    start = f"{folder}/" if folder else ""
    ids: Mapping[str, str] = folder_ids((file.path, file.oid) for file in files)
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        if not file.path.startswith(start):
            continue
        for outer in _folders_between(start, file.path):
            if recursive or "/" not in outer[len(start) :]:
                entry = {"type": "directory", "oid": ids[outer], "size": 0, "path": outer}
                found.setdefault(outer, entry)
        if recursive or "/" not in file.path[len(start) :]:
            found[file.path] = file_entry(file)
    return [found[path] for path in sorted(found)]


def _folders_between(start: str, path: str) -> Iterator[str]:
    end = path.find("/", len(start))
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def file_entry(file: TreeFile) -> dict[str, Any]:
    """Describe a file in a listing."""
    entry: dict[str, Any] = {
        "type": "file",
        "oid": file.oid,
        "size": file.size,
        "path": file.path,
    }
    if file.large:
        entry["lfs"] = large(file)
    return entry


def _add_last_commits(hub: Hub, commit: Commit, entries: Sequence[dict[str, Any]]) -> None:
    """Add to each entry the last commit that changed it."""
    changes = hub.history.last_changes(commit, [entry["path"] for entry in entries])
    for entry in entries:
        last = changes[entry["path"]]
        date = timestamp(last.created_at)
        entry["lastCommit"] = {"id": last.oid, "title": last.title, "date": date}
        entry["securityFileStatus"] = None
