"""Lines to copy that use a repository: those that are right for what is in it."""

import json
import shlex
from collections.abc import Collection
from dataclasses import dataclass

from registry.folders.kinds import ADAPTER, FUSION, PEFT, Part
from registry.history.cards import Facts
from registry.history.names import MAIN
from registry.history.repositories import Repository
from registry.tables.versions import Version
from registry.task_types import TASK_NAMES

LOOKED_FOR = (
    "config.json",
    "modules.json",
    *(path for part in (PEFT, ADAPTER, FUSION) for path in (part.weights, part.pickle)),
)
"""The files that say which library reads a repository."""

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
"""How files end that the library datasets makes rows of."""


@dataclass(frozen=True, slots=True)
class Use:
    """Lines to copy.

    Attributes:
        title: What they do.
        text: The lines.
    """

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Used:
    """What is to be used.

    Attributes:
        repository: Which repository.
        revision: Which state of it.
        files: Which of `LOOKED_FOR` it has.
        has_data: Whether it has a file that ends as one of `DATA`.
        facts: What is listed of it.
        version: The version in it; None if there is none.
        labels: How many labels that version has.
        hub: The URL of the hub.
        needs_token: Whether nobody sees it without a token.
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
    """Return how to use a repository, the environment that all lines need first."""
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
    """Return how the library that its files are of loads it."""
    if what.repository.kind == "dataset" and what.has_data:
        call = f"load_dataset({_given(what, 'revision')})"
        return Use("With datasets", f"from datasets import load_dataset\n\ndata = {call}")
    if what.repository.kind != "model":
        return None
    if _has(what, PEFT):
        return Use("With peft", _peft(what))
    if _has(what, FUSION):
        return Use("With adapters", _fusion(what))
    if _has(what, ADAPTER):
        return Use("With adapters", _adapter(what))
    if what.facts.library == "sentence-transformers" and "modules.json" in what.files:
        return Use(
            "With sentence-transformers",
            "from sentence_transformers import SentenceTransformer\n\n"
            f"model = SentenceTransformer({_given(what, 'revision')})",
        )
    if what.facts.library == "transformers" and "config.json" in what.files:
        name = _auto_class(what)
        return Use(
            "With transformers",
            f"from transformers import {name}\n\n"
            f"model = {name}.from_pretrained({_given(what, 'revision')})",
        )
    return None


def _peft(what: Used) -> str:
    name, labels = _auto_class(what), f", num_labels={what.labels}" if what.labels else ""
    return "\n".join(
        (
            "from peft import PeftModel",
            f"from transformers import {name}",
            "",
            f"model = {name}.from_pretrained({_base(what)}{labels})",
            f"model = PeftModel.from_pretrained(model, {_given(what, 'revision')})",
        )
    )


def _adapter(what: Used) -> str:
    safe = ", use_safetensors=True" if ADAPTER.weights in what.files else ""
    call = f"{_given(what, 'version')}{safe}, set_active=True"
    return "\n".join((*_adapters(what), f"model.load_adapter({call})"))


def _fusion(what: Used) -> str:
    safe = ", use_safetensors=True" if FUSION.weights in what.files else ""
    return "\n".join(
        (
            "from huggingface_hub import snapshot_download",
            *_adapters(what),
            "# first load_adapter() what it is made of, under the names in its configuration",
            f"folder = snapshot_download({_given(what, 'revision')})",
            f"model.load_adapter_fusion(folder{safe})",
        )
    )


def _adapters(what: Used) -> tuple[str, ...]:
    return (
        "import adapters",
        "from transformers import AutoModel",
        "",
        f"model = AutoModel.from_pretrained({_base(what)})",
        "adapters.init(model)",
    )


def _has(what: Used, part: Part) -> bool:
    return part.weights in what.files or part.pickle in what.files


def _auto_class(what: Used) -> str:
    task_type = (what.version and what.version.task_type) or what.facts.pipeline_tag
    names = TASK_NAMES.get(task_type or "")
    return "AutoModel" if names is None else names.auto_class


def _base(what: Used) -> str:
    named = what.version.base_model if what.version else next(iter(what.facts.base_models), None)
    return "..." if named is None else _text(named)


def _given(what: Used, option: str) -> str:
    at = "" if what.revision == MAIN else f", {option}={_text(what.revision)}"
    return f"{_text(what.repository.full_name)}{at}"


def _text(value: str) -> str:
    """Return a text as Python has it, which is as JSON does."""
    return json.dumps(value, ensure_ascii=False)
