"""The folders of training runs in a registry's folder: their names, and the lock of each.

runs/0123456789abcdef/        checkpoints of a run, until its adapter is published
runs/0123456789abcdef.lock    held by the process that trains it
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

RUNS_NAME = "runs"
"""The folder of training runs, in that of a registry."""

KEY_LENGTH = 16
"""Hexadecimal digits of a run's name."""

_KEY = re.compile(f"[0-9a-f]{{{KEY_LENGTH}}}")


def run_lock(folder: Path) -> FileLock:
    """Return the lock of a run's folder; it does not wait for another holder.

    Raises:
        Timeout: Another process holds it; raised when it is acquired.
    """
    return FileLock(folder.with_suffix(".lock"), timeout=0)


def run_folders(home: Path) -> Iterator[Path]:
    """Yield the folders of the training runs in a registry's folder, and no others.

    Args:
        home: The registry's folder.
    """
    runs = home / RUNS_NAME
    if runs.is_symlink() or not runs.is_dir():
        return
    for folder in sorted(runs.iterdir()):
        if _KEY.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            yield folder


def abandoned_runs(home: Path) -> list[tuple[Path, datetime]]:
    """Return the folders of interrupted training runs, and when each was last written to.

    A run that a process is training is left out.
    """
    folders = [folder for folder in run_folders(home) if not _is_locked(folder)]
    return [(folder, last_written(folder)) for folder in folders]


def last_written(folder: Path) -> datetime:
    """Return when a run's folder, or a file in it, was last written to."""
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime)
    return datetime.fromtimestamp(max(times), UTC)


def _is_locked(folder: Path) -> bool:
    lock = run_lock(folder)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock:
            return False
    except (Timeout, OSError):  # OSError: another user's, who can remove it
        return True
