"""What reading a folder takes and gives."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import FolderError, HeadLabelsError
from registry.folders.card import Card
from registry.folders.configs import text_of
from registry.folders.contents import examine_all
from registry.manifest import BaseModelInfo, Manifest, Method, Parent, manifest_errors

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose files are what the manifest says.

    Attributes:
        manifest: What the folder holds.
        path: Where it is.
    """

    manifest: Manifest
    path: Path


@dataclass(frozen=True, slots=True)
class Given:
    """What is known of a folder that other tools wrote, beside what stands in it.

    Attributes:
        base: The base model, in place of the one that its files name.
        labels: Label names by label id, for a head whose files do not name them. None where nobody
            can be asked for them: then the classes of such a head are numbered.
        base_labels: Those of the base model's own head, for one of as many classes that nothing
            else names.
        parents: What a fusion is made of, in the order of its attention.
    """

    base: BaseModelInfo | None = None
    labels: tuple[str, ...] | None = ()
    base_labels: tuple[str, ...] = ()
    parents: tuple[Parent, ...] = ()


def find_base(
    config: dict[str, Any], key: str, path: Path, card: Card, given: Given, **known: Any
) -> BaseModelInfo:
    """Return the base model of a folder.

    Args:
        config: The folder's configuration.
        key: Where in it the base model's id stands.
        path: The configuration's file.
        card: The folder's model card.
        given: Its `base` is taken as it is.
        known: What else the files say of the base model.

    Raises:
        FolderError: None is named, or the configuration and the card name different ones.
        ManifestError: What is said of it is none that a manifest holds.
    """
    if given.base is not None:
        return given.base
    configured = text_of(config, key, path)
    if configured and card.base_models and not _agree(configured, card.base_models):
        raise FolderError(
            f"{path.parent}: {path.name} says that the base model is {configured}, but the card "
            f"(README.md) says {', '.join(card.base_models)}. Say with --base which one it is.",
            path.parent,
        )
    base = configured or next(iter(card.base_models), None)
    if base is None:
        raise FolderError(
            f"{path.parent} does not name its base model: expected {key} in {path.name}, or "
            "base_model in README.md, found neither. Say with --base which one it is.",
            path.parent,
        )
    with manifest_errors(f"The base model in {path}"):
        return BaseModelInfo(id=base, **known)


def make_folder(
    path: Path, *, method: Method, base: BaseModelInfo, card: Card, given: Given, **facts: Any
) -> Folder:
    """Return a folder with the manifest that its configs and card amount to.

    Raises:
        FolderError: A file does not travel.
        ManifestError: A fact is none that a manifest holds.
        OSError: A file cannot be read.
    """
    files = examine_all(path)
    with manifest_errors(f"What the files in {path} say"):
        manifest = Manifest(
            **{"kind": "adapter", "task_type": card.task_type, **facts},
            method=method,
            base_model=base,
            language=card.language,
            license=card.license,
            tags=card.tags,
            parents=given.parents,
            files=files,
        )
    return Folder(manifest, path)


def choose_labels(
    path: Path, found: tuple[str, ...], rows: int | None, given: Given
) -> tuple[str, ...]:
    """Return the labels of a head.

    Args:
        path: The folder.
        found: The labels that its files name.
        rows: Classes that the head's weights tell apart; None if it has no such weights.
        given: Its `labels` name those of a head whose files do not.

    Raises:
        HeadLabelsError: The head names more or fewer labels than it has classes.
        FolderError: So does what is given, or it has one twice, or others than the head; or there
            are none.
    """
    twice = [label for label, count in Counter(given.labels).items() if count > 1]
    if twice:
        raise FolderError(
            f"{path}: --label {twice[0]} was given twice; each class has a label of its own.", path
        )
    labels = given.labels or found
    if found and labels != found:
        raise FolderError(
            f"{path}: the head names its labels {', '.join(found)}, but {', '.join(labels)} were "
            "given. Leave --label out.",
            path,
        )
    if rows is None:
        if given.labels:
            raise FolderError(
                f"{path} has no classification head, so it takes no labels; "
                f"found {', '.join(given.labels)}. Leave --label out.",
                path,
            )
        return labels
    if not labels and len(given.base_labels) == rows:
        return given.base_labels
    if not labels and given.labels is None:
        return numbered_labels(rows)
    if not labels:
        cure = " ".join(f"--label NAME_OF_{index}" for index in range(min(rows, _SHOWN)))
        raise FolderError(
            f"{path}: the head tells {rows} classes apart, and neither its files nor the base "
            f"model's name them. Name them in the order of their ids: {cure}"
            f"{' ...' if rows > _SHOWN else ''}",
            path,
        )
    if found and len(found) != rows:
        raise HeadLabelsError(
            f"{path}: the head tells {rows} classes apart, but its configuration names "
            f"{len(found)} labels ({', '.join(found)}). Mend its label2id.",
            path,
        )
    if len(labels) != rows:
        raise FolderError(
            f"{path}: the head tells {rows} classes apart, but there are {len(labels)} labels "
            f"({', '.join(labels)}). Name them with --label, once for each class in the order of "
            "their ids.",
            path,
        )
    return labels


def numbered_labels(count: int) -> tuple[str, ...]:
    """Return what transformers calls the classes of a model that does not name them."""
    return tuple(f"LABEL_{index}" for index in range(count))


def _agree(configured: str, claimed: tuple[str, ...]) -> bool:
    # A model is known under several owners and in folders of any name above its own.
    return _last(configured) in {_last(base) for base in claimed}


def _last(base: str) -> str:
    return base.rstrip("/").rpartition("/")[2].casefold()
