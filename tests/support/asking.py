"""Counts what a registry is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pytest

from registry import AdapterRef, Catalog, Version


@dataclass(frozen=True)
class Asked:
    """How often each name was resolved, and each blob opened."""

    names: Counter[str] = field(default_factory=Counter)
    digests: Counter[str] = field(default_factory=Counter)


@contextmanager
def counting_questions(catalog: Catalog) -> Iterator[Asked]:
    """Count what all catalogs that keep bytes as this one does are asked during the block."""
    asked, blobs = Asked(), type(catalog.blobs)
    resolve, opened = Catalog.resolve, blobs.open

    def counting_resolve(self: Catalog, ref: AdapterRef) -> Version:
        asked.names[str(ref)] += 1
        return resolve(self, ref)

    def counting_open(self: Any, digest: str, **options: Any) -> BinaryIO:
        asked.digests[digest] += 1
        return opened(self, digest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Catalog, "resolve", counting_resolve)
        patch.setattr(blobs, "open", counting_open)
        yield asked
