"""What clients may ask for, and this hub does not do: said in words, and not asked for again."""

from collections.abc import Mapping

from starlette.responses import Response

from registry.errors import UnsupportedRequestError
from registry.server.asking import Asking
from registry.server.hub import Hub

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
"""The paths below ``/api`` of what is not there, and what people call it."""


def not_supported(feature: str) -> Response:
    """Refuse what this hub does not do.

    Raises:
        UnsupportedRequestError: Always.
    """
    raise UnsupportedRequestError(f"This hub has no {feature}.")


def feature(hub: Hub, ask: Asking) -> Response:
    """Refuse what stands in the path."""
    return not_supported(FEATURES[ask.path.removeprefix("/api/").split("/")[0]])


def discussions(hub: Hub, ask: Asking) -> Response:
    """Refuse discussions of a repository."""
    return not_supported("discussions and pull requests")


def likes(hub: Hub, ask: Asking) -> Response:
    """Refuse likes."""
    return not_supported("likes")


def git(hub: Hub, ask: Asking) -> Response:
    """Refuse git itself."""
    return not_supported("git over HTTP: use `hf upload` and `hf download`, or huggingface_hub")


def login(hub: Hub, ask: Asking) -> Response:
    """Refuse to log in by a page."""
    return not_supported("page to log in on: use `hf auth login --token`, with a token of this hub")


def running(hub: Hub, ask: Asking) -> Response:
    """Refuse to run a space."""
    return not_supported("way to run spaces: it keeps their files")


def lfs_deletion(hub: Hub, ask: Asking) -> Response:
    """Refuse to take large files out of old commits."""
    return not_supported("way to remove files from old commits: squash the branch, then they go")


def lfs_copies(hub: Hub, ask: Asking) -> Response:
    """Refuse copies of large files from other repositories."""
    return not_supported("copies of large files between repositories: duplicate the repository")


def metadata(hub: Hub, ask: Asking) -> Response:
    """Refuse to read the header of a safetensors file for the client."""
    return not_supported("reading of headers: fetch the start of the file from /resolve")


def xet_downloads(hub: Hub, ask: Asking) -> Response:
    """Refuse downloads by Xet."""
    return not_supported("downloads by Xet: fetch files from /resolve")


def not_hosted(hub: Hub, ask: Asking) -> Response:
    """Refuse a repository without an owner, which only the Hugging Face Hub itself has."""
    from registry.errors import NotHostedError

    raise NotHostedError(
        "This hub has no repositories without an owner. Load what is not kept here from a folder "
        "or from the local cache."
    )
