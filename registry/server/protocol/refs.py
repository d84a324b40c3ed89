"""Branches and tags, and the squash of a branch."""

from starlette.responses import JSONResponse, Response

from registry.history.names import MAIN
from registry.server.asking import Asking, Body, Text
from registry.server.hub import Hub


def list_refs(hub: Hub, ask: Asking) -> Response:
    """List the branches and tags."""
    found: dict[str, list[dict[str, str]]] = {
        "branches": [
            {"name": one.name, "ref": f"refs/heads/{one.name}", "targetCommit": one.oid}
            for one in hub.history.branches(ask.repository)
        ],
        "tags": [
            {"name": one.name, "ref": f"refs/tags/{one.name}", "targetCommit": one.oid}
            for one in hub.history.tags(ask.repository)
        ],
        "converts": [],
    }
    if ask.flag("include_prs"):
        found["pullRequests"] = []
    return JSONResponse(found)


class _Branch(Body):
    startingPoint: str | None = None


def create_branch(hub: Hub, ask: Asking) -> Response:
    """Make a branch, at `main` or at the revision in the body."""
    at = hub.history.resolve(ask.repository, ask.read(_Branch).startingPoint or MAIN)
    hub.history.create_branch(ask.repository, ask.params["branch"], at, ask.actor)
    return JSONResponse({})


def delete_branch(hub: Hub, ask: Asking) -> Response:
    """Remove a branch."""
    hub.history.delete_branch(ask.repository, ask.params["branch"], ask.actor)
    return JSONResponse({})


class _Tag(Body):
    tag: str
    message: Text | None = None


def create_tag(hub: Hub, ask: Asking) -> Response:
    """Make a tag."""
    wanted = ask.read(_Tag)
    at = hub.history.resolve(ask.repository, ask.params["revision"])
    hub.history.create_tag(ask.repository, wanted.tag, at, wanted.message, ask.actor)
    return JSONResponse({})


def delete_tag(hub: Hub, ask: Asking) -> Response:
    """Remove a tag."""
    hub.history.delete_tag(ask.repository, ask.params["tag"], ask.actor)
    return JSONResponse({})


class _Squash(Body):
    message: Text | None = None


def squash(hub: Hub, ask: Asking) -> Response:
    """Replace the history of a branch by one commit with its current files."""
    branch = ask.params["branch"]
    message = ask.read(_Squash).message or f"Squash {branch}"
    made = hub.history.squash(ask.repository, branch, message, ask.actor)
    hub.conversions.add(ask.repository, made)  # the commit that waited was removed
    return JSONResponse({})
