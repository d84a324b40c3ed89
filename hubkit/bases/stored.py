"""A base model on disk, described with all its digests. Loads no torch if nothing changed.

The stock loader reads the tensors, so sharding, file format and head class make no difference. The
description is kept in the registry's cache as long as exactly the same files are there.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from hubkit.bases.compare import compare
from hubkit.bases.names import normalize
from registry.folders.folder import numbered_labels
from registry.manifest import BaseModelInfo, manifest_errors
from registry.storage.durable import make_folders, write_file

_READ = (
    *("config.json", "*.index.json", "*.safetensors", "*.bin"),
    *("tokenizer*", "vocab*", "merges.txt", "*.model", "special_tokens_map.json"),
    *("added_tokens.json", "preprocessor_config.json", "processor_config.json"),
)
_FORM = "3"
"""The version of this cache's format; files of another version are not read."""
# A file written again within one tick of the clock has the same time stamps.
_TICK = 20_000_000


def cache_in(home: Path) -> Path:
    """Where a registry keeps what was found of base models; it may be deleted at any time."""
    return home / "cache" / "bases"


def find_base_folder(base: str, revision: str | None = None) -> Path | None:
    """The folder of a base model on this machine: ``base`` itself, or the Hub's cache of it.

    Args:
        base: A folder, or a hub id.
        revision: Which commit of a hub id; default: the newest.
    """
    if Path(base).is_dir():
        return Path(base) if (Path(base) / "config.json").is_file() else None
    try:
        config = try_to_load_from_cache(base, "config.json", revision=revision)
    except ValueError:  # what cannot be a hub id is not in its cache
        return None
    return Path(config).parent if isinstance(config, str) else None


def describe_stored(base: str, cache: Path, revision: str | None = None) -> BaseModelInfo:
    """What the base model is, from its files.

    Args:
        base: A hub id, or a folder that ``save_pretrained`` wrote.
        cache: Where what was found is kept, by the identity of the files it was found in.
        revision: Which commit of a hub id; default: the newest.

    Raises:
        BaseModelNotFoundError: It is not there, or cannot be read.
    """
    folder = find_base_folder(base, revision)
    before = None if folder is None else _identity(folder)
    known = None if before is None else cache / before[0]
    if known is not None and known.is_file():
        with manifest_errors(str(known)):
            found = BaseModelInfo.model_validate_json(known.read_bytes())
        return found.model_copy(update={"id": normalize(base)})
    from hubkit.bases.describe import describe_base_model

    started = time.time_ns()
    found = describe_base_model(base, revision)
    if known is not None and before is not None and folder is not None:
        unchanged = _identity(folder) == before and before[1] < started - _TICK
        if unchanged:
            make_folders(cache)
            write_file(known, found.model_dump_json().encode())
    return found


def labels_in(folder: Path) -> tuple[str, ...]:
    """The labels of a base model's own head, by label id; empty where nothing names them."""
    try:
        given = json.loads((folder / "config.json").read_bytes()).get("id2label")
    except (OSError, ValueError, AttributeError):  # the loader of the base model reports it
        return ()
    if not isinstance(given, dict):
        return ()
    labels = [given.get(str(index)) for index in range(len(given))]
    named = tuple(label for label in labels if isinstance(label, str) and label)
    return named if len(named) == len(labels) and named != numbered_labels(len(named)) else ()


def where_base_is(base: BaseModelInfo, cache: Path) -> str:
    """Return where to load a base model from: its id, or a folder that holds the same one.

    Args:
        base: As a manifest names it, maybe from another machine.
        cache: As in :func:`describe_stored`, which remembers folders there.
    """
    if base.fingerprint is None or find_base_folder(base.id) is not None:
        return base.id
    for known in sorted(cache.glob("*")):
        with manifest_errors(str(known)):
            found = BaseModelInfo.model_validate_json(known.read_bytes())
        folder = find_base_folder(found.id)
        same = found.fingerprint is not None and compare(base, found).same
        if same and folder is not None and _identity(folder)[0] == known.name:
            return found.id
    return base.id


def pinned(base: BaseModelInfo, where: str) -> str | None:
    """The commit to load a base model from; None where it is loaded from elsewhere than its hub id.

    Args:
        base: As a manifest names it.
        where: Where it is loaded from.
    """
    return base.revision if where == base.id and not Path(where).is_dir() else None


def _identity(folder: Path) -> tuple[str, int]:
    """A digest that changes when any file of the model does, and the newest time stamp (ns)."""
    digest, newest = hashlib.sha256(_FORM.encode()), 0
    for path in sorted({path for pattern in _READ for path in folder.glob(pattern)}):
        status = path.stat()
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        digest.update(f"{path.name}|{state}|{status.st_ctime_ns}\n".encode())
        newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
    return digest.hexdigest(), newest
