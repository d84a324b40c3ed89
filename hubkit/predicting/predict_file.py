"""Predict the rows of files of any size into another one; an interrupted run is resumed.

What is done lies in a folder beside the output until all is there:

    OUT.partial/
        run.json      what is computed: the digest of the input, the version, the options
        000000.csv    a part for each block of rows, written whole or not at all
        lock          held by the process that writes
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from hubkit.predicting.answers import Predictor, no_text, says_something
from hubkit.predicting.blocks import Block, Engine, Work, here
from hubkit.predicting.files import File, files_of
from hubkit.predicting.formats import Format, format_of
from hubkit.predicting.inputs import rows_of_files, takes_objects
from hubkit.tasks.running import Cut
from hubkit.tasks.task import TaskType
from registry.arguments import checked
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


@checked
def predict_file(
    model: Predictor,
    source: str | Path,
    out: Path,
    *,
    batch_size: int = 32,
    max_length: int | None = None,
    options: Mapping[str, Any] | None = None,
    engine: Engine | None = None,
    **reading: Any,
) -> int:
    """Predict each row of files, and write a row for each, in order, with its number.

    The whole input is checked before anything is computed. `out` appears when it is complete. An
    interrupted run is resumed, if the input, the version and the options are the same.

    Args:
        model: A loaded adapter, or one for each value of a column.
        source: A table, or any other file with a row in each line; or several, as in
            :func:`~hubkit.predicting.files.files_of`.
        out: A ``.csv``, ``.jsonl`` or ``.parquet`` file.
        batch_size: Rows at a time.
        max_length: Tokens of a row at most; default: as in training.
        options: Those of the task type.
        engine: Answers the blocks; default: this process, with `model`.
        reading: Options of :func:`~hubkit.predicting.inputs.rows_of_file`: ``columns``,
            ``separator`` and ``encoding``.

    Returns:
        How many rows there are.

    Raises:
        DataError: The input cannot be read, or holds nothing.
        ConflictError: `out` exists, or an unfinished run for it computes something else.
        RunInUseError: Another process writes it.
        StorageError: The disk is full or not writable, or an object cannot be fetched.
        EngineError: The engine cannot be used, or ended early.
    """
    check_output(out)
    files = files_of(str(source))
    reading["each"] = model.each
    identity = {
        "input": [file.digest for file in files],
        "reading": {name: value for name, value in reading.items() if value},
        **model.depends_on,
        "max_length": max_length,
        "options": dict(options or {}),
        "rows": BLOCK,
    }
    reading["objects"] = takes_objects(model.task, model.text)
    how = {"batch_size": batch_size, "max_length": max_length, **(options or {})}
    counts, first = _look_through(model.task, files, reading)
    if first is None:
        raise no_text(str(source))
    # Each part has the columns of the answers, even if all of its rows are empty.
    kind = type(model.predict_block([first], **how)[0][0])
    blocks = list(_blocks(files, counts))
    form, folder = format_of(out), out.with_name(f"{out.name}.partial")
    parts = {block: folder / f"{block.number:06}{out.suffix}" for block in blocks}
    with _alone(folder, out):
        _require_same(folder, out, identity)
        todo = [block for block, part in parts.items() if not part.exists()]
        cut, work = Cut(), Work(reading, how, kind, out.suffix.lower())
        left = sum(block.size for block in todo)
        with tqdm(total=left, unit="row", disable=None, leave=False, delay=1) as bar:
            for part in (engine or here(model))(work, todo):
                write_file(parts[part.block], part.content)
                cut += part.cut
                bar.update(part.block.size)
        cut.note()
        _join(form, list(parts.values()), out)
        shutil.rmtree(folder)
    return sum(counts)


def _look_through(
    task: TaskType[Any], files: Sequence[File], reading: Mapping[str, Any]
) -> tuple[list[int], dict[str, Any] | None]:
    """How many rows each file has, and the first that says something; each is looked at.

    Raises:
        DataError: As :func:`~hubkit.predicting.inputs.rows_of_files`.
    """
    counts, first = dict.fromkeys(files, 0), None
    for file, rows in rows_of_files(task, files, **reading):
        counts[file] += len(rows)
        first = first or next(filter(says_something, rows), None)
    return [*counts.values()], first


def _blocks(files: Sequence[File], counts: Sequence[int]) -> Iterator[Block]:
    number = before = 0
    for file, count in zip(files, counts, strict=True):
        for start in range(0, count, BLOCK):
            yield Block(number, file, start, before + start, min(BLOCK, count - start))
            number += 1
        before += count


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
    except DataError:
        if not any(folder.glob(f"*{out.suffix}")):  # nothing is done that a next run could keep
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


def _join(form: Format, parts: Sequence[Path], out: Path) -> None:
    folder = out.absolute().parent
    with storage_errors("write", out), scratch_file(folder, mode=0o666) as file:
        form.join(parts, file)
        flush(file)
        settle(file, out.absolute())
