"""Publish a finished folder. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from registry import AdapterRef, Catalog, Folder, Manifest, Version, read_folder


def publish_folder(
    catalog: Catalog,
    path: Path,
    name: AdapterRef,
    *,
    task: str | None = None,
    tags: Sequence[str] | None = None,
    license: str | None = None,
    language: str | None = None,
    description: str | None = None,
    message: str = "",
) -> Version:
    """Publish what ``save_adapter`` wrote, with facts that its manifest lacks or has differently.

    The folder is not changed: what is given here stands only in the published manifest.

    Args:
        task: What the adapter does; this and the next four default to what the manifest says.
        tags: Words to find it by, in place of those in the manifest.
        license: SPDX identifier.
        language: BCP 47 tag.
        description: For people.
        message: What to say about this version.

    Raises:
        FolderError: ``path`` is no adapter's folder, or not the one its manifest describes.
        ManifestError: A fact is none that a manifest holds.
        HubkitError: As ``Catalog.publish``.
    """
    folder = read_folder(path)
    facts = {
        "task": task,
        "tags": None if tags is None else tuple(tags),
        "license": license,
        "language": language,
        "description": description,
    }
    given = {fact: value for fact, value in facts.items() if value is not None}
    changed = folder.manifest.model_copy(update=given)
    # Through JSON, as a copy is not checked.
    manifest = Manifest.from_json(changed.to_json(), f"What is to be published from {path}")
    return catalog.publish(name, Folder(manifest, path), message=message)
