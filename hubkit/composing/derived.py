"""Publish what was made of published adapters, and does what one of them does."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.composing.combine import require_same_kind
from registry import AdapterRef, Catalog, Manifest, Parent, Version
from registry.folders import read_folder


def publish_derived(
    catalog: Catalog,
    name: AdapterRef,
    composition: Adapter | Fusion,
    manifest: Manifest,
    *,
    parents: Sequence[Parent],
    description: str,
    tags: Sequence[str] = (),
    replace_name: bool = False,
) -> Version:
    """Publish an adapter or a fusion with the task, labels and text settings of another.

    Args:
        catalog: The registry.
        name: Its name.
        composition: With its head.
        manifest: The manifest of the one whose task it does.
        parents: What it came from.
        description: A text for readers.
        tags: Words to find it by.
        replace_name: Whether to take the name although it means another kind of thing so far.

    Raises:
        HubkitError: As :func:`~hubkit.composing.combine.require_same_kind` and
            ``Catalog.publish``.
    """
    plan = manifest_of(
        replace(composition, name=str(name)),
        parents=tuple(parents),
        task=manifest.task,
        task_type=manifest.task_type,
        problem_type=manifest.problem_type,
        outputs=manifest.outputs,
        head=manifest.head,
        text=manifest.text,
        language=manifest.language,
        license=manifest.license,
        tags=tuple(tags),
        description=description,
    )
    require_same_kind(catalog, name, plan, replace_name=replace_name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "derived")
        save_folder(composition, plan, folder)
        return catalog.publish(name, read_folder(folder))
