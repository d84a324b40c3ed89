"""The model card of a version: what the Hub's filters know it by, and how to load it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCardData,
    eval_result_entries_to_yaml,
)

from hubkit.hub.address import DEFAULT
from registry import Manifest, Measurement, Version
from registry.folders.card import Card
from registry.folders.kinds import ADAPTER, FUSION, HEAD, PEFT
from registry.folders.loading import adapter_lines, fusion_lines, peft_lines, python_text

_DATASET_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
"""The id of a data set on a hub; a file has no slash in its name."""


def write_card(
    version: Version,
    manifest: Manifest,
    repository: str,
    *,
    revision: str,
    endpoint: str = DEFAULT,
    parents: Sequence[tuple[str, str]] = (),
    own: Card | None = None,
    measurements: Sequence[Measurement] = (),
) -> str:
    """Return the text of ``README.md`` for a version on a hub.

    Args:
        version: The version in this registry.
        manifest: Its manifest, which names its base model by an id.
        repository: Where it is going: ``owner/name``.
        revision: The tag it gets there.
        endpoint: The hub's URL; default: that of the Hugging Face Hub.
        parents: Repository and tag of all that it is made of.
        own: The card that the version came with; what it says stays, unless the manifest has it
            differently.
        measurements: What counts of what was recorded of the version; it stands before the metrics
            of the manifest.
    """
    own = own or Card()
    results = _results(manifest, measurements)
    data = {**own_fields(own), **_fields(manifest)}
    if results:
        data |= {"model_name": repository, "eval_results": results}
        data.pop("model-index", None)  # the client would take it in place of the results
    data["tags"] = list(dict.fromkeys([*own.tags, *_tags(manifest)]))
    fields = ModelCardData(**data, ignore_metadata_errors=True).to_yaml()
    body = own.text.strip() or f"# {repository}\n\n{manifest.description}".strip()
    sections = [
        body,
        _facts(version, manifest, revision),
        _usage(manifest, repository, revision, endpoint),
        _lineage(manifest, parents),
    ]
    return f"---\n{fields}\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def library_of(manifest: Manifest) -> str:
    """Return which stock library reads the version's folder, as the Hub calls it."""
    if PEFT.weights in manifest.files:
        return "peft"
    if any(part.weights in manifest.files for part in (ADAPTER, FUSION, HEAD)):
        return "adapter-transformers"
    return "hubkit"


def _fields(manifest: Manifest) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "base_model": manifest.base_model.id,
        "base_model_relation": "adapter",
        "library_name": library_of(manifest),
        "pipeline_tag": manifest.task_type,
        "language": manifest.language if manifest.language != "mul" else None,
        "license": manifest.license,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _results(manifest: Manifest, measurements: Sequence[Measurement]) -> list[EvalResult]:
    """The evaluation results that the Hub shows, as in its ``model-index``."""

    def result(dataset: str, split: str, metric: str, value: float, **more: Any) -> EvalResult:
        return EvalResult(
            task_type=manifest.task_type or "other",
            task_name=manifest.task,
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=split,
            metric_type=metric,
            metric_name=metric,
            metric_value=value,
            **more,
        )

    recorded = [
        result(
            *(one.dataset, one.split, one.metric, one.value),
            dataset_args={"rows": one.rows, "sha256": one.data_sha256},
            metric_args=None if one.low is None else {"confidence_interval": [one.low, one.high]},
        )
        for one in measurements
    ]
    came_with = [result(one.dataset, one.split, one.name, one.value) for one in manifest.metrics]
    return recorded + came_with


RESULTS_NAME = ".eval_results/hubkit.yaml"
"""Where a hub looks for results on its own data sets."""


