"""Find adapters on a hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from huggingface_hub import ModelInfo

from hubkit.hub.address import RemoteAddress
from hubkit.hub.errors import remote_errors
from hubkit.hub.session import open_hub

_BASE = "base_model:"
_RELATION = "base_model:adapter:"


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


def search_remote(
    address: RemoteAddress,
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
        address: The hub.
        text: What is part of their name.
        base: The base model's hub id.
        task: A task or task type: one of their tags.
        owner: Whose.
        tags: Tags that all of them have.
        limit: At most this many.

    Raises:
        RemoteError: The hub refuses, or cannot be reached.
    """
    # Whoever wrote the card: hubkit, PEFT and AdapterHub all name the base model as one that the
    # repository adapts, which other models derived from it do not.
    wanted = [*tags, *([task] if task else []), f"{_RELATION}{base}" if base else "adapter"]
    with remote_errors(address.endpoint):
        hub = open_hub(address.endpoint)
        models = hub.list_models(
            search=text,
            author=owner,
            filter=wanted,
            sort="downloads",
            limit=limit,
            expand=["tags", "pipeline_tag", "library_name", "lastModified", "downloads", "likes"],
        )
        return [_found(model) for model in models]


def _found(model: ModelInfo) -> Found:
    tags = tuple(model.tags or ())
    bases = (tag.removeprefix(_RELATION) for tag in tags if tag.startswith(_RELATION))
    return Found(
        repository=model.id,
        base_models=tuple(dict.fromkeys(bases)),
        task_type=model.pipeline_tag,
        library=model.library_name,
        tags=tuple(tag for tag in tags if not tag.startswith(_BASE)),
        downloads=model.downloads or 0,
        likes=model.likes or 0,
        updated_at=model.last_modified,
    )
