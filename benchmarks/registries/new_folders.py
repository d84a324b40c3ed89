"""Adapters' folders to publish."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

from benchmarks.registries.made_up import BASE_MODELS, BASES, TASKS
from registry import Folder, Manifest, Method, Parent, read_folder, write_manifest

RUN = uuid.uuid4().hex[:8]
"""Tells what this run publishes from what an earlier one published in the same registry."""


def new_folders(place: Path, *, parents: tuple[Parent, ...] = ()) -> Iterator[Folder]:
    """Make adapters' folders, each of other content."""
    number = 0
    while True:
        path = place / f"new-{number}"
        path.mkdir(parents=True)
        (path / "adapter_config.json").write_text(json.dumps({"run": RUN, "number": number}))
        manifest = Manifest(
            kind="fusion" if parents else "adapter",
            method=Method(type="fusion" if parents else "seq_bn"),
            base_model=BASE_MODELS[BASES[0]],
            task=TASKS[0],
            parents=parents,
            tags=("new", "published"),
            description="Published while the clock was running.",
        )
        write_manifest(path, manifest)
        yield read_folder(path)
        number += 1
