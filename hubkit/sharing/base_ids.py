"""What others know a base model as: its id on a hub, not a folder on this machine.

A manifest is what a version is, so the name of its base model cannot be changed on the way to a
hub: what is published there would be another version than the one that is here. Instead the same
files are published here once more, with the id in place of the path, and that version goes out.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from hubkit.bases.compare import require_base
from hubkit.bases.stored import cache_in, describe_stored, find_base_folder
from hubkit.hub.card import own_fields
from hubkit.hub.session import scratch_folder
from registry import Catalog, Manifest, Parent, Version, read_folder, write_manifest
from registry.errors import ConflictError, FolderError, InvalidNameError
from registry.folders.card import BASE_TAG, CARD_NAME, Card, read_card
from registry.folders.kinds import PARTS
from registry.manifest import BaseModelInfo
from registry.storage.durable import storage_errors

_log = logging.getLogger(__name__)


def hub_id(base: BaseModelInfo) -> str | None:
    """Return the id of a base model if it has one that a hub could know."""
    # A model that came from nowhere is called by its class.
    return base.id if is_id(base.id) and base.id != base.architecture else None


class BaseIds:
    """What the base models of a version, and of all that it is made of, are called elsewhere.

    Nothing is changed before `rename`.

    Args:
        catalog: Where the version is.
        version: What is to be published.
        base: The base model's id; may be left out if the version names one.

    Raises:
        FolderError: It names a folder, and `base` is None.
        InvalidNameError: `base` is no id.
        ConflictError: It names another id than `base`.
        ParentNotFoundError: What it is made of is not here.
    """

    def __init__(self, catalog: Catalog, version: Version, base: str | None) -> None:
        if base is not None and not is_id(base):
            raise InvalidNameError(
                f"{base} is no id of a base model: expected OWNER/NAME, as on a hub, or NAME.",
                base,
            )
        self._catalog = catalog
        self._base = base
        self._to_rename: dict[str, bool] = {}
        self._renamed: dict[str, Version] = {}
        self._check(version)

    def renames(self, version: Version) -> bool:
        """Whether a version, its files, or what it is made of, names its base model by a folder."""
        return self._to_rename.get(version.manifest_digest, False)

    def rename(self, version: Version) -> Version:
        """Return a version that names its base model by an id, and so do all that it is made of.

        That is the version itself, or else the same, published here under the next number.

        Raises:
            HubkitError: As ``Catalog.publish``.
        """
        if not self.renames(version):
            return version
        if version.manifest_digest not in self._renamed:
            self._renamed[version.manifest_digest] = self._publish(version)
        return self._renamed[version.manifest_digest]

    def _check(self, version: Version) -> bool:
        if version.manifest_digest not in self._to_rename:
            manifest = self._catalog.manifest(version)
            own = self._with_id(version, manifest.base_model) != manifest.base_model or bool(
                folders_named(self._catalog.folder(version), manifest)
            )
            parts = [self._check(part) for part in self._catalog.parents(version)]
            self._to_rename[version.manifest_digest] = own or any(parts)
        return self._to_rename[version.manifest_digest]

    def _publish(self, version: Version) -> Version:
        manifest = self._catalog.manifest(version)
        base = self._with_id(version, manifest.base_model)
        parts = [(part, self.rename(part)) for part in self._catalog.parents(version)]
        parents = tuple(
            pinned
            if renamed is part
            else Parent(ref=str(renamed.ref), digest=renamed.manifest_digest)
            for pinned, (part, renamed) in zip(manifest.parents, parts, strict=True)
        )
        tags = without_bases(manifest.tags)
        changed = manifest.model_copy(update={"base_model": base, "parents": parents, "tags": tags})
        with scratch_folder(self._catalog.home) as scratch:
            folder = scratch / "version"
            self._catalog.materialize(version, folder)
            named = folders_named(folder, manifest)
            if named or base != manifest.base_model:
                name_base(folder, base.id, named)
            write_manifest(folder, changed)
            renamed = self._catalog.publish(
                version.ref.repository,
                read_folder(folder),
                message=version.message,
                author=version.author,
            )
        _log.warning(
            "%s names its base model by a folder on this machine. What is published is %s: the "
            "same, but it calls the base model %s.",
            version.ref,
            renamed.ref,
            base.id,
        )
        return renamed

    def _with_id(self, version: Version, base: BaseModelInfo) -> BaseModelInfo:
        known = hub_id(base)
        if known is not None:
            if self._base not in (None, known):
                raise ConflictError(
                    f"{version.ref} says that its base model is {known}, not {self._base}. "
                    "Versions never change: leave --base out.",
                    version.ref,
                )
            return base
        if self._base is None:
            raise FolderError(
                f"{version.ref} names its base model only as {base.id}, which means nothing "
                "elsewhere. Say what others know it as with --base: OWNER/NAME as on a hub, or "
                "just a NAME if it is on none.",
                version.ref,
            )
        if find_base_folder(base.id) is not None:
            # Remembered by its weights, so that what is published now finds it here, too.
            require_base(
                str(version.ref), base, describe_stored(base.id, cache_in(self._catalog.home))
            )
        return base.model_copy(update={"id": self._base})


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
    """What finds a folder by its whole path: /m is no part of https://x.org/m or /mnt."""
    return re.compile(rf"(?<![\w/.~-]){re.escape(folder)}(?![\w-])")


def _is_folder(name: str) -> bool:
    return not is_id(name) and "://" not in name and ("/" in name or "\\" in name)
