"""Make, delete and move repositories, and change their settings."""

from functools import partial
from typing import Annotated, Literal

from pydantic import AliasChoices, Field
from starlette.responses import JSONResponse, Response

from registry.accounts.access import Account, Need, Place
from registry.errors import (
    ConflictError,
    ExistsError,
    ForbiddenError,
    HubkitError,
    RepositoryNotFoundError,
    RequestError,
    UnsupportedRequestError,
)
from registry.history.changes import Put, RemoveFolder
from registry.history.names import MAIN
from registry.history.repositories import Repository
from registry.places import Kind, Visibility, kind_called, place_of
from registry.refs import AdapterRef
from registry.server.admitting import admit_repository, reader_of, require
from registry.server.asking import Asking, Body
from registry.server.errors import refuse
from registry.server.hub import Hub
from registry.tables.reader import may_read_parents


class _Named(Body):
    name: str
    organization: str | None = None
    type: str | None = None


class _Creation(_Named):
    visibility: str | None = None
    private: bool | None = None


def create(hub: Hub, ask: Asking) -> Response:
    """Make a repository, with the branch `main`."""
    wanted = ask.read(_Creation)
    owner, name = _full_name(ask, wanted)
    account = _owner(hub, ask, owner)
    kind = _kind(wanted.type)
    visibility = _visibility(wanted.visibility, wanted.private) or "public"
    made = _make(hub, ask, kind, AdapterRef(account.name, name), account, visibility)
    if isinstance(made, Response):
        return made
    return JSONResponse({"url": f"{ask.base}/{made.place}", "name": made.full_name})


def _make(
    hub: Hub, ask: Asking, kind: Kind, ref: AdapterRef, account: Account, visibility: Visibility
) -> Repository | Response:
    """Make a repository; if that is refused, return the answer that says why."""
    try:
        return hub.history.create(
            kind, ref, account_id=account.id, visibility=visibility, actor=ask.actor
        )
    except ExistsError as error:
        # A client that accepts an existing repository continues with this URL.
        content = {"error": str(error), "url": f"{ask.base}/{place_of(kind, ref)}"}
        return JSONResponse(content, 409, {"X-Error-Message": "This repository is there already."})
    except ConflictError as error:
        # For clients, any 409 means that the repository is there.
        return refuse(400, str(error))


def delete(hub: Hub, ask: Asking) -> Response:
    """Delete a repository."""
    wanted = ask.read(_Named)
    owner, name = _full_name(ask, wanted)
    found = _named(hub, ask, _kind(wanted.type), owner, name)
    hub.history.delete(found, ask.actor)
    return JSONResponse({})


class _Move(Body):
    fromRepo: str
    toRepo: str
    type: str | None = None


def move(hub: Hub, ask: Asking) -> Response:
    """Give a repository another name, or another owner."""
    wanted = ask.read(_Move)
    kind = _kind(wanted.type)
    found = _named(hub, ask, kind, *_split(wanted.fromRepo))
    owner, name = _split(wanted.toRepo)
    account = _owner(hub, ask, owner)
    ref = AdapterRef(account.name, name)
    hub.history.move(found, ref, account_id=account.id, actor=ask.actor)
    return JSONResponse({"url": f"{ask.base}/{place_of(kind, ref)}"})


class _Settings(Body):
    visibility: str | None = None
    private: bool | None = None
    gated: Literal["auto", "manual", False] | None = None


def change_settings(hub: Hub, ask: Asking) -> Response:
    """Make a repository public or private."""
    wanted = ask.read(_Settings)
    if wanted.gated:
        raise UnsupportedRequestError(
            "This hub has no gated repositories: make it private, and give rights to its readers."
        )
    visibility = _visibility(wanted.visibility, wanted.private)
    if visibility is not None:
        hub.history.set_visibility(ask.repository, visibility, ask.actor)
    return JSONResponse({"private": (visibility or ask.repository.visibility) == "private"})


def allowed(hub: Hub, ask: Asking) -> Response:
    """Say that the caller has the right that the path names; it was checked before."""
    return JSONResponse({})


class _Duplicate(Body):
    repository: Annotated[str, Field(validation_alias=AliasChoices("repository", "to"))]
    visibility: str | None = None
    private: bool | None = None


def duplicate(hub: Hub, ask: Asking) -> Response:
    """Make a repository with the files of this one on `main`; no bytes are copied."""
    wanted = ask.read(_Duplicate)
    owner, name = _split(wanted.repository)
    account = _owner(hub, ask, owner)
    source = ask.repository
    files = hub.history.tree(hub.history.resolve(source, MAIN)).files
    # The copy of a private repository is private, unless the caller says otherwise.
    visibility = _visibility(wanted.visibility, wanted.private) or source.visibility
    made = _make(hub, ask, source.kind, AdapterRef(account.name, name), account, visibility)
    if isinstance(made, Response):
        return made
    try:
        hub.committer.commit(
            made,
            MAIN,
            [RemoveFolder(""), *map(Put, files)],
            # Readers of the copy may have no right to know of a private source.
            title=f"Copy {source.full_name if source.visibility == 'public' else 'a repository'}",
            actor=ask.actor,
            readable=partial(may_read_parents, reader_of(ask.caller)),
        )
    except HubkitError:
        hub.history.delete(made, ask.actor)
        raise
    return JSONResponse({"url": f"{ask.base}/{made.place}"})


def _owner(hub: Hub, ask: Asking, name: str) -> Account:
    """Return the future account of a repository, if the caller may write to it."""
    account = hub.accounts.find(name)
    if account is None:
        raise ForbiddenError(f"This hub has no account {name[:200]!r} to put a repository in.")
    require(hub, ask.caller, Need.WRITE, Place.of_account(account.id))
    return account


def _named(hub: Hub, ask: Asking, kind: Kind, owner: str, name: str) -> Repository:
    """Return the repository that the body names; an earlier name does not count."""
    found = admit_repository(hub, ask, Need.ADMIN, kind, owner, name)
    if found.full_name != f"{owner}/{name}":
        raise RepositoryNotFoundError(
            f"There is no repository {owner}/{name}: it is called {found.full_name}."
        )
    return found


def _full_name(ask: Asking, wanted: _Named) -> tuple[str, str]:
    if wanted.organization is None and "/" in wanted.name:
        return _split(wanted.name)
    return wanted.organization or ask.signed_in.account.name, wanted.name


def _split(full_name: str) -> tuple[str, str]:
    owner, slash, name = full_name.partition("/")
    if not (owner and slash and name):
        raise RequestError(f"Expected the name of a repository as OWNER/NAME, not {full_name!r}.")
    return owner, name


def _kind(text: str | None) -> Kind:
    kind = kind_called(text or "model")
    if kind is None:
        raise UnsupportedRequestError(f"This hub has no repositories of the type {text!r}.")
    return kind


def _visibility(text: str | None, private: bool | None) -> Visibility | None:
    match text:
        case "public" | "private":
            return text
        case None:
            return None if private is None else "private" if private else "public"
    raise UnsupportedRequestError(f"A repository is public or private here, not {text[:40]!r}.")
