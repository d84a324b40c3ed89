"""Find adapters on a hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hubkit.hub.address import Hub
from hubkit.hub.answers import FOUND, Listed
from hubkit.hub.session import open_session
from registry.arguments import checked
from registry.folders.card import BASE_TAG

_RELATION = f"{BASE_TAG}adapter:"
_FIELDS = ("tags", "pipeline_tag", "library_name", "lastModified", "downloads", "likes")


@dataclass(frozen=True, slots=True)
class Found:
    """One repository with an adapter.

    Attributes:
        repository: ``owner/name``.
        base_models: Ids of what its card names as base model.
        task_type: The Hub's ``pipeline_tag``.
        library: Which library made it, such as ``peft``.
        tags: As the hub lists them.
        downloads: How often it was downloaded lately.
        likes: How many people like it.
        updated_at: When it was last changed.
    """

    repository: str
    base_models: tuple[str, ...]
    task_type: str | None
    library: str | None
    tags: tuple[str, ...]
    downloads: int
    likes: int
    updated_at: datetime | None


@checked
def search_remote(
    hub: Hub,
    *,
    text: str | None = None,
    base: str | None = None,
    task: str | None = None,
    owner: str | None = None,
    tags: Sequence[str] = (),
    limit: int = 50,
) -> list[Found]:
    """Find repositories with adapters, the most downloaded first.

    Args:
        hub: The hub.
        text: A part of their name.
        base: The base model's hub id.
        task: A task or task type: one of their tags.
        owner: The owner of the repositories.
        tags: Tags that all of them have.
        limit: At most this many.

    Raises:
        RemoteError: The hub refuses, or cannot be reached.
    """
    # hubkit, PEFT and AdapterHub all write cards that name the base model as one that the
    # repository adapts, which other models derived from it do not.
    wanted = [*tags, *([task] if task else []), f"{_RELATION}{base}" if base else "adapter"]
    query = [
        *(("filter", one) for one in wanted),
        *((name, value) for name, value in (("search", text), ("author", owner)) if value),
        ("sort", "downloads"),
        ("limit", str(limit)),
        *(("expand", field) for field in _FIELDS),
    ]
    with open_session(hub) as session:
        models = session.get_all("/api/models", FOUND, what=hub.url, most=limit, query=query)
    return [_found(model) for model in models[:limit]]


def _found(model: Listed) -> Found:
    bases = (tag.removeprefix(_RELATION) for tag in model.tags if tag.startswith(_RELATION))
    return Found(
        repository=model.id,
        base_models=tuple(dict.fromkeys(bases)),
        task_type=model.task_type,
        library=model.library,
        tags=tuple(tag for tag in model.tags if not tag.startswith(BASE_TAG)),
        downloads=model.downloads,
        likes=model.likes,
        updated_at=model.updated_at,
    )
