"""Where a training run keeps its checkpoints until its adapter is published."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from hubkit.processes import count, from_first, is_first, rank, wait_for_all
from registry.errors import DataError, RunInUseError, StorageError, TrainingError
from registry.runs import KEY_LENGTH, RUNS_NAME, run_lock
from registry.storage.durable import storage_errors


@contextmanager
def run_folder(home: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """A folder for the run that ``identity`` describes, for this process alone.

    Of several processes of one training, the first makes and removes it for all.

    The same description finds the same folder again, and in it the checkpoints of a run that broke
    off. When the block ends, or ends in an error that the same run would meet again, the folder
    goes; an interruption or a full disk leaves it.

    Args:
        home: The registry's folder.
        identity: All that decides what the run computes; JSON.

    Raises:
        RunInUseError: Another process is at the same run.
        StorageError: The disk is full or not writable; or a process does not see the folder that
            the first one has made.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    runs = home / RUNS_NAME
    folder = runs / digest[:KEY_LENGTH]
    lock = run_lock(folder)

    def take() -> None:
        with storage_errors("write", runs):
            runs.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                raise RunInUseError(
                    f"Another process is training {identity['name']} with the same data and "
                    "settings. Wait for it.",
                    identity["name"],
                ) from None
        folder.mkdir(exist_ok=True)

    try:
        from_first(take)
        if not folder.is_dir():
            raise StorageError(
                f"The process {rank()} of {count()} does not see {folder}, which the first one has "
                "made: expected one registry for the processes of all machines.",
                folder,
            )
        try:
            yield folder
        except (DataError, TrainingError):
            if is_first():
                shutil.rmtree(folder)
            raise
        wait_for_all()  # until no process reads checkpoints any more
        if is_first():
            shutil.rmtree(folder)
    finally:
        lock.release()
