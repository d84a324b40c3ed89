"""A registry with a few published folders of other libraries, ready to be sent to a hub."""

from __future__ import annotations

from hubkit.publishing import publish_folder
from registry import AdapterRef, Catalog, Version
from tests.support.foreign import BASE, BERT, HEAD, PEFT


def publish_lora(
    catalog: Catalog, name: str = "film", which: str = "a", **facts: object
) -> Version:
    """A PEFT adapter."""
    return publish_folder(
        catalog, PEFT / "lora" / which, AdapterRef.parse(name), task="film", **facts
    )  # type: ignore[arg-type]


def publish_head(catalog: Catalog, name: str = "topic") -> Version:
    """An AdapterHub adapter with a head of two labels."""
    return publish_folder(
        catalog, HEAD, AdapterRef.parse(name), task="topic", base=str(BASE), license="mit"
    )


def publish_fusion(catalog: Catalog, name: str = "both") -> Version:
    """A fusion of the adapters a and b, which are published too."""
    for part in "ab":
        folder = BERT / "seq_bn" / part
        publish_folder(catalog, folder, AdapterRef.parse(part), task="film", base=str(BASE))
    folder = BERT / "seq_bn" / "fusion_ab_static"
    return publish_folder(catalog, folder, AdapterRef.parse(name), task="film", base=str(BASE))
