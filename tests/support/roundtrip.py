"""To a hub and back, in two words."""

from __future__ import annotations

import json

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


def peft_files(base: str, **card: object) -> dict[str, bytes]:
    """What PEFT pushes of an adapter of a base model: `LORA` with the name of that in it."""
    config = json.loads(LORA["adapter_config.json"]) | {"base_model_name_or_path": base}
    fields = {"base_model": base, "library_name": "peft", **card}
    return {
        **LORA,
        "adapter_config.json": json.dumps(config).encode(),
        "README.md": f"---\n{json.dumps(fields)}\n---\n".encode(),
    }


def push(catalog: Catalog, hub: Hub, ref: str, name: str | None = None, **facts: object) -> Pushed:
    """Publish to the hub what is called `ref` here."""
    named = AdapterRef.parse(name) if name else None
    to = Address.parse(hub.url)
    return publish_remote(catalog, AdapterRef.parse(ref), to, name=named, **facts)  # type: ignore[arg-type]


def pull(catalog: Catalog, hub: Hub, ref: str, **facts: object) -> Version:
    """Pull what is called `ref` there; an alias is a revision."""
    return pulling.pull(catalog, ref, hub.url, **facts)  # type: ignore[arg-type]


def come_as(hub: Hub, who: str) -> None:
    """From here on, show the hub somebody's token, or what is none of it."""
    keep_token(Address.parse(hub.url), hub.tokens.get(who, who))


def nothing_in(catalog: Catalog) -> bool:
    """Whether a registry has neither a version nor a byte."""
    return search(catalog).items == () and not any(
        path.is_file() for path in (catalog.home / "blobs").rglob("*")
    )
