"""Find the caller of a request, and check its rights, before any handler runs."""

from base64 import b64decode
from datetime import UTC, datetime
from urllib.parse import unquote

from registry.accounts.access import HUB, MISSING, Caller, Decision, Need, Place, decide
from registry.errors import (
    ForbiddenError,
    HiddenFromStrangersError,
    InvalidNameError,
    MovedRepositoryError,
    NotHostedError,
    RepositoryNotFoundError,
    SignInError,
)
from registry.history.repositories import Repository
from registry.refs import DELETED, AdapterRef
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.routes import Open, Route
from registry.tables.reader import Reader


def admit(hub: Hub, ask: Asking, route: Route) -> None:
    """Find the caller, and require the right that the route needs.

    Raises:
        SignInError: The request needs a token, or its token is not valid.
        ForbiddenError: The token does not allow the request.
        RepositoryNotFoundError: There is no such repository that the caller may see.
        MovedRepositoryError: It has another name.
        NotHostedError: The hub has no such account.
    """
    if isinstance(route.need, Open):
        return
    ask.caller = _caller(hub, ask, _shown(ask, route))
    if route.named:
        require(hub, ask.caller, Need.SIGNED_IN, HUB)
    elif "owner" in ask.params:
        ask.found = require_repository(hub, ask, route.need)
    else:
        require(hub, ask.caller, route.need, HUB)


def _shown(ask: Asking, route: Route) -> str | None:
    """Return the token of a request; None if it has none.

    A browser sends the token as a password (RFC 7617) with every request, even one that another
    site's page causes. Such a token may only read.

    Raises:
        SignInError: The token came as a password, and the request does more than read.
    """
    scheme, _, text = ask.headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    if scheme.lower() == "bearer":
        return text.strip()
    if scheme.lower() != "basic":
        return ""
    if route.method not in ("GET", "HEAD") or route.need not in (Need.READ, Need.SIGNED_IN):
        raise SignInError("A token that is sent as a password may only read.")
    return _password(text)


def _password(text: str) -> str:
    try:
        return b64decode(text.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _caller(hub: Hub, ask: Asking, text: str | None) -> Caller | None:
    if text is None:
        return None
    caller = ask.recall(("token", text), lambda: hub.tokens.check(text))
    if caller is None:
        raise _not_valid()
    use_token(hub, caller)
    return caller


def use_token(hub: Hub, caller: Caller) -> None:
    """Note that a token is used now.

    Raises:
        SignInError: It is expired.
    """
    now = datetime.now(UTC)
    if caller.expires_at and caller.expires_at <= now:
        raise _not_valid()
    hub.counts.use(caller.token_id, now)


def _not_valid() -> SignInError:
    return SignInError(
        "This token is not valid here: it is unknown, revoked or expired. A token of another hub "
        "does not open this one."
    )


def require(hub: Hub, caller: Caller | None, need: Need, place: Place) -> None:
    """Require a right on the hub, or on an account.

    Raises:
        SignInError: The request needs a token.
        ForbiddenError: The token does not allow the request.
        RepositoryNotFoundError: The caller may not know of the place.
    """
    _enforce(_decide(hub, caller, need, place), caller, need)


def reader_of(caller: Caller | None) -> Reader:
    """Return which private repositories a caller may read."""
    if caller is None:
        return Reader()
    return Reader(caller.reads, caller.repositories, caller.is_administrator)


def place_of(repository: Repository) -> Place:
    """Return the place of a repository, for `decide`."""
    return Place.of_repository(repository.id, repository.account_id, repository.visibility)


def require_repository(hub: Hub, ask: Asking, need: Need) -> Repository:
    """Return the repository that the path names, if the caller has a right on it.

    Raises:
        MovedRepositoryError: The path has another spelling, or a former name.
        Others: As `admit_repository`.
    """
    kind, owner, name = ask.params["kind"], ask.params["owner"], ask.params["name"]
    found = admit_repository(hub, ask, need, kind, owner, name)
    if found.full_name != f"{owner}/{name}":
        raise MovedRepositoryError(
            f"This repository is called {found.full_name}.",
            found=_with_name(ask, found),
        )
    return found


def admit_repository(
    hub: Hub, ask: Asking, need: Need, kind: str, owner: str, name: str
) -> Repository:
    """Return a repository by its name in any spelling, if the caller has a right on it.

    The answer for a missing repository is that for a hidden one, after the same work.

    Raises:
        SignInError: The request needs a token.
        ForbiddenError: The token does not allow the request.
        RepositoryNotFoundError: There is no such repository that the caller may see.
        NotHostedError: The hub has no such account, so that a client may look elsewhere.
    """
    found = ask.recall(("repository", kind, owner, name), lambda: _find(hub, kind, owner, name))
    if found is not None and found.ref.is_nameless and need is not Need.READ:
        found = None  # the remains of a deleted adapter can only be read
    place = MISSING if found is None else place_of(found)
    decision, caller = _decide(hub, ask.caller, need, place), ask.caller
    is_hosted = ask.recall(("account", owner), lambda: _is_hosted(hub, owner))
    if decision is Decision.HIDDEN and need is Need.READ and not is_hosted:
        raise NotHostedError(
            f"This hub has no account {owner!r}. Load other repositories from a folder or from the "
            "local cache."
        )
    _enforce(decision, caller, need)
    if found is None:
        raise RepositoryNotFoundError("There is no such repository.")
    return found


def _find(hub: Hub, kind: str, owner: str, name: str) -> Repository | None:
    try:
        return hub.history.find(kind, AdapterRef(owner, name))  # type: ignore[arg-type]
    except InvalidNameError:  # a name that no repository can have
        return None


def _is_hosted(hub: Hub, owner: str) -> bool:
    return owner == DELETED or hub.accounts.find(owner) is not None


def _decide(hub: Hub, caller: Caller | None, need: Need, place: Place) -> Decision:
    return decide(caller, need, place, sign_in_required=hub.settings.sign_in_required)


def _enforce(decision: Decision, caller: Caller | None, need: Need) -> None:
    if decision is Decision.SIGN_IN:
        raise SignInError("This needs a token: log in to this hub, or set HF_TOKEN.")
    if decision is Decision.HIDDEN:
        kind = HiddenFromStrangersError if caller is None else RepositoryNotFoundError
        raise kind("There is no such repository, or it is private and this request may not see it.")
    if decision is Decision.FORBIDDEN:
        raise ForbiddenError(f"This token has no right to {_VERBS[need]} here.")


_VERBS = {
    Need.READ: "read",
    Need.SIGNED_IN: "read",
    Need.WRITE: "write",
    Need.ADMIN: "delete, move or change settings",
}


def _with_name(ask: Asking, repository: Repository) -> str:
    """Return the path of the request with the right name of the repository in it."""
    asked = [ask.params["owner"], ask.params["name"]]
    segments = ask.path.split("/")
    for place in range(1, len(segments) - 1):
        owner, name = map(unquote, segments[place : place + 2])
        if [owner, name.removesuffix(".git")] == asked or [owner, name] == asked:
            end = name.removeprefix(asked[1])
            segments[place : place + 2] = f"{repository.full_name}{end}".split("/")
            break
    path = "/".join(segments)
    return f"{path}?{ask.query}" if ask.query else path
