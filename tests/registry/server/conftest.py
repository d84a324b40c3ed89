"""A hub with people, asked without a socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from registry import Catalog
from registry.server.app import App
from registry.server.hub import Hub
from tests.support.asgi import Answer, Ask, Client
from tests.support.people import People, with_people
from tests.support.remembered import Remembered


@pytest.fixture
def people(catalog: Catalog, remembered: Remembered) -> People:
    """alice, bob, carol, dora, root and the organisation acme."""
    tokens, _ = remembered.fill("people", [catalog], lambda: with_people(catalog).tokens)
    return People(catalog, dict(tokens))


@pytest.fixture
def hub(people: People) -> Hub:
    """What is served."""
    return Hub(people.catalog)


@pytest.fixture
def asks(people: People, hub: Hub) -> Iterator[Ask]:
    """Send a request to the hub, by who has a token of a name: ``asks("GET", path, by="bob")``."""
    client = Client(App(hub))

    def send(method: str, target: str, *, by: str | None = None, **more: object) -> Answer:
        token = None if by is None else people.tokens.get(by, by)
        return client.ask(method, target, token=token, **more)  # type: ignore[arg-type]

    with client:
        yield send
