"""How base models are named. Loads no torch."""

from __future__ import annotations

from pathlib import Path


def normalize(base: str) -> str:
    """The name in manifests: a hub id as it is, a local folder as an absolute path."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base
