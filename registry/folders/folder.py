"""The arguments and results of folder readers, and the parts that all readers share."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from registry.errors import FolderError, HeadLabelsError, UnknownBaseError
from registry.folders.bounded import shown
from registry.folders.card import Card
from registry.folders.configs import text_of
from registry.folders.contents import examine_all
from registry.folders.source import Source, open_source
from registry.labels import same_label
from registry.manifest import BaseModelInfo, Manifest, Method, Parent, manifest_errors

# Values that programs write if they know no name.
_NO_NAMES = {"none", "null", "nil", "nan", "undefined", "unknown", "n/a", "na", ".", "./"}
# A folder of the machine it was trained on: a hub id has no backslash and one slash at most.
_FOLDER = re.compile(r"[/~.\\].*|[A-Za-z]:.*|.*\\.*|.*/.*/.*", re.DOTALL)
_CACHED = re.compile(r"(?:^|[/\\])models--(?:[^/\\]+--)?([^/\\]+)[/\\]snapshots[/\\]")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose files agree with its manifest.

    Attributes:
        manifest: The manifest.
        path: Its path.
        notes: Sentences about it, for people.
    """

    manifest: Manifest
    path: Source
    notes: tuple[str, ...] = ()

    def open(self, name: str) -> BinaryIO:
        """Open a file that the manifest lists; the reader checks the digest."""
        return open_source(self.path / name)


@dataclass(frozen=True, slots=True)
class Given:
    """Facts of a folder of other tools that its files lack.

    Attributes:
        base: The base model, in place of the one that its files name.
        labels: Label names by label id, for a head whose files do not name them. None if they
            cannot be asked for: then the classes of such a head are numbered.
        base_labels: The labels of the base model's own head. They name the classes of a head with
            as many classes that nothing else names.
        parents: The parents of a fusion, in the order of its attention.
    """

    base: BaseModelInfo | None = None
    labels: tuple[str, ...] | None = ()
    base_labels: tuple[str, ...] = ()
    parents: tuple[Parent, ...] = ()


def find_base(
    config: dict[str, Any], key: str, path: Source, card: Card, given: Given, **known: Any
) -> BaseModelInfo:
    """Return the base model of a folder.

    Args:
        config: The folder's configuration.
        key: Its key of the base model's id.
        path: The configuration's file.
        card: The folder's model card.
        given: Its `base` is taken as it is.
        known: Other facts of the base model in the files.

    Raises:
        UnknownBaseError: None is named, or the configuration and the card name different ones.
        FolderError: Its name is no text.
        ManifestError: The manifest does not allow what is said of it.
    """
    if given.base is not None:
        return given.base
    configured = text_of(config, key, path)
    if configured is not None and _is_no_name(configured):
        configured = None
    claimed = tuple(base for base in card.base_models if not _is_no_name(base))
    if configured and claimed and not _agree(configured, claimed):
        raise UnknownBaseError(
            f"{path.parent}: {path.name} says that the base model is {configured}, but the card "
            f"(README.md) says {', '.join(claimed)}.",
            path.parent,
            expected=configured,
            found=claimed,
        )
    base = configured or next(iter(claimed), None)
    if configured and len(claimed) == 1 and _FOLDER.fullmatch(configured):
        base = claimed[0]  # other people can find this one
    if base is None:
        found = shown(config.get(key)) if config.get(key) else "neither"
        raise UnknownBaseError(
            f"{path.parent} does not name its base model: expected {key} in {path.name}, or "
            f"base_model in README.md, found {found}.",
            path.parent,
            found=config.get(key),
        )
    with manifest_errors(f"The base model in {path}"):
        return BaseModelInfo(id=base, **known)


def make_folder(
    path: Source,
    *,
    method: Method,
    base: BaseModelInfo,
    card: Card,
    given: Given,
    notes: Sequence[str] = (),
    **facts: Any,
) -> Folder:
    """Return a folder with the manifest that follows from its configs and card.

    Raises:
        FolderError: A file does not travel, or its weights are not finite.
        ManifestError: The manifest does not allow a value.
        OSError: A file cannot be read.
    """
    contents = examine_all(path)
    with manifest_errors(f"The description in the files of {path}"):
        manifest = Manifest(
            **{"kind": "adapter", "task_type": card.task_type, **facts},
            method=method,
            base_model=base,
            language=card.language,
            license=card.license,
            tags=card.tags,
            parents=given.parents,
            files=contents.files,
        )
    if twins := same_label(manifest.labels):
        notes = [*notes, f"Two of its labels are {twins}: they are classes of their own."]
    return Folder(manifest, path, (*notes, *contents.notes))


def choose_labels(
    path: Source, found: tuple[str, ...], rows: int | None, given: Given
) -> tuple[str, ...]:
    """Return the labels of a head.

    Args:
        path: The folder.
        found: The labels that its files name.
        rows: The number of classes in the head's weights; None if it has no such weights.
        given: Its `labels` name those of a head whose files do not.

    Raises:
        HeadLabelsError: The labels that its files name or that are given are not those of the
            classes that its weights tell apart; or there are none.
    """
    named = given.labels or ()
    twice = [label for label, count in Counter(named).items() if count > 1]
    if twice:
        raise FolderError(
            f"{path}: the label {twice[0]} was given twice; each class needs its own.",
            path,
            given=named,
        )
    labels = named or found
    facts = {"given": named, "expected": rows or 0, "found": found}
    if found and labels != found:
        raise HeadLabelsError(
            f"{path}: the head names its labels {', '.join(found)}, but {', '.join(labels)} were "
            "given.",
            path,
            **facts,
        )
    if rows is None:
        if named:
            raise HeadLabelsError(
                f"{path} has no classification head, so it takes no labels; "
                f"found {', '.join(named)}.",
                path,
                **facts,
            )
        return labels
    if not labels and len(given.base_labels) == rows:
        return given.base_labels
    if not labels and given.labels is None:
        return numbered_labels(rows)
    if not labels:
        raise HeadLabelsError(
            f"{path}: the head has {rows} classes, and neither its files nor the base "
            "model's name them.",
            path,
            **facts,
        )
    if found and len(found) != rows:
        raise HeadLabelsError(
            f"{path}: the head has {rows} classes, but its configuration names "
            f"{len(found)} labels ({', '.join(found)}). Mend its label2id.",
            path,
            **facts,
        )
    if len(labels) != rows:
        raise HeadLabelsError(
            f"{path}: the head has {rows} classes, but there are {len(labels)} labels "
            f"({', '.join(labels)}).",
            path,
            **facts,
        )
    return labels


def numbered_labels(count: int) -> tuple[str, ...]:
    """Return transformers' names of the classes of a model that does not name them."""
    return tuple(f"LABEL_{index}" for index in range(count))


def _agree(configured: str, claimed: tuple[str, ...]) -> bool:
    # A model is known under several owners and in folders of any name above its own.
    return _last(configured) in {_last(base) for base in claimed}


def _last(base: str) -> str:
    if cached := _CACHED.search(base):
        return cached[1].casefold()
    return re.split(r"[/\\]", base.rstrip("/\\"))[-1].casefold()


def _is_no_name(base: str) -> bool:
    return base.strip().casefold() in {"", *_NO_NAMES}
