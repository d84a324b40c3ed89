"""Where something is on a hub: ``https://host``, ``https://host/owner/name``, ``hf:owner/name``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

from registry.errors import InvalidNameError
from registry.refs import AdapterRef

DEFAULT = "https://huggingface.co"
"""The hub that is meant where none is named, unless HF_ENDPOINT names another."""

_SCHEME = "hf:"


def default_endpoint() -> str:
    """The hub that is meant where none is named: HF_ENDPOINT, else huggingface.co.

    Raises:
        InvalidNameError: HF_ENDPOINT is no URL.
    """
    named = os.environ.get("HF_ENDPOINT") or DEFAULT
    url = urlsplit(named)
    if url.scheme not in ("http", "https") or not url.netloc:
        raise InvalidNameError(
            f"HF_ENDPOINT is {named!r}, but expected the URL of a hub, such as {DEFAULT}. Set it "
            "to one, or unset it.",
            named,
        )
    return named.rstrip("/")


def is_remote(text: str) -> bool:
    """Whether a text is an address on a hub rather than a folder or a name."""
    return text.startswith(_SCHEME) or "://" in text


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """A hub, and maybe a repository there.

    Attributes:
        endpoint: The hub's URL, without a slash at its end.
        repository: ``owner/name``; None if only the hub is named.
        revision: A branch, tag or commit; None for the newest version.
    """

    endpoint: str
    repository: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a hub's URL, a repository's URL, or ``hf:owner/name[@revision]``.

        Raises:
            InvalidNameError: It is none of these.
        """
        if text.startswith(_SCHEME):
            path, at, revision = text.removeprefix(_SCHEME).removeprefix("//").partition("@")
            if not path and not at:
                return cls(default_endpoint())
            if at and not revision:
                raise _invalid(text)
            return cls(default_endpoint(), _repository(path, text), revision or None)
        url = urlsplit(text)
        if url.scheme not in ("http", "https") or not url.netloc or url.query or url.fragment:
            raise _invalid(text)
        if url.username or url.password:
            raise InvalidNameError(
                f"{url.scheme}://{url.hostname} was given with a password; log in with "
                "`hubkit login` instead.",
                url.hostname,
            )
        endpoint = f"{url.scheme}://{url.netloc}"
        parts = [unquote(part) for part in url.path.split("/") if part]
        match parts:
            case []:
                return cls(endpoint)
            case [owner, name]:
                return cls(endpoint, _repository(f"{owner}/{name}", text))
            case [owner, name, "tree", first, *rest]:
                revision = "/".join([first, *rest])
                return cls(endpoint, _repository(f"{owner}/{name}", text), revision)
        raise _invalid(text)

    @property
    def url(self) -> str:
        """The address as a web page."""
        return f"{self.endpoint}/{self.repository}" if self.repository else self.endpoint

    @property
    def origin(self) -> str:
        """What the registry notes as the place that a version came from."""
        return f"{self.url}@{self.revision}" if self.revision else self.url


def _repository(path: str, text: str) -> str:
    try:
        ref = AdapterRef.parse(path)
    except InvalidNameError as error:
        raise InvalidNameError(f"{text}: {error}", text) from error
    if ref.owner is None or ref != ref.repository:
        raise _invalid(text)
    return str(ref)


def _invalid(text: str) -> InvalidNameError:
    return InvalidNameError(
        f"{text} is no address on a hub: expected a URL such as {DEFAULT} or "
        f"{DEFAULT}/owner/name, or hf:owner/name@revision.",
        text,
    )