def write_results(measurements: Sequence[Measurement]) -> str | None:
    """Return the text of ``.eval_results/hubkit.yaml``, or None where there is nothing for it.

    The form takes a number for each data set of the hub: the metric that sums up what was recorded.
    """
    import yaml  # only needed where something was recorded

    entries: dict[str, EvalResultEntry] = {}
    for one in measurements:
        if one.dataset in entries or not _DATASET_ID.fullmatch(one.dataset):
            continue
        sure = "" if one.low is None else f", 95 % from {one.low:.4f} to {one.high:.4f}"
        entries[one.dataset] = EvalResultEntry(
            dataset_id=one.dataset,
            task_id="default",
            value=one.value,
            date=f"{one.measured_at:%Y-%m-%dT%H:%M:%SZ}",
            notes=f"{one.metric} on {one.split}, {one.rows} rows{sure}",
        )
    if not entries:
        return None
    listed = eval_result_entries_to_yaml([*entries.values()])
    text: str = yaml.safe_dump(listed, sort_keys=False, allow_unicode=True)
    return text


def _tags(manifest: Manifest) -> list[str]:
    words = ["adapter", "hubkit", manifest.kind, manifest.method.type, manifest.task]
    return [*dict.fromkeys(word for word in (*words, *manifest.tags) if word)]


def _facts(version: Version, manifest: Manifest, revision: str) -> str:
    base = manifest.base_model
    rows = [
        ("Kind", manifest.kind),
        ("Method", manifest.method.type),
        ("Base model", base.id),
        ("Fingerprint of its weights", f"`{base.fingerprint}`" if base.fingerprint else ""),
        ("Task", ", ".join(filter(None, (manifest.task, manifest.task_type)))),
        ("Labels", ", ".join(manifest.labels)),
        ("Version", f"{revision} (manifest `{version.manifest_digest}`)"),
    ]
    table = [f"| {name} | {_cell(value)} |" for name, value in rows if value]
    return "\n".join(["## This version", "", "| | |", "|---|---|", *table])


def _usage(manifest: Manifest, repository: str, revision: str, endpoint: str) -> str:
    number = revision.removeprefix("v")
    elsewhere = endpoint != DEFAULT
    lines = [
        "## Use it",
        "",
        "```bash",
        f"hubkit pull {repository}@{number}" + (f" --from {endpoint}" if elsewhere else ""),
        *([f'hubkit predict {repository}@{number} "some text"'] if manifest.labels else []),
        "```",
    ]
    stock = _stock(manifest, repository, revision)
    if stock:
        if elsewhere:  # which the library reads when it is imported
            stock = ["import os", "", f'os.environ["HF_ENDPOINT"] = "{endpoint}"', "", *stock]
        lines += ["", "Or with the stock library:", "", "```python", *stock, "```"]
    return "\n".join(lines)


def _stock(manifest: Manifest, repository: str, revision: str) -> list[str]:
    # The author of the adapter chose the id, so it may hold anything.
    base = python_text(manifest.base_model.id)
    at = f'"{repository}", revision="{revision}"'
    if PEFT.weights in manifest.files:
        return peft_lines(base, at, manifest.task_type, len(manifest.labels))
    if FUSION.weights in manifest.files:
        return fusion_lines(base, at)
    if ADAPTER.weights in manifest.files:
        return adapter_lines(base, f'"{repository}", version="{revision}"')
    return []


def _lineage(manifest: Manifest, parents: Sequence[tuple[str, str]]) -> str:
    if not manifest.parents:
        return ""
    lines = ["## Made of", ""]
    for parent, (repository, revision) in zip(manifest.parents, parents, strict=True):
        lines.append(f"- [{repository}](/{repository}) {revision} (manifest `{parent.digest}`)")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# A few lines of YAML can stand for values that take very long to write out.
_MOST_VALUES = 10_000

# What the stock client's class of a card takes for its own settings.
_RESERVED = {"self", "ignore_metadata_errors", "eval_results", "model_name", "tags"}


def own_fields(card: Card) -> dict[str, Any]:
    """Return the fields of a card that another card can hold, whatever they mean."""
    return {
        name: value
        for name, value in card.data.items()
        if isinstance(name, str) and name not in _RESERVED and _is_small(value)
    }


def _is_small(value: Any) -> bool:
    """Whether a value, written out, is of a sane size; one that contains itself is of none."""
    pending, count = [value], 0
    while pending:
        count += 1
        if count > _MOST_VALUES:
            return False
        one = pending.pop()
        if isinstance(one, dict):
            pending += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set):
            pending += one
    return True
