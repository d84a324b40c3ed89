"""To a hub and back, in two words."""

from __future__ import annotations

from hubkit.hub.address import RemoteAddress
from hubkit.sharing.publish_hub import Pushed, publish_remote
from hubkit.sharing.pull_hub import pull_remote
from registry import AdapterRef, Catalog, Version
from registry.search.search import search
from tests.support.foreign import PEFT
from tests.support.hub import Hub

LORA = {path.name: path.read_bytes() for path in (PEFT / "lora" / "a").iterdir()}
WEIGHTS = "adapter_model.safetensors"


def push(catalog: Catalog, hub: Hub, ref: str, name: str | None = None, **facts: object) -> Pushed:
    """Publish to the hub what is called `ref` here."""
    named = AdapterRef.parse(name) if name else None
    address = RemoteAddress.parse(hub.url)
    return publish_remote(catalog, AdapterRef.parse(ref), address, name=named, **facts)  # type: ignore[arg-type]


def pull(catalog: Catalog, hub: Hub, ref: str, **facts: object) -> Version:
    """Pull what is called `ref` there; an alias is a revision."""
    named = AdapterRef.parse(ref)
    address = RemoteAddress(hub.url, str(named.repository), named.alias)
    return pull_remote(catalog, address, number=named.version, **facts)  # type: ignore[arg-type]


def nothing_in(catalog: Catalog) -> bool:
    """Whether a registry has neither a version nor a byte."""
    return search(catalog).items == () and not any(
        path.is_file() for path in (catalog.home / "blobs").rglob("*")
    )
