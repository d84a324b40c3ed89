"""Which addresses a hub may send a client to: its own origin, or any safe one without the token."""

from __future__ import annotations

import ipaddress
import re

import httpx2

from hubkit.hub.address import Hub
from hubkit.hub.answers import said
from registry.errors import RemoteAnswerError


class Origin:
    """The scheme, host and port of a hub, to which its token goes and to no other.

    Args:
        hub: The hub.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._origin = _origin_of(httpx2.URL(hub.url))

    def is_of(self, url: httpx2.URL) -> bool:
        """Whether a URL is of the hub."""
        return _origin_of(url) == self._origin

    def named(self, base: httpx2.URL, href: str, what: str) -> httpx2.URL:
        """Return a URL that an answer names, of any host.

        Args:
            base: The URL that was asked.
            href: What the answer names, from there.
            what: The URL that was asked about, for messages.

        Raises:
            RemoteAnswerError: It is malformed, is not as safe as the hub's, or leads into this
                network from a hub that is not in it.
        """
        try:
            url = base.join(href)
        except (httpx2.InvalidURL, ValueError) as error:
            raise RemoteAnswerError(f"{what} names a malformed address.", what) from error
        safe = url.scheme == "https" or (url.scheme == "http" and self._origin[0] == "http")
        if not safe or not url.host or url.userinfo:
            raise RemoteAnswerError(
                f"{what} names an address that is not followed: expected https:// and a host, "
                f"found {said(f'{url.scheme}://{url.host}')}.",
                what,
            )
        if _is_inside(url.host) and not _is_inside(self._origin[1]):
            raise RemoteAnswerError(
                f"{what} names an address inside of this network, {said(url.host)}, which is not "
                "followed.",
                what,
            )
        return url

    def own(self, base: httpx2.URL, href: str, what: str) -> httpx2.URL:
        """Return a URL that an answer names, of the hub itself.

        Raises:
            RemoteAnswerError: As for :meth:`named`, or it is of another host.
        """
        url = self.named(base, href, what)
        if not self.is_of(url):
            raise RemoteAnswerError(
                f"{what} leads to another host, {said(str(url.netloc, 'ascii'))}, which is not "
                f"{self._hub.url}. Check the address.",
                what,
            )
        return url


def _origin_of(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


def _is_inside(host: str) -> bool:
    """Whether a host is this machine, or an address that has a meaning in this network only."""
    last = host.rstrip(".").rpartition(".")[2]
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        # 127.1 and 0x7f000001 are read as addresses, too.
        return last == "localhost" or re.fullmatch(r"0x[0-9a-f]*|[0-9]+", last) is not None
    return not address.is_global
