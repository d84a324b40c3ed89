"""Lines to copy that use a repository, depending on its content."""

import shlex
from collections.abc import Collection
from dataclasses import dataclass

from registry.folders.kinds import ADAPTER, FUSION, PEFT, Part
from registry.folders.loading import (
    adapter_lines,
    auto_class,
    fusion_lines,
    peft_lines,
    python_text,
)
from registry.history.cards import Facts
from registry.history.names import MAIN
from registry.history.repositories import Repository
from registry.tables.versions import Version

LOOKED_FOR = (
    "config.json",
    "modules.json",
    *(path for part in (PEFT, ADAPTER, FUSION) for path in (part.weights, part.pickle)),
)
"""The files that show which library reads a repository."""

DATA = (
    *(".arrow", ".csv", ".csv.gz", ".flac", ".jpeg", ".jpg", ".json", ".json.gz", ".jsonl"),
    *(
        ".jsonl.gz",
        ".jsonl.zst",
        ".mp3",
        ".parquet",
        ".png",
        ".tar",
        ".tsv",
        ".txt",
        ".wav",
        ".zip",
    ),
)
"""The endings of files that the library datasets reads."""


@dataclass(frozen=True, slots=True)
class Use:
    """Lines to copy.

    Attributes:
        title: The title.
        text: The lines.
    """

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Used:
    """A repository to use.

    Attributes:
        repository: The repository.
        revision: The revision.
        files: The ones of `LOOKED_FOR` that it has.
        has_data: Whether it has a file with one of the endings `DATA`.
        facts: Its listing.
        version: The version in it; None if there is none.
        labels: The number of labels of that version.
        hub: The URL of the hub.
        needs_token: Whether reading it needs a token.
    """

    repository: Repository
    revision: str
    files: Collection[str]
    has_data: bool
    facts: Facts
    version: Version | None
    labels: int
    hub: str
    needs_token: bool


def uses(what: Used) -> list[Use]:
    """Return the ways to use a repository, first the environment that all of them need."""
    first = [f"export HF_ENDPOINT={shlex.quote(what.hub)}"]
    if what.needs_token:
        first.append("export HF_TOKEN=hubkit_...")
    found = [Use("Say where this hub is, before anything else", "\n".join(first))]
    if what.version is not None:
        found.append(Use("With hubkit", _hubkit(what, what.version)))
    stock = _stock(what)
    if stock is not None:
        found.append(stock)
    found.append(Use("Only its files", _download(what)))
    return found


def _download(what: Used) -> str:
    kind = what.repository.kind
    option = "" if kind == "model" else f" --repo-type {kind}"
    at = "" if what.revision == MAIN else f" --revision {shlex.quote(what.revision)}"
    return f"hf download {what.repository.full_name}{option}{at}"


def _hubkit(what: Used, version: Version) -> str:
    lines = [f"hubkit pull {version.ref} --from {shlex.quote(what.hub)}"]
    if what.labels:
        lines.append(f'hubkit predict {version.ref} "some text"')
    return "\n".join(lines)


def _stock(what: Used) -> Use | None:
    """Return the lines for the library that reads its files."""
    if what.repository.kind == "dataset" and what.has_data:
        call = f"load_dataset({_given(what, 'revision')})"
        return Use("With datasets", f"from datasets import load_dataset\n\ndata = {call}")
    if what.repository.kind != "model":
        return None
    base, at, task_type = _base(what), _given(what, "revision"), _task_type(what)
    if _has(what, PEFT):
        return Use("With peft", "\n".join(peft_lines(base, at, task_type, what.labels)))
    if _has(what, FUSION):
        lines = fusion_lines(base, at, safe=FUSION.weights in what.files)
        return Use("With adapters", "\n".join(lines))
    if _has(what, ADAPTER):
        at = _given(what, "version")
        lines = adapter_lines(base, at, safe=ADAPTER.weights in what.files)
        return Use("With adapters", "\n".join(lines))
    if what.facts.library == "sentence-transformers" and "modules.json" in what.files:
        return Use(
            "With sentence-transformers",
            "from sentence_transformers import SentenceTransformer\n\n"
            f"model = SentenceTransformer({at})",
        )
    if what.facts.library == "transformers" and "config.json" in what.files:
        name = auto_class(task_type)
        return Use(
            "With transformers",
            f"from transformers import {name}\n\nmodel = {name}.from_pretrained({at})",
        )
    return None


def _has(what: Used, part: Part) -> bool:
    return part.weights in what.files or part.pickle in what.files


def _task_type(what: Used) -> str | None:
    return (what.version and what.version.task_type) or what.facts.pipeline_tag


def _base(what: Used) -> str:
    named = what.version.base_model if what.version else next(iter(what.facts.base_models), None)
    return "..." if named is None else python_text(named)


def _given(what: Used, option: str) -> str:
    at = "" if what.revision == MAIN else f", {option}={python_text(what.revision)}"
    return f"{python_text(what.repository.full_name)}{at}"
