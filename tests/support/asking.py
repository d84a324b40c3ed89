"""Counts what a registry is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from registry import AdapterRef, Catalog, Manifest, Version
from registry.store import Store


@dataclass(frozen=True)
class Asked:
    """How often each name was resolved, and each manifest read."""

    names: Counter[str] = field(default_factory=Counter)
    digests: Counter[str] = field(default_factory=Counter)


@contextmanager
def counting_questions() -> Iterator[Asked]:
    """Count what all catalogs are asked during the block."""
    asked = Asked()
    resolve, manifest = Catalog.resolve, Store.manifest

    def counting_resolve(self: Catalog, ref: AdapterRef) -> Version:
        asked.names[str(ref)] += 1
        return resolve(self, ref)

    def counting_manifest(self: Store, ref: AdapterRef, digest: str) -> Manifest:
        asked.digests[digest] += 1
        return manifest(self, ref, digest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Catalog, "resolve", counting_resolve)
        patch.setattr(Store, "manifest", counting_manifest)
        yield asked
