"""The facts of a version and of its repository, as words with links."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.history.cards import Facts
from registry.history.repositories import Repository
from registry.manifest import Manifest, TextInfo
from registry.places import place_of
from registry.server.pages.render import link, path_of_base, size
from registry.tables.lineage import Relatives
from registry.tables.versions import Version

MOST_VALUES = 50
"""Values of a fact that are shown; more are counted."""

UNSEEN = "an adapter that you may not see or that is gone"
"""The text for a relative without a name."""

GONE = "an adapter that was deleted"
"""The text for a relative that is the remains of a deleted adapter."""

_LONGEST_VALUE = 200
# The starts of tags that repeat other facts.
_REPEATED = ("base_model:", "license:", "dataset:")


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a fact.

    Attributes:
        text: The text.
        href: Its link; None if it has none.
    """

    text: str
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact.

    Attributes:
        name: Its name.
        values: Its values.
        more: The number of values that are left out.
    """

    name: str
    values: tuple[Value, ...]
    more: int = 0


def page_of(version: Version) -> str:
    """Return the page of a version."""
    place = place_of("model", version.ref.repository)
    return link(*place.split("/"), revision=f"v{version.number}")


def name_of(version: Version | None) -> str:
    """Return the name of a relative; None is a hidden one."""
    if version is None:
        return UNSEEN
    return GONE if version.ref.is_nameless else str(version.ref)


def facts_of_version(
    version: Version, manifest: Manifest | None, relatives: tuple[Relatives, Relatives]
) -> list[Fact]:
    """Return the facts of a version.

    Args:
        version: The version.
        manifest: Its manifest; None if it cannot be read.
        relatives: Its parents and its users, one level of each.
    """
    parents, users = relatives
    base = manifest.base_model if manifest else None
    facts = [
        _fact("Kind", version.kind),
        _fact("Task", version.task),
        _fact("Task type", Value(version.task_type, link(task=version.task_type)))
        if version.task_type
        else None,
        _fact("Base model", Value(version.base_model, path_of_base(version.base_model))),
        _fact("Shape of the base model", base.shape if base else None),
        _fact("Type of its numbers", base.dtype if base else None),
        _fact("Method", Value(version.method, link(method=version.method))),
        _fact("Settings", *_settings(manifest.method.parameters if manifest else {})),
        _fact("Labels", *(manifest.labels if manifest else ())),
        _fact("Outputs", manifest.outputs_text if manifest else None),
        _fact("Head", *(manifest.head.modules if manifest and manifest.head else ())),
        _fact("Text", *(_text(manifest.text) if manifest and manifest.text else ())),
        _fact("Size", size(version.size)),
        _fact("Made of", *_named(parents), more=parents.more),
        _fact("Used by", *_named(users), more=users.more),
        _fact("Published by", version.author),
        _fact("Digest", version.manifest_digest),
    ]
    return [fact for fact in facts if fact is not None]


def facts_of_training(manifest: Manifest) -> list[Fact]:
    """Return the facts of a version's training; empty if they are not known."""
    training = manifest.training
    if training is None:
        return []
    facts = [
        _fact("Rows", f"{training.examples:,}"),
        _fact("SHA-256 of the rows", training.data_sha256),
        _fact("Seed", str(training.seed)),
        _fact("Seconds", f"{training.seconds:,.1f}"),
        _fact("Settings", *_settings(training.arguments)),
        _fact("Libraries", *_settings(training.library_versions)),
    ]
    return [fact for fact in facts if fact is not None]


def facts_of_card(repository: Repository, facts: Facts, version: Version | None) -> list[Fact]:
    """Return the facts of a repository from its card and files, without those of its version."""
    start = repository.place.removesuffix(str(repository.ref)).strip("/")
    segments = (start,) if start else ()
    card = facts.card
    license = (version.license if version else None) or next(iter(_words(card, "license")), None)
    languages = _words(card, "language") or tuple(
        one for one in (version.language if version else None,) if one
    )
    said = {facts.library, facts.pipeline_tag, *languages}
    if version is not None:
        said |= {version.kind, version.method, version.task, version.task_type}
    tags = [tag for tag in facts.tags if tag not in said and not tag.startswith(_REPEATED)]
    found = [
        None
        if version
        else _fact("Base model", *(Value(one, path_of_base(one)) for one in facts.base_models)),
        None
        if version or not facts.pipeline_tag
        else _fact(
            "Task type", Value(facts.pipeline_tag, link(*segments, task=facts.pipeline_tag))
        ),
        _fact("Languages", *(Value(one, link(*segments, language=one)) for one in languages)),
        _fact("Licence", license),
        _fact("Library", facts.library),
        _fact("Data sets", *_words(card, "datasets")),
        _fact("Tags", *(Value(tag, link(*segments, tag=tag)) for tag in tags)),
        _fact("Downloads", f"{repository.downloads:,}"),
    ]
    return [fact for fact in found if fact is not None]


def settings(values: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as texts; none that name another adapter, which may be hidden."""
    return {
        name: shown(value)
        for name, value in sorted(values.items())
        if not (isinstance(value, Mapping) and {"ref", "digest"} & {*value})
    }


def _settings(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {value}" for name, value in settings(values).items()]


def shown(value: Any) -> str:
    """Return a value of JSON as it is shown: a text as it is, and cut if it is too long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _fact(name: str, *values: Value | str | None, more: int = 0) -> Fact | None:
    found = [Value(one) if isinstance(one, str) else one for one in values if one]
    if not found:
        return None
    kept = tuple(found[:MOST_VALUES])
    return Fact(name, kept, len(found) - len(kept) + more)


def _named(relatives: Relatives) -> list[Value]:
    return [
        Value(name_of(one), None if one is None else page_of(one))
        for one in relatives.members.values()
    ]


def _text(text: TextInfo) -> list[str]:
    known = text.model_dump(exclude_none=True)
    return [f"{name.replace('_', ' ')} {shown(value)}" for name, value in known.items()]


def _words(card: Mapping[str, Any], field: str) -> Sequence[str]:
    """Return the texts in a field of a card, which may have any value."""
    given = card.get(field)
    values = given if isinstance(given, list) else [given]
    return tuple(one for one in values if isinstance(one, str) and 0 < len(one) <= _LONGEST_VALUE)
