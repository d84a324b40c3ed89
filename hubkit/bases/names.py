"""How base models are named. Loads no torch."""

from __future__ import annotations

from pathlib import Path

_SAYS_NOTHING = {"model", "base", "base_model", "checkpoint", "final", "best"}
"""What folders of models are called that lie in one with a better name."""


def short_name(base: str) -> str:
    """What a table has room for: the last part of an id or a path, or two if one says nothing."""
    *_, folder, last = "", *base.rstrip("/").split("/")
    return f"{folder}/{last}" if folder and last in _SAYS_NOTHING else last or base


def normalize(base: str) -> str:
    """The name in manifests: a hub id as it is, a local folder as an absolute path."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base
