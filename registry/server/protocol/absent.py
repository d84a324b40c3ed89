"""Features that clients ask for and this hub does not have: it refuses them in words."""

from collections.abc import Mapping

from starlette.responses import Response

from registry.errors import NotHostedError, UnsupportedRequestError
from registry.server.asking import Asking
from registry.server.hub import Hub
from registry.server.routes import Handler

FEATURES: Mapping[str, str] = {
    "discussions": "discussions and pull requests",
    "collections": "collections",
    "webhooks": "webhooks",
    "settings/webhooks": "webhooks",
    "papers": "papers",
    "daily_papers": "papers",
    "jobs": "jobs",
    "scheduled-jobs": "jobs",
    "buckets": "buckets",
    "sandboxes": "sandboxes",
    "kernels": "kernels",
    "notifications": "notifications",
    "resolve-cache": "a cache of other hubs",
}
"""Paths below ``/api`` that this hub does not have, and the names of their features."""


def refuse(feature: str) -> Handler:
    """Return a handler that refuses a feature.

    Args:
        feature: Its name, in words that end a sentence.
    """

    def handler(hub: Hub, ask: Asking) -> Response:
        raise UnsupportedRequestError(f"This hub has no {feature}.")

    return handler


def feature(hub: Hub, ask: Asking) -> Response:
    """Refuse the feature that the path names."""
    named = FEATURES[ask.path.removeprefix("/api/").split("/")[0]]
    raise UnsupportedRequestError(f"This hub has no {named}.")


def not_hosted(hub: Hub, ask: Asking) -> Response:
    """Refuse a repository without an owner, which only the Hugging Face Hub itself has."""
    raise NotHostedError(
        "This hub has no repositories without an owner. Load other repositories from a folder "
        "or from the local cache."
    )
