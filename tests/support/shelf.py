"""A registry with a few published folders of other libraries, ready to be sent to a hub."""

from __future__ import annotations

from pathlib import Path

from hubkit.sharing.publish_folder import checked_folder, publish_folder
from registry import AdapterRef, Catalog, Folder, Version
from tests.support.foreign import BASE, BERT, HEAD, PEFT

BASE_ID = "team/tiny-bert"


def publish_lora(
    catalog: Catalog, name: str = "film", which: str = "a", **facts: object
) -> Version:
    """A PEFT adapter."""
    return publish_folder(
        catalog, PEFT / "lora" / which, AdapterRef.parse(name), task="film", **facts
    )  # type: ignore[arg-type]


def publish_head(catalog: Catalog, name: str = "topic") -> Version:
    """An AdapterHub adapter with a head of two labels."""
    return publish_on_base(catalog, HEAD, name, task="topic", license="mit")


def publish_fusion(catalog: Catalog, name: str = "both") -> Version:
    """A fusion of the adapters a and b, which are published too."""
    for part in "ab":
        publish_on_base(catalog, BERT / "seq_bn" / part, part, task="film")
    return publish_on_base(catalog, BERT / "seq_bn" / "fusion_ab_static", name, task="film")


def publish_on_base(catalog: Catalog, source: Path, name: str, **facts: object) -> Version:
    """Publish a folder with the base model's fingerprint, but under an id in place of its path."""
    ref = AdapterRef.parse(name)
    with checked_folder(catalog, source, ref, base=str(BASE)) as folder:
        base = folder.manifest.base_model.model_copy(update={"id": BASE_ID})
        manifest = folder.manifest.model_copy(update={"base_model": base, **facts})
        return catalog.publish(ref, Folder(manifest, folder.path))
