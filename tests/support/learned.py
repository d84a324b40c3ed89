"""Publish a learned mix with weights that come from a seed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubkit.adapters.load import load_published
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.composing.combine import choose, pins
from hubkit.composition import Mix
from registry import AdapterRef, Catalog, Version
from registry.folders import read_folder
from tests.support.compositions import random_mix


def publish_learned(
    catalog: Catalog, name: str, parts: tuple[str, ...] = ("a", "b"), **options: Any
) -> Version:
    """A learned mix of published adapters, with the head and the task of the last."""
    chosen = choose(catalog, [AdapterRef.parse(part) for part in parts], Mix)
    inner = [load_published(catalog, *one) for one in chosen]
    mix = random_mix([one.composition for one in inner], name, **options)
    mix, manifest = replace(mix, head=inner[-1].head), chosen[-1][1]
    facts = ("task", "task_type", "problem_type", "outputs", "head", "text")
    plan = manifest_of(
        mix, parents=pins(chosen), **{fact: getattr(manifest, fact) for fact in facts}
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "mix")
        save_folder(mix, plan, folder)
        return catalog.publish(AdapterRef.parse(name), read_folder(folder))
