"""The listing of a repository on a hub, from its card and its files on ``main``."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from registry.errors import CorruptBlobError, FolderError
from registry.folders.card import BASE_TAG, CARD_NAME, Card, parse_card
from registry.folders.kinds import ADAPTER, FUSION, HEAD, PEFT
from registry.history.commits import Commit
from registry.history.repositories import Repository
from registry.history.trees import SMALL_BYTES, Tree
from registry.manifest import Manifest
from registry.storage.blobs import BlobStore, read_blob
from registry.storage.place import Copy
from registry.tables.models import HUB_LISTINGS, HUB_TAGS, NAME_GRAMS

_LONGEST_TAG = 512
_LONGEST_WORD = 256
_MOST_TAGS = 500
_DEEPEST = 16
_ADAPTER_LIBRARIES = {"peft", "adapter-transformers"}


@dataclass(frozen=True, slots=True)
class Facts:
    """The listing of a repository on a hub.

    Attributes:
        library: The library that reads it, such as ``peft``; None if nothing says.
        pipeline_tag: The type of its task; None if nothing says.
        tags: Words to find it by, without duplicates.
        card: The fields of its card.
    """

    library: str | None
    pipeline_tag: str | None
    tags: tuple[str, ...]
    card: dict[str, Any]

    @property
    def base_models(self) -> tuple[str, ...]:
        """The base models that the tags name, without the relation to each."""
        return base_models_in(self.tags)


def base_models_in(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the base models that some tags name, sorted."""
    named = {tag.removeprefix(BASE_TAG) for tag in tags if tag.startswith(BASE_TAG)}
    # Another tag may have one again with the relation to it, such as adapter:bert.
    return tuple(sorted(one for one in named if one.partition(":")[2] not in named))


def read_card_of(blobs: BlobStore, tree: Tree, named: str, *, strict: bool = False) -> Card:
    """Return the card in a tree; an empty one if there is none, or it cannot be read.

    Raises:
        CorruptBlobError: With `strict`, its bytes are damaged.
    """
    file = next((one for one in tree.files if one.path == CARD_NAME), None)
    if file is None or file.size > SMALL_BYTES:
        return Card()
    label = f"{named}: {CARD_NAME}"
    try:
        return card_in(read_blob(blobs, file.sha256, most=SMALL_BYTES, label=label), label)
    except CorruptBlobError:
        if strict:
            raise
        return Card()


def card_in(content: bytes, label: str) -> Card:
    """Return the card of some bytes; an empty one if they cannot be read."""
    try:
        return parse_card(content.decode(), Copy(Path(CARD_NAME), label))
    except (FolderError, UnicodeDecodeError):
        return Card()


def facts_of(tree: Tree, card: Card, manifest: Manifest | None) -> Facts:
    """Return the listing, from the card, the files, and the version if there is one."""
    paths = {file.path for file in tree.files}
    data = {str(key): _plain(value) for key, value in card.data.items()}
    library = _word(data.get("library_name")) or _library(paths)
    task_type = card.task_type or (manifest.task_type if manifest else None)
    bases = card.base_models or ((manifest.base_model.id,) if manifest else ())
    adapts = manifest is not None or library in _ADAPTER_LIBRARIES
    relation = _word(data.get("base_model_relation")) or ("adapter" if adapts else None)
    tags = [
        library,
        "safetensors" if any(path.endswith(".safetensors") for path in paths) else None,
        *(_of_manifest(manifest) if manifest else ()),
        task_type,
        *_texts(data.get("language")),
        *(f"dataset:{one}" for one in _texts(data.get("datasets"))),
        *(f"{BASE_TAG}{one}" for one in bases),
        *(f"{BASE_TAG}{relation}:{one}" for one in bases if relation),
        f"license:{card.license}" if card.license else None,
        # Last: however many there are, the tags that the hub searches by are kept.
        *card.tags,
    ]
    kept = dict.fromkeys(tag for tag in tags if tag and len(tag) <= _LONGEST_TAG)
    return Facts(library, task_type, tuple(kept)[:_MOST_TAGS], data)


def write_listing(
    connection: Connection, repository: Repository, head: Commit, facts: Facts
) -> None:
    """Write the listing of a repository, in place of an earlier one."""
    drop_listing(connection, repository.id)
    if repository.account_id is None or repository.ref.is_nameless:
        return
    connection.execute(insert(HUB_LISTINGS), listing_row(repository, head, facts))
    if facts.tags:
        rows = [{"repository_id": repository.id, "tag": tag} for tag in facts.tags]
        connection.execute(insert(HUB_TAGS), rows)
    grams = [
        {"repository_id": repository.id, "gram": gram} for gram in grams_of(repository.full_name)
    ]
    connection.execute(insert(NAME_GRAMS), grams)


def listing_row(repository: Repository, head: Commit, facts: Facts) -> dict[str, Any]:
    """Return the row of a repository in the listing."""
    return {
        "repository_id": repository.id,
        "kind": repository.kind,
        "account_id": repository.account_id,
        "visibility": repository.visibility,
        "commit_id": head.id,
        "library": facts.library,
        "pipeline_tag": facts.pipeline_tag,
        "card": json.dumps(facts.card, ensure_ascii=False),
        "downloads": repository.downloads,
    }


def drop_listing(connection: Connection, repository_id: int) -> None:
    """Remove the listing of a repository."""
    for table in (HUB_LISTINGS, HUB_TAGS, NAME_GRAMS):
        connection.execute(delete(table).where(table.c.repository_id == repository_id))


def load_tags(connection: Connection, ids: Sequence[int]) -> dict[int, list[str]]:
    """Return the tags of repositories, sorted, by the repository's id."""
    found: dict[int, list[str]] = {id: [] for id in ids}
    of_these = select(HUB_TAGS.c.repository_id, HUB_TAGS.c.tag).where(
        HUB_TAGS.c.repository_id.in_(ids)
    )
    for id, tag in connection.execute(of_these).all():  # not one by one, which takes longer
        found[id].append(tag)
    return {id: sorted(tags) for id, tags in found.items()}


def grams_of(text: str) -> list[str]:
    """Return each sequence of three letters in a text once, in lower case."""
    lower = text.lower()
    return sorted({lower[start : start + 3] for start in range(len(lower) - 2)})


def _of_manifest(manifest: Manifest) -> Iterable[str | None]:
    return ("adapter", manifest.kind, manifest.method.type, manifest.task, *manifest.tags)


def _library(paths: set[str]) -> str | None:
    if paths & {PEFT.weights, PEFT.pickle}:
        return "peft"
    if any(paths & {part.weights, part.pickle} for part in (ADAPTER, FUSION, HEAD)):
        return "adapter-transformers"
    return "transformers" if "config.json" in paths else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_WORD else None


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if _word(one)]


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value of YAML as JSON has it."""
    if depth > _DEEPEST:
        return None
    if isinstance(value, dict):
        return {str(key): _plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one, depth + 1) for one in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
