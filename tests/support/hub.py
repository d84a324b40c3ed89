"""A small hub on loopback: what publishing, pulling and searching ask of the Hugging Face protocol.

It keeps everything in memory, takes uploads as "regular" (whole, in the commit), and can be told to
misbehave. `serve()` runs one for a test.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Files = dict[str, bytes]


@dataclass
class Repo:
    """A repository: its commits' files by id, and what its branches and tags point to."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)

    def resolve(self, revision: str) -> str | None:
        found = self.branches.get(revision) or self.tags.get(revision)
        return found or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> Files:
        commit = self.resolve(revision)
        assert commit is not None
        return self.commits[commit]

    def commit(self, branch: str, files: Files, summary: str) -> str:
        parent = self.branches.get(branch, "")
        stamp = json.dumps([parent, summary, len(self.commits), sorted(files)]).encode()
        oid = hashlib.sha1(stamp).hexdigest()
        self.commits[oid] = dict(files)
        self.branches[branch] = oid
        return oid


class Hub:
    """The state of the server, and how it is to misbehave.

    Attributes:
        url: Where it listens.
        repos: By ``owner/name``.
        tokens: By token: whose it is, and whether it may write.
        requests: Method and path of all that was asked, the token's owner in front.
        moved: Names that were given up, and what they became.
        corrupt: Paths that are sent with other bytes of the same length.
        cut: Paths whose answers stop in the middle, and how often still.
        refuse: Part of a path, and the status that requests for it get.
        before: Called with each request's method and path, before it is answered.
    """

    def __init__(self) -> None:
        self.url = ""
        self.repos: dict[str, Repo] = {}
        self.tokens = {"ada-writes": ("ada", True), "ada-reads": ("ada", False)}
        self.tokens |= {"bob-writes": ("bob", True)}
        self.requests: list[tuple[str | None, str, str]] = []
        self.moved: dict[str, str] = {}
        self.corrupt: set[str] = set()
        self.cut: dict[str, int] = {}
        self.refuse: dict[str, int] = {}
        self.before: Any = None

    def create(self, name: str, files: Files | None = None, **settings: Any) -> Repo:
        repo = self.repos[name] = Repo(**settings)
        repo.commit("main", {".gitattributes": b"* text\n"}, "initial commit")
        if files:
            repo.commit("main", repo.files() | files, "upload")
        return repo

    def app(self) -> Starlette:
        methods = ["GET", "HEAD", "POST", "PUT", "DELETE"]
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode().partition("?")[0]
        parts = [unquote(part) for part in path.strip("/").split("/")]
        authorization = request.headers.get("authorization", "")
        token = authorization.removeprefix("Bearer ") or None
        user, writes = self.tokens.get(token or "", (None, False))
        self.requests.append((user, request.method, path))
        if self.before is not None:
            self.before(request.method, path)
        if token and user is None:
            return error(401, "Invalid credentials in Authorization header")
        for part, status in self.refuse.items():
            if part in path:
                return error(status, f"told to answer {status}")
        body = await request.body()
        match (request.method, *parts):
            case ("GET", "api", "whoami-v2"):
                return self._whoami(user, writes)
            case ("POST", "api", "validate-yaml"):
                return JSONResponse({"errors": [], "warnings": []})
            case ("POST", "api", "repos", "create"):
                return self._create(user, writes, json.loads(body))
            case ("GET", "api", "models"):
                return self._list(user, request)
            case (_, "api", "models", owner, name, *rest):
                return self._api(request, f"{owner}/{name}", rest, body, user, writes)
            case ("GET" | "HEAD", owner, name, "resolve", revision, *file) if file:
                return self._resolve(request, f"{owner}/{name}", revision, "/".join(file), user)
        return error(404, f"no route {request.method} {path}")

    def _whoami(self, user: str | None, writes: bool) -> Response:
        if user is None:
            return error(401, "Invalid username or password.")
        access = {"displayName": "test", "role": "write" if writes else "read"}
        auth = {"type": "access_token", "accessToken": access}
        return JSONResponse(
            {"type": "user", "name": user, "fullname": user, "orgs": [], "auth": auth}
        )

    def _create(self, user: str | None, writes: bool, wanted: dict[str, Any]) -> Response:
        owner = wanted.get("organization") or user
        if refusal := self._refuse_write(owner or "", user, writes):
            return refusal
        name = f"{owner}/{wanted['name']}"
        if name in self.repos:
            return JSONResponse({"error": "exists", "url": f"{self.url}/{name}"}, 409)
        self.create(
            name, private=wanted.get("visibility") == "private" or bool(wanted.get("private"))
        )
        return JSONResponse({"url": f"{self.url}/{name}"})

    def _list(self, user: str | None, request: Request) -> Response:
        query = request.query_params
        found = []
        for name, repo in self.repos.items():
            info = self._info(name, repo, repo.branches["main"])
            wanted = set(query.getlist("filter"))
            if repo.private and user != name.partition("/")[0]:
                continue
            if wanted - set(info["tags"]) or query.get("search", "") not in name:
                continue
            if query.get("author") not in (None, name.partition("/")[0]):
                continue
            found.append(info)
        return JSONResponse(found[: int(query.get("limit", 1000))])

    def _info(self, name: str, repo: Repo, commit: str) -> dict[str, Any]:
        files = repo.commits[commit]
        _, _, rest = files.get("README.md", b"").decode("utf-8", "replace").partition("---\n")
        card = yaml.safe_load(rest.partition("\n---")[0]) or {} if rest else {}
        tags = [*card.get("tags", [])]
        for key in ("library_name", "pipeline_tag"):
            tags += [card[key]] if card.get(key) else []
        if base := card.get("base_model"):
            tags += [f"base_model:{base}", f"base_model:adapter:{base}"]
        return {
            "id": name,
            "sha": commit,
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "tags": tags,
            "pipeline_tag": card.get("pipeline_tag"),
            "library_name": card.get("library_name"),
            "cardData": json.loads(json.dumps(card, default=str)),
            "siblings": [{"rfilename": path} for path in sorted(files)],
            "downloads": 7,
            "likes": 1,
            "lastModified": "2026-11-01T12:00:00.000Z",
            "createdAt": "2026-11-01T12:00:00.000Z",
        }

    def _refuse_write(self, owner: str, user: str | None, writes: bool) -> Response | None:
        if user is None:
            return error(401, "Invalid username or password.")
        if not writes or owner != user:
            return error(403, f"You don't have the rights to write to {owner}")
        return None

    def _refuse_read(self, name: str, user: str | None, content: bool) -> Response | None:
        repo, owner = self.repos.get(name), name.partition("/")[0]
        if repo is None or (repo.private and user != owner):
            return error(404 if user else 401, "Repository not found", "RepoNotFound")
        if content and repo.gated and user != owner:
            return error(403 if user else 401, "Access is restricted", "GatedRepo")
        return None

    def _api(
        self,
        request: Request,
        name: str,
        rest: list[str],
        body: bytes,
        user: str | None,
        writes: bool,
    ) -> Response:
        if name in self.moved:
            target = request.url.path.replace(name, self.moved[name])
            return Response(status_code=307, headers={"location": target})
        reading = request.method == "GET" or rest[:1] in (["preupload"], ["paths-info"])
        if refusal := self._refuse_read(name, user, False):
            return refusal
        if not reading and (refusal := self._refuse_write(name.partition("/")[0], user, writes)):
            return refusal
        repo = self.repos[name]
        match (request.method, *rest):
            case ("GET", "refs"):
                return JSONResponse(
                    {
                        "branches": refs("heads", repo.branches),
                        "tags": refs("tags", repo.tags),
                        "converts": [],
                    }
                )
            case ("POST", "tag", revision):
                tag = json.loads(body)["tag"]
                if tag in repo.tags:
                    return error(409, "Tag exists already")
                if (commit := repo.resolve(revision)) is None:
                    return error(404, "Revision not found", "RevisionNotFound")
                repo.tags[tag] = commit
                return JSONResponse({})
            case ("POST", "branch", branch):
                if branch in repo.branches:
                    return error(409, "Branch exists already")
                repo.branches[branch] = repo.branches["main"]
                return JSONResponse({})
            case ("DELETE", "branch", branch):
                del repo.branches[branch]
                return JSONResponse({})
            case ("GET", *path) if path[:1] in ([], ["revision"], ["tree"]):
                commit = repo.resolve(path[1] if len(path) > 1 else "main")
                if commit is None:
                    return error(404, "Revision not found", "RevisionNotFound")
                if path[:1] != ["tree"]:
                    return JSONResponse(self._info(name, repo, commit))
                return JSONResponse(
                    [entry(path, content, repo) for path, content in repo.commits[commit].items()]
                )
            case ("POST", "preupload", revision):
                there = repo.files(revision)
                return JSONResponse(
                    {
                        "files": [
                            {
                                "path": file["path"],
                                "uploadMode": "regular",
                                "shouldIgnore": False,
                                "oid": git_sha1(there[file["path"]])
                                if file["path"] in there
                                else None,
                            }
                            for file in json.loads(body)["files"]
                        ]
                    }
                )
            case ("POST", "commit", branch):
                return self._commit(name, repo, branch, body)
        return error(404, f"no route {request.method} {'/'.join(rest)}")

    def _commit(self, name: str, repo: Repo, branch: str, body: bytes) -> Response:
        lines = [json.loads(line) for line in body.split(b"\n") if line]
        header = lines[0]["value"]
        parent = header.get("parentCommit")
        if parent and parent != repo.branches[branch]:
            return error(412, "A commit has happened since")
        files = dict(repo.files(branch))
        for line in lines[1:]:
            path = line["value"]["path"]
            if line["key"] == "file":
                files[path] = base64.b64decode(line["value"]["content"])
            else:
                del files[path]
        oid = repo.commit(branch, files, header["summary"])
        url = f"{self.url}/{name}/commit/{oid}"
        return JSONResponse({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def _resolve(
        self, request: Request, name: str, revision: str, path: str, user: str | None
    ) -> Response:
        if refusal := self._refuse_read(name, user, True):
            return refusal
        repo = self.repos[name]
        commit = repo.resolve(revision)
        if commit is None:
            return error(404, "Revision not found", "RevisionNotFound")
        content = repo.commits[commit].get(path)
        headers = {"x-repo-commit": commit, "accept-ranges": "bytes"}
        if content is None:
            return error(404, f"{path} not found", "EntryNotFound", headers)
        headers["etag"] = f'"{etag(path, content, repo)}"'
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if path in self.corrupt:
            content = bytes(255 - byte for byte in content)
        sent = content[start:]
        headers["content-length"] = str(len(sent))
        if start:
            headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if request.method == "GET" and self.cut.get(path):
            self.cut[path] -= 1
            return StreamingResponse(broken(sent), 206 if start else 200, headers)
        return Response(b"" if request.method == "HEAD" else sent, 206 if start else 200, headers)


async def broken(content: bytes) -> Any:
    """Half of the bytes that were announced."""
    yield content[: len(content) // 2]
    raise ConnectionAbortedError("told to stop half-way")


def error(
    status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    named = {"x-error-message": message, **(headers or {})}
    if code:
        named["x-error-code"] = code
    return JSONResponse({"error": message}, status, named)


def refs(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
        for name, commit in names.items()
    ]


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def etag(path: str, content: bytes, repo: Repo) -> str:
    return hashlib.sha256(content).hexdigest() if path in repo.lfs else git_sha1(content)


def entry(path: str, content: bytes, repo: Repo) -> dict[str, Any]:
    found = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
    if path in repo.lfs:
        digest = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
    return found


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a hub on a free port of 127.0.0.1."""
    hub = Hub()
    config = uvicorn.Config(
        hub.app(), host="127.0.0.1", port=0, log_level="critical", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    started = datetime.now(UTC)
    while not server.started:
        assert (datetime.now(UTC) - started).total_seconds() < 30
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    hub.url = f"http://127.0.0.1:{port}"
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(timeout=10)
