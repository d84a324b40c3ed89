"""A small hub on loopback: what publishing, pulling and searching ask of the Hugging Face protocol.

It keeps everything in memory, takes text in the commit and all else by Git LFS, and can be told to
misbehave. `tests.support.serving` runs one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.repos import Files, Repo, git_sha1


class Hub:
    """The state of the server, and how it is to misbehave.

    Attributes:
        url: Where it listens.
        repos: By ``owner/name``.
        tokens: By token: whose it is, and whether it may write.
        requests: Method and path of all that was asked, the token's owner in front.
        bodies: What was sent along, with method and path.
        objects: The bytes of large files, by SHA-256.
        ranges: Where downloads that did not start at the first byte started, by path.
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
        self.bodies: list[tuple[str, str, bytes]] = []
        self.objects: dict[str, bytes] = {}
        self.ranges: dict[str, list[int]] = {}
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
        if body:
            self.bodies.append((request.method, path, body))
        match (request.method, *parts):
            case ("PUT", "lfs", oid):
                return self._put_object(request, oid, body)
            case ("POST", owner, name, "info", "lfs", "objects", what) if name.endswith(".git"):
                where = f"{owner}/{name.removesuffix('.git')}"
                return self._large(where, what, json.loads(body), user, writes)
            case ("GET", "api", "whoami-v2"):
                return self._whoami(user, writes)
            case ("POST", "api", "validate-yaml"):
                return JSONResponse({"errors": [], "warnings": []})
            case ("POST", "api", "repos", "create"):
                return self._create(user, writes, json.loads(body))
            case ("DELETE", "api", "repos", "delete"):
                return self._delete(user, writes, json.loads(body))
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

    def _delete(self, user: str | None, writes: bool, wanted: dict[str, Any]) -> Response:
        owner = wanted.get("organization") or user or ""
        if refusal := self._refuse_write(owner, user, writes):
            return refusal
        if self.repos.pop(f"{owner}/{wanted['name']}", None) is None:
            return error(404, "Repository not found", "RepoNotFound")
        return JSONResponse({})

    def _list(self, user: str | None, request: Request) -> Response:
        query = request.query_params
        found = []
        for name, repo in self.repos.items():
            info = repo.info(name, repo.branches["main"])
            wanted = set(query.getlist("filter"))
            if repo.private and user != name.partition("/")[0]:
                continue
            if wanted - set(info["tags"]) or query.get("search", "") not in name:
                continue
            if query.get("author") not in (None, name.partition("/")[0]):
                continue
            found.append(info)
        return JSONResponse(found[: int(query.get("limit", 1000))])

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
            case ("GET", "auth-check", "write"):
                return self._refuse_write(name.partition("/")[0], user, writes) or JSONResponse({})
            case ("GET", "refs"):
                return JSONResponse(repo.refs())
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
                    return JSONResponse(repo.info(name, commit))
                return JSONResponse(
                    [repo.entry(path, content) for path, content in repo.commits[commit].items()]
                )
            case ("POST", "preupload", revision):
                there = repo.files(revision)
                return JSONResponse(
                    {"files": [_preuploaded(file, there) for file in json.loads(body)["files"]]}
                )
            case ("POST", "commit", branch):
                return self._commit(name, repo, branch, body)
        return error(404, f"no route {request.method} {'/'.join(rest)}")

    def _large(
        self, name: str, what: str, wanted: dict[str, Any], user: str | None, writes: bool
    ) -> Response:
        """Git LFS: where the bytes of large files go, and whether they have come."""
        if refusal := self._refuse_read(name, user, False):
            return refusal
        if refusal := self._refuse_write(name.partition("/")[0], user, writes):
            return refusal
        if what == "verify":
            there = self.objects.get(wanted["oid"])
            if there is None or len(there) != wanted["size"]:
                return error(404, "There is no such object")
            return JSONResponse({})
        # Object storage is another host.
        storage = self.url.replace("127.0.0.1", "localhost")
        objects: list[dict[str, Any]] = []
        for one in wanted["objects"]:
            actions = {
                "upload": {"href": f"{storage}/lfs/{one['oid']}?size={one['size']}", "header": {}},
                "verify": {"href": f"{self.url}/{name}.git/info/lfs/objects/verify"},
            }
            objects.append(one | ({} if one["oid"] in self.objects else {"actions": actions}))
        return JSONResponse({"transfer": "basic", "objects": objects})

    def _put_object(self, request: Request, oid: str, body: bytes) -> Response:
        if "authorization" in request.headers or "content-type" in request.headers:
            return error(400, "Storage takes what was signed, and nothing beside it")
        if hashlib.sha256(body).hexdigest() != oid:
            return error(400, "These are not the bytes of this object")
        if len(body) != int(request.query_params["size"]):
            return error(400, "This is not the size of this object")
        self.objects[oid] = body
        return Response()

    def _commit(self, name: str, repo: Repo, branch: str, body: bytes) -> Response:
        lines = [json.loads(line) for line in body.split(b"\n") if line]
        header = lines[0]["value"]
        parent = header.get("parentCommit")
        if parent and parent != repo.branches[branch]:
            return error(412, "A commit has happened since")
        files = dict(repo.files(branch))
        large = set(repo.lfs)
        for line in lines[1:]:
            path = line["value"]["path"]
            large.discard(path)
            if line["key"] == "file":
                files[path] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                content = self.objects.get(line["value"]["oid"])
                if content is None or len(content) != line["value"]["size"]:
                    return error(400, f"The bytes of {path} were not uploaded")
                files[path] = content
                large.add(path)
            else:
                del files[path]
        repo.lfs = large
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
        headers["etag"] = f'"{repo.etag(path, content)}"'
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if path in self.corrupt:
            content = bytes(255 - byte for byte in content)
        sent = content[start:]
        headers["content-length"] = str(len(sent))
        if start:
            self.ranges.setdefault(path, []).append(start)
            headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if request.method == "GET" and self.cut.get(path):
            self.cut[path] -= 1
            return StreamingResponse(broken(sent), 206 if start else 200, headers)
        return Response(b"" if request.method == "HEAD" else sent, 206 if start else 200, headers)


def _preuploaded(file: dict[str, Any], there: Files) -> dict[str, Any]:
    """How a file is taken, and the id of what is there under its path."""
    sample = base64.b64decode(file["sample"])
    large = b"\0" in sample or file["size"] > 10_000_000
    content = there.get(file["path"])
    return {
        "path": file["path"],
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": False,
        "oid": content and (hashlib.sha256(content).hexdigest() if large else git_sha1(content)),
    }


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
