"""Which token goes to which hub, so that none is sent to a host it was not made for."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import constants, get_token, login

from hubkit.remote.address import default_endpoint
from hubkit.remote.errors import remote_errors
from registry.errors import RemoteAccessError
from registry.storage.durable import flush, scratch_file, settle, storage_errors

FILE_NAME = "hubkit_tokens.json"
"""Beside the stock client's own, in HF_HOME: tokens by hub, for those that are not its default."""


def token_for(endpoint: str) -> str | None:
    """Return the token to show to a hub; None to come without one.

    HF_TOKEN is for whichever hub is named. What ``hf auth login`` stored is for the default hub
    alone, and other hubs have what :func:`log_in` stored for them.
    """
    import os

    named = (os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or "").strip()
    if named:
        return named
    if endpoint == default_endpoint():
        return get_token()
    return _stored().get(endpoint)


def log_in(endpoint: str, token: str) -> str:
    """Check a token with a hub, keep it, and return whose it is.

    Raises:
        RemoteAccessError: The hub does not know the token.
        RemoteError: The hub cannot be asked.
        StorageError: The token cannot be kept.
    """
    from huggingface_hub import HfApi

    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise RemoteAccessError(
            "A token is one line of printable ASCII without blanks. Copy it again from the hub's "
            "page of access tokens.",
            endpoint,
        )
    with remote_errors(endpoint):
        user = str(HfApi(endpoint=endpoint, token=token).whoami()["name"])
    if endpoint == default_endpoint():
        # Kept by the stock client, so that all other tools are logged in as well.
        with remote_errors(endpoint), storage_errors("write", _file().parent):
            login(token=token, skip_if_logged_in=False)
        return user
    tokens = {**_stored(), endpoint: token}
    with storage_errors("write", _file()):
        _file().parent.mkdir(parents=True, exist_ok=True)
        with scratch_file(_file().parent) as file:  # for the owner's eyes only
            file.write(json.dumps(tokens, indent=2).encode())
            flush(file)
            settle(file, _file())
    return user


def _file() -> Path:
    return Path(constants.HF_HOME) / FILE_NAME


def _stored() -> dict[str, str]:
    try:
        content = json.loads(_file().read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
