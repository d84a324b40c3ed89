"""Choose the token for a hub. :mod:`hubkit.hub.origin` keeps it from every other host."""

from __future__ import annotations

import json
import os
from pathlib import Path

from huggingface_hub import constants, get_token

from hubkit.hub.address import Hub
from registry.errors import RemoteAccessError
from registry.storage.durable import flush, scratch_file, settle, storage_errors

FILE_NAME = "hubkit_tokens.json"
"""Beside the stock client's own, in HF_HOME: tokens by hub, for those that are not its default."""


def token_for(hub: Hub) -> str | None:
    """Return the token to show to a hub; None to come without one.

    The default hub gets HF_TOKEN, or what ``hf auth login`` stored. Another hub gets what
    :func:`keep_token` kept for it. If nothing was kept, a hub on this machine gets HF_TOKEN: the
    token does not leave the machine, and a user who tries out a hub has not logged in yet.

    Raises:
        RemoteAccessError: The stored token is malformed.
    """
    if not hub.is_default:
        if kept := _kept().get(hub.url):
            return require_token(kept, f"What {_file()} holds", hub)
        if not hub.is_on_this_machine:
            return None
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if named := os.environ.get(variable, "").strip():
            return require_token(named, variable, hub)
    stored = get_token() if hub.is_default else None
    return require_token(stored, f"What {constants.HF_TOKEN_PATH} holds", hub) if stored else None


def keep_token(hub: Hub, token: str) -> None:
    """Keep a token for a hub: the default hub's where the stock client looks for it.

    Raises:
        StorageError: It cannot be written.
    """
    if hub.is_default:
        _write(Path(constants.HF_TOKEN_PATH), token)
    else:
        _write(_file(), json.dumps({**_kept(), hub.url: token}, indent=2))


def require_token(token: str, what: str, hub: Hub) -> str:
    """Return a token that a header can carry; no message contains its text.

    Args:
        token: The token.
        what: Where it comes from, for the message.
        hub: Which hub it is for.

    Raises:
        RemoteAccessError: It cannot be a token.
    """
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise RemoteAccessError(
            f"{what} is not a token for {hub.url}: expected one line of printable ASCII without "
            "blanks. Copy it again from the hub's page of access tokens.",
            hub.url,
        )
    return token


def _file() -> Path:
    return Path(constants.HF_HOME) / FILE_NAME


def _kept() -> dict[str, str]:
    try:
        content = json.loads(_file().read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {hub: token for hub, token in content.items() if isinstance(token, str)}


def _write(path: Path, content: str) -> None:
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_file(path.parent) as file:  # for the owner's eyes only
            file.write(content.encode())
            flush(file)
            settle(file, path)
