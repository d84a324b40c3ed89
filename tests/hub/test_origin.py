"""Where a hub may send a client."""

from __future__ import annotations

import httpx2
import pytest

from hubkit.hub.address import Hub
from hubkit.hub.origin import Origin
from registry.errors import RemoteAnswerError

HUB = Hub("https://hub.example.org")
BASE = httpx2.URL("https://hub.example.org/api/models")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "localhost", "[::1]", "10.0.0.7"]
)
def test_a_hub_elsewhere_cannot_send_requests_into_this_network(host: str) -> None:
    with pytest.raises(RemoteAnswerError, match="inside of this network"):
        Origin(HUB).named(BASE, f"https://{host}/x", "it")


@pytest.mark.parametrize(
    "href",
    ["http://cdn.example.org/x", "ftp://cdn.example.org/x", "https://ada:x@cdn.example.org/x"],
)
def test_an_address_less_safe_than_the_hub_is_not_followed(href: str) -> None:
    with pytest.raises(RemoteAnswerError, match="expected https"):
        Origin(HUB).named(BASE, href, "it")


def test_a_safe_address_elsewhere_is_named_but_not_the_hubs_own() -> None:
    origin, href = Origin(HUB), "https://cdn.example.org/x"
    url = origin.named(BASE, href, "it")
    assert (str(url), origin.is_of(url)) == (href, False)
    with pytest.raises(RemoteAnswerError, match="leads to another host"):
        origin.own(BASE, href, "it")


@pytest.mark.parametrize(
    ("href", "found"),
    [
        ("?page=2", "https://hub.example.org/api/models?page=2"),
        ("/x", "https://hub.example.org/x"),
        ("https://hub.example.org:443/x", "https://hub.example.org/x"),
    ],
)
def test_an_address_of_the_hub_is_its_own(href: str, found: str) -> None:
    assert str(Origin(HUB).own(BASE, href, "it")) == found


@pytest.mark.parametrize(
    "href",
    ["http://hub.example.org/x", "https://hub.example.org:8443/x", "//hub.example.org.evil.org/x"],
)
def test_another_scheme_port_or_host_is_not_the_hub(href: str) -> None:
    with pytest.raises(RemoteAnswerError, match=r"another host|not followed"):
        Origin(HUB).own(BASE, href, "it")
