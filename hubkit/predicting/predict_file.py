"""Predict the rows of a file of any size into another one; an interrupted run is resumed.

What is done lies in a folder beside the output until all is there:

    OUT.partial/
        run.json      what is computed: the digest of the input, the version, the options
        000000.csv    a part for each block of rows, written whole or not at all
        lock          held by the process that writes
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from hubkit.inference import AdaptedModel
from hubkit.predicting.answers import answered, no_text, says_something, with_kind
from hubkit.predicting.formats import Format, format_of
from hubkit.predicting.inputs import rows_of_file, takes_objects
from registry.errors import ConflictError, DataError, RunInUseError
from registry.storage.durable import flush, scratch_file, settle, storage_errors, write_file

BLOCK = 1000
"""Rows of a part: what is lost at most when a run breaks off."""


def check_output(out: Path) -> None:
    """Make sure that a file can be written, before a model is loaded.

    Raises:
        DataError: Its name does not say which format it is to have.
        ConflictError: It exists already.
        StorageError: Its folder is not there.
    """
    format_of(out)
    if out.exists():
        raise ConflictError(f"{out} exists already: remove it, or write to another.", str(out))
    with storage_errors("write to", out.absolute().parent):
        out.absolute().parent.stat()


def predict_file(
    model: AdaptedModel,
    source: Path,
    out: Path,
    *,
    batch_size: int = 32,
    max_length: int | None = None,
    options: Mapping[str, Any] | None = None,
    **reading: Any,
) -> int:
    """Predict each row of a file, and write a row for each, in order, with its number.

    The whole input is checked before anything is computed. `out` appears when it is complete. An
    interrupted run is resumed, if the input, the version and the options are the same.

    Args:
        model: A loaded adapter.
        source: A table, or any other file with a row in each line.
        out: A ``.csv``, ``.jsonl`` or ``.parquet`` file.
        batch_size: Rows at a time.
        max_length: Tokens of a row at most; default: as in training.
        options: Those of the task type.
        reading: Options of :func:`~hubkit.predicting.inputs.rows_of_file`.

    Returns:
        How many rows there are.

    Raises:
        DataError: The input cannot be read, or holds nothing.
        ConflictError: `out` exists, or an unfinished run for it computes something else.
        RunInUseError: Another process writes it.
        StorageError: The disk is full or not writable.
    """
    check_output(out)
    identity = {
        "input": _sha256(source),
        "reading": {name: value for name, value in reading.items() if value},
        "version": model.version.manifest_digest,
        "base": model.base_digest,
        "dtype": str(model.model.dtype),
        "max_length": max_length,
        "options": dict(options or {}),
        "rows": BLOCK,
    }
    reading["objects"] = takes_objects(model.task, model.text)
    total = _count(rows_of_file(model.task, source, **reading), source)
    form, folder = format_of(out), out.with_name(f"{out.name}.partial")
    with _alone(folder, out):
        _require_same(folder, out, identity)
        done = _parts_done(folder, out.suffix)
        blocks = _blocks(rows_of_file(model.task, source, **reading))
        for _ in range(done):
            next(blocks)
        found = answered(
            model,
            blocks,
            source=str(source),
            start=done * BLOCK,
            batch_size=batch_size,
            max_length=max_length,
            **(options or {}),
        )
        with tqdm(
            total=total, initial=done * BLOCK, unit="row", disable=None, leave=False, delay=1
        ) as bar:
            for answers, kind in with_kind(found):
                content = form.part(answers, kind)
                write_file(folder / _name(done, out.suffix), content)
                done += 1
                bar.update(len(answers))
        _join(form, [folder / _name(number, out.suffix) for number in range(done)], out)
        shutil.rmtree(folder)
    return total


def _count(blocks: Iterator[list[dict[str, Any]]], source: Path) -> int:
    """How many rows there are; each is looked at, and one must say something."""
    count, some = 0, False
    for block in blocks:
        count += len(block)
        some = some or any(map(says_something, block))
    if not some:
        raise no_text(str(source))
    return count


def _blocks(rows: Iterator[Sequence[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    flat = chain.from_iterable(rows)
    while block := list(islice(flat, BLOCK)):
        yield block


@contextmanager
def _alone(folder: Path, out: Path) -> Iterator[None]:
    with storage_errors("write", folder):
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RunInUseError(f"Another process writes {out}. Wait for it.", str(out)) from None
    try:
        yield
    except DataError:  # which the same run would meet again
        shutil.rmtree(folder)
        raise
    finally:
        lock.release()


def _require_same(folder: Path, out: Path, identity: dict[str, Any]) -> None:
    """Note what is computed, or make sure that the interrupted run computed the same.

    Raises:
        ConflictError: It did not.
    """
    path = folder / "run.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_file(path, json.dumps(identity).encode())
        return
    except (OSError, ValueError):
        before = {}
    now = json.loads(json.dumps(identity))
    other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if other:
        raise ConflictError(
            f"{folder} holds what a run with another {' and another '.join(other)} has written of "
            f"{out}. Run that one again to finish it, or remove the folder.",
            str(folder),
            expected=before,
            found=now,
        )


def _parts_done(folder: Path, suffix: str) -> int:
    """How many blocks are there, without a gap."""
    done = 0
    while (folder / _name(done, suffix)).exists():
        done += 1
    return done


def _name(number: int, suffix: str) -> str:
    return f"{number:06}{suffix}"


def _join(form: Format, parts: Sequence[Path], out: Path) -> None:
    folder = out.absolute().parent
    with storage_errors("write", out), scratch_file(folder, mode=0o666) as file:
        form.join(parts, file)
        flush(file)
        settle(file, out.absolute())


def _sha256(path: Path) -> str:
    with storage_errors("read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
