"""The stock client, set up for one hub."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, constants, get_token, login
from huggingface_hub.utils.tqdm import disable_progress_bars

from hubkit.hub.address import default_endpoint
from hubkit.hub.errors import remote_errors, require_online
from registry.errors import RemoteAccessError
from registry.storage.durable import flush, make_folders, scratch_file, settle, storage_errors


def open_hub(endpoint: str) -> HfApi:
    """Return a client for a hub, with the token that is meant for it and no other.

    Raises:
        RemoteUnreachableError: HF_HUB_OFFLINE is set.
        RemoteAccessError: What should be a token is none.
    """
    require_online(endpoint)
    if not sys.stderr.isatty():
        disable_progress_bars()
    # False, as None would bring out the token of the default hub.
    return HfApi(
        endpoint=endpoint,
        token=token_for(endpoint) or False,
        library_name="hubkit",
        library_version=version("hubkit"),
    )


def cache_of(endpoint: str) -> Path:
    """Return where the client keeps what comes from a hub: the stock cache for the default hub.

    Each other hub has its own below HF_HOME, as two hubs may have different repositories of one
    name.
    """
    if endpoint == default_endpoint():
        return Path(constants.HF_HUB_CACHE)
    host = endpoint.partition("://")[2].replace(":", "-")
    return Path(constants.HF_HOME) / "hubkit" / host


@contextmanager
def scratch_folder(home: Path) -> Iterator[Path]:
    """Yield an empty folder below a registry's ``cache``, and remove it with all that is in it.

    Raises:
        StorageError: It cannot be made.
    """
    cache = home / "cache"
    with storage_errors("write", cache):
        make_folders(cache)
        folder = TemporaryDirectory(dir=cache, prefix=".", suffix=".tmp")
    with folder as path:
        yield Path(path)


FILE_NAME = "hubkit_tokens.json"
"""Beside the stock client's own, in HF_HOME: tokens by hub, for those that are not its default."""


def token_for(endpoint: str) -> str | None:
    """Return the token to show to a hub; None to come without one.

    HF_TOKEN is for whichever hub is named. What ``hf auth login`` stored is for the default hub
    alone, and other hubs have what :func:`log_in` stored for them.

    Raises:
        RemoteAccessError: What stands there cannot be a token.
    """
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if named := os.environ.get(variable, "").strip():
            return _require_token(named, variable, endpoint)
    if endpoint == default_endpoint():
        token, place = get_token(), constants.HF_TOKEN_PATH
    else:
        token, place = _stored().get(endpoint), str(_file())
    return _require_token(token, f"What {place} holds for {endpoint}", endpoint) if token else None


def log_in(endpoint: str, token: str) -> str:
    """Check a token with a hub, keep it, and return whose it is.

    Raises:
        RemoteAccessError: It cannot be a token, or the hub does not know it.
        RemoteError: The hub cannot be asked.
        StorageError: The token cannot be kept.
    """
    require_online(endpoint)
    token = _require_token(token.strip(), "What was given", endpoint)
    try:
        with remote_errors(endpoint):
            user = str(HfApi(endpoint=endpoint, token=token).whoami()["name"])
    except RemoteAccessError as error:
        raise RemoteAccessError(
            f"{endpoint} does not know this token. Copy it again from the hub's page of access "
            "tokens; it may have been revoked there.",
            endpoint,
        ) from error
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


def _require_token(token: str, what: str, endpoint: str) -> str:
    """Return a token that a header can carry; its text is never told."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise RemoteAccessError(
            f"{what} is no token: expected one line of printable ASCII without blanks. Copy it "
            "again from the hub's page of access tokens.",
            endpoint,
        )
    return token


def _file() -> Path:
    return Path(constants.HF_HOME) / FILE_NAME


def _stored() -> dict[str, str]:
    try:
        content = json.loads(_file().read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {hub: token for hub, token in content.items() if isinstance(token, str)}
