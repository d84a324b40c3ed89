"""The stock client, set up for one hub."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.utils.tqdm import disable_progress_bars

from hubkit.remote.address import default_endpoint
from hubkit.remote.errors import require_online
from hubkit.remote.tokens import token_for


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
