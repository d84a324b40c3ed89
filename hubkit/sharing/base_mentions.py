"""Where the files of a version name its base model: configurations, card and tags."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from hubkit.hub.card import own_fields
from registry import Manifest
from registry.folders.card import BASE_TAG, CARD_NAME, Card, read_card
from registry.folders.kinds import PARTS
from registry.storage.durable import storage_errors

# Where the configurations of other libraries name the base model.
_KEYS = ("base_model_name_or_path", "model_name")
_CONFIGS = sorted({part.config for part in PARTS})
# A tag says how the model was made of its base, too: base_model:adapter:OWNER/NAME.
_IN_TAG = re.compile(rf"{BASE_TAG}(?:[a-z]+:)?(?P<base>.+)")


def is_id(name: str) -> bool:
    """Whether a hub could know a model by this name."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def folders_named(folder: Path, manifest: Manifest) -> set[str]:
    """Return the folders that a version, its tags and its files name as base models.

    Args:
        folder: Its files.
        manifest: Its manifest.

    Raises:
        FolderError: Its card is malformed.
        StorageError: A file cannot be read.
    """
    named = {manifest.base_model.id, *_in_tags(manifest.tags)}
    with storage_errors("read", folder):
        named |= {*_in_card(read_card(folder))}
        for _, config in _configs(folder):
            named |= {config[key] for key in _KEYS if isinstance(config.get(key), str)}
    return {name for name in named if _is_folder(name)}


def name_base(folder: Path, base: str, named: Collection[str]) -> None:
    """Put an id into the configurations and the card, where others find the base model.

    Args:
        folder: The files of a version, to be changed.
        base: The id.
        named: The folders in place of which it goes.

    Raises:
        FolderError: The card is malformed.
        StorageError: A file cannot be read or written.
    """
    with storage_errors("rewrite", folder):
        for path, config in _configs(folder):
            places = [key for key in _KEYS if config.get(key)]
            # A prompt's tokenizer is often in the same folder.
            places += [
                key for key, value in config.items() if isinstance(value, str) and value in named
            ]
            if places:
                path.write_text(json.dumps({**config, **dict.fromkeys(places, base)}, indent=2))
        card = read_card(folder)
        in_card = {*_in_card(card)}
        if any(name in in_card or _in_text(name).search(card.text) for name in named):
            (folder / CARD_NAME).write_text(_with_base(card, base, named), encoding="utf-8")


def without_bases(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tags that do not only repeat which base model it is."""
    return tuple(tag for tag in tags if not tag.startswith(BASE_TAG))


def _configs(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in (folder / name for name in _CONFIGS):
        if path.is_file():
            yield path, json.loads(path.read_bytes())


def _in_card(card: Card) -> Iterator[str]:
    yield from _texts(card.data.get("base_model"))
    yield from _in_tags(_texts(card.data.get("tags")))


def _in_tags(tags: Collection[str]) -> Iterator[str]:
    return (found["base"] for tag in tags if (found := _IN_TAG.fullmatch(tag)))


def _texts(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _with_base(card: Card, base: str, named: Collection[str]) -> str:
    fields = {**own_fields(card), "base_model": base, "tags": [*card.tags]}
    # In lines of any length, as a path that is broken into two would not be found.
    lines = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=math.inf)
    text = f"---\n{lines}---\n\n{card.text}"
    for name in sorted(named, key=len, reverse=True):  # one folder may be in another
        text = _in_text(name).sub(lambda _: base, text)
    return text


def _in_text(folder: str) -> re.Pattern[str]:
    """A pattern that finds a folder by its whole path: /m is not in https://x.org/m or /mnt."""
    return re.compile(rf"(?<![\w/.~-]){re.escape(folder)}(?![\w-])")


def _is_folder(name: str) -> bool:
    return not is_id(name) and "://" not in name and ("/" in name or "\\" in name)
