"""To a hub and back, in two words."""

from __future__ import annotations

from hubkit.hub.address import Hub as Address
from hubkit.hub.tokens import keep_token
from hubkit.sharing import pull as pulling
from hubkit.sharing.publish_hub import Pushed, publish_remote
from registry import AdapterRef, Catalog, Version
from registry.search.search import search
from tests.support.foreign import PEFT
from tests.support.hub import Hub

LORA = {path.name: path.read_bytes() for path in (PEFT / "lora" / "a").iterdir()}
WEIGHTS = "adapter_model.safetensors"


def push(catalog: Catalog, hub: Hub, ref: str, name: str | None = None, **facts: object) -> Pushed:
    """Publish to the hub what is called `ref` here."""
    named = AdapterRef.parse(name) if name else None
    to = Address.parse(hub.url)
    return publish_remote(catalog, AdapterRef.parse(ref), to, name=named, **facts)  # type: ignore[arg-type]


def pull(catalog: Catalog, hub: Hub, ref: str, **facts: object) -> Version:
    """Pull what is called `ref` there; an alias is a revision."""
    return pulling.pull(catalog, ref, hub.url, **facts)  # type: ignore[arg-type]


def come_as(hub: Hub, token: str) -> None:
    """From here on, show the hub this token."""
    keep_token(Address.parse(hub.url), token)


def nothing_in(catalog: Catalog) -> bool:
    """Whether a registry has neither a version nor a byte."""
    return search(catalog).items == () and not any(
        path.is_file() for path in (catalog.home / "blobs").rglob("*")
    )
