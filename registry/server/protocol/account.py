"""The caller, the accounts, and requests that concern no repository."""

from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from registry.accounts.access import Account
from registry.errors import FolderError, NoSuchPageError
from registry.folders.card import CARD_NAME, parse_card
from registry.server.asking import Asking, Body
from registry.server.hub import Hub


def whoami(hub: Hub, ask: Asking) -> Response:
    """Describe the caller, and what the token allows."""
    caller = ask.signed_in
    name = caller.account.name
    # Clients know only tokens that read, and tokens that write.
    token = {
        "displayName": caller.token,
        "role": "read" if caller.scope == "read" else "write",
    }
    return JSONResponse(
        {
            "type": "user",
            "id": str(caller.account.id),
            "name": name,
            "fullname": name,
            "email": None,
            "isPro": False,
            "orgs": [
                {**_organisation(one.account), "roleInOrg": one.role}
                for one in hub.accounts.memberships(caller.account)
            ],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


class _Yaml(Body):
    content: str


def validate_yaml(hub: Hub, ask: Asking) -> Response:
    """Say whether the fields of a card can be read."""
    try:
        parse_card(ask.read(_Yaml).content, Path(CARD_NAME))
    except FolderError as error:
        return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return JSONResponse({"errors": [], "warnings": []})


def user(hub: Hub, ask: Asking) -> Response:
    """Describe a user."""
    found = find_account(hub, ask, "user")
    orgs = [_organisation(one.account) for one in hub.accounts.memberships(found)]
    return JSONResponse({**_user(found), "orgs": orgs})


def organisation(hub: Hub, ask: Asking) -> Response:
    """Describe an organisation."""
    found = find_account(hub, ask, "organisation")
    return JSONResponse({**_organisation(found), "numUsers": len(hub.accounts.members(found))})


def members(hub: Hub, ask: Asking) -> Response:
    """List the members of an organisation."""
    found = find_account(hub, ask, "organisation")
    return JSONResponse(
        [{**_user(one.account), "role": one.role} for one in hub.accounts.members(found)]
    )


def no_tags(hub: Hub, ask: Asking) -> Response:
    """List the tags by type: this hub keeps no such list."""
    return JSONResponse({})


def nothing(hub: Hub, ask: Asking) -> Response:
    """List things that this hub does not have."""
    return JSONResponse([])


def find_account(hub: Hub, ask: Asking, kind: str) -> Account:
    """Return the account that the path names.

    Raises:
        NoSuchPageError: There is no such account, or it is of another kind.
    """
    name = ask.params["account"]
    found = hub.accounts.find(name)
    if found is None or found.kind != kind:
        raise NoSuchPageError(f"This hub has no {kind} {name!r}.")
    return found


def _user(account: Account) -> dict[str, Any]:
    return {
        "type": "user",
        "user": account.name,
        "fullname": account.name,
        "avatarUrl": "",
        "isPro": False,
    }


def _organisation(account: Account) -> dict[str, Any]:
    return {
        "type": "org",
        "id": str(account.id),
        "name": account.name,
        "fullname": account.name,
        "avatarUrl": "",
        "isEnterprise": False,
    }
