"""How base models are named. Loads no torch."""

from __future__ import annotations

from pathlib import Path

_SAYS_NOTHING = {"model", "base", "base_model", "checkpoint", "final", "best"}
"""Names of folders of models that say less than the name of the folder above."""


def short_name(base: str) -> str:
    """A name for a table: the last part of an id or a path, or two if one says nothing."""
    *_, folder, last = "", *base.rstrip("/").split("/")
    return f"{folder}/{last}" if folder and last in _SAYS_NOTHING else last or base


def normalize(base: str) -> str:
    """The name in manifests: a hub id as it is, a local folder as an absolute path."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base
