"""Where something is on a hub: ``https://host``, ``https://host/owner/name``, ``hf:owner/name``."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from registry.errors import InvalidNameError
from registry.refs import AdapterRef

DEFAULT = "https://huggingface.co"
"""The hub that is meant where none is named, unless HF_ENDPOINT names another."""

_SCHEME = "hf:"
_PORTS = {"http": 80, "https": 443}
_HOST = r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]"
# Nothing that two readers of URLs could read in two ways: no blanks, backslashes or "@".
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?(?P<path>/[!-~]*)?",
    re.IGNORECASE,
)


def is_remote(text: str) -> bool:
    """Whether a text is an address on a hub rather than a folder or a name."""
    return text.startswith(_SCHEME) or "://" in text


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub.

    Attributes:
        url: Its URL in one spelling: lower case, without the port that its scheme implies and
            without a slash at its end.
    """

    url: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a hub's URL, or ``hf:`` for the default hub.

        Raises:
            InvalidNameError: It is neither, or has a path after the host.
        """
        if text == _SCHEME:
            return cls(default_hub().url)
        hub, path = _split(text)
        if path:
            raise InvalidNameError(
                f"{text} has a path after the hub's host: expected only the hub, {hub}.", text
            )
        return cls(hub)

    @property
    def is_default(self) -> bool:
        """Whether it is the hub that is meant where none is named."""
        return self == default_hub()

    @property
    def is_on_this_machine(self) -> bool:
        """Whether its host is this machine by its loopback address or by ``localhost``."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on a hub.

    Attributes:
        hub: The hub.
        name: ``owner/name``.
        revision: A branch, tag or commit; None for the newest version.

    Raises:
        InvalidNameError: A hub has no repository of that name.
    """

    hub: Hub
    name: str
    revision: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name with a version or an alias, or one that no hub has."""
        ref = AdapterRef.parse(self.name)
        if ref.owner is None or ref != ref.repository or "--" in self.name:
            raise InvalidNameError(
                f"A hub has no repository of that name: expected OWNER/NAME without '--', found "
                f"{self.name}.",
                self.name,
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a repository's URL, or ``hf:owner/name[@revision]``.

        Raises:
            InvalidNameError: It is neither.
        """
        if text.startswith(_SCHEME):
            name, at, revision = text.removeprefix(_SCHEME).removeprefix("//").partition("@")
            if at and not revision:
                raise _invalid(text)
            return cls._named(default_hub(), name, revision or None, text)
        hub, path = _split(text)
        match path:
            case [owner, name]:
                return cls._named(Hub(hub), f"{owner}/{name}", None, text)
            case [owner, name, "tree", first, *rest]:
                return cls._named(Hub(hub), f"{owner}/{name}", "/".join([first, *rest]), text)
        raise _invalid(text)

    @classmethod
    def _named(cls, hub: Hub, name: str, revision: str | None, text: str) -> Self:
        try:
            return cls(hub, name, revision)
        except InvalidNameError as error:
            raise InvalidNameError(f"{text}: {error}", text) from error

    def at(self, revision: str) -> Self:
        """Return the same repository at a revision."""
        return replace(self, revision=revision)

    @property
    def owner(self) -> str:
        """Its owner."""
        return self.name.partition("/")[0]

    @property
    def url(self) -> str:
        """Its web page."""
        return f"{self.hub.url}/{self.name}"

    @property
    def page(self) -> str:
        """The web page of the revision."""
        return f"{self.url}/tree/{quote(self.revision)}" if self.revision else self.url

    @property
    def origin(self) -> str:
        """The origin of a version as the registry notes it."""
        return f"{self.url}@{self.revision}" if self.revision else self.url


def default_hub() -> Hub:
    """The hub that is meant where none is named: HF_ENDPOINT, else huggingface.co.

    Raises:
        InvalidNameError: HF_ENDPOINT is not a URL.
    """
    named = os.environ.get("HF_ENDPOINT") or DEFAULT
    try:
        hub, path = _split(named)
    except InvalidNameError as error:
        raise InvalidNameError(
            f"HF_ENDPOINT is {named!r}, but expected the URL of a hub, such as {DEFAULT}. Set it "
            "to one, or unset it.",
            named,
        ) from error
    return Hub("/".join([hub, *map(quote, path)]))


def parse_address(text: str) -> Hub | Repository:
    """Read the address of a hub, or of a repository on one.

    Raises:
        InvalidNameError: It is neither.
    """
    if text == _SCHEME or (not text.startswith(_SCHEME) and not _split(text)[1]):
        return Hub.parse(text)
    return Repository.parse(text)


def _split(text: str) -> tuple[str, list[str]]:
    """The hub's URL in one spelling, and the parts of the path after it."""
    host = text.partition("://")[2].partition("/")[0]
    if "@" in host:
        raise InvalidNameError(
            "The address of a hub was given with a user or a password. Leave them out: a hub "
            "knows you by an access token.",
            host.rpartition("@")[2],
        )
    found = _URL.fullmatch(text)
    if found is None or "?" in text or "#" in text:
        raise _invalid(text)
    scheme, port = found["scheme"].lower(), int(found["port"] or 0)
    if port > 65535:
        raise _invalid(text)
    shown = f":{port}" if port and port != _PORTS[scheme] else ""
    path = [unquote(part) for part in (found["path"] or "").split("/") if part]
    return f"{scheme}://{found['host'].lower()}{shown}", path


def _invalid(text: str) -> InvalidNameError:
    return InvalidNameError(
        f"{text} is not an address on a hub: expected a URL such as {DEFAULT} or "
        f"{DEFAULT}/owner/name, or hf:owner/name@revision.",
        text,
    )
