"""Read the manifests of older releases: fill in what these left to other files."""

from __future__ import annotations

from hubkit.formats.heads import Head
from registry.manifest import Manifest, TextInfo


def completed(manifest: Manifest, head: Head | None) -> Manifest:
    """Return a manifest with ``text``, and with ``problem_type`` where the head's files have it.

    Before schema 2, only the arguments of a training had the number of tokens, and only the files
    of a head had the problem type.

    Args:
        manifest: As it was published.
        head: The head in the adapter's files; None where there is none.
    """
    found = dict[str, object]()
    if manifest.text is None:
        arguments = {} if manifest.training is None else manifest.training.arguments
        limit = arguments.get("max_length")
        found["text"] = TextInfo(max_length=limit if isinstance(limit, int) else None)
    if manifest.problem_type is None and head is not None:
        found["problem_type"] = head.problem_type
    return manifest.model_copy(update=found)
