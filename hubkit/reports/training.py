"""The report of a trained version: its facts, data, settings, course and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from hubkit.reports.page import render
from registry.manifest import Manifest

MARKDOWN_NAME, PAGE_NAME = "report.md", "report.html"
"""What the files are called in a version."""

_PICTURES = {
    "training.png": "Curves",
    "confusion.png": "Which label is taken for which",
    "scatter.png": "Predicted and expected numbers",
}
_MOST_ROWS = 50
"""Rows of a table of classes or epochs, so that a thousand of them leave it readable."""


@dataclass(frozen=True)
class Section:
    """A part of a report: a table, and a sentence before it.

    Attributes:
        title: The text above it.
        columns: Their headers; none for a table of names and values.
        rows: The cells.
        note: A sentence about them.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class RunFacts:
    """What a report tells of a run, beside what the manifest of its result does.

    Attributes:
        name: The name of the result.
        data: The name of the rows that were trained on.
        validation: How many rows it was measured on, and which; None if nothing was measured.
        whole: Whether all rows were trained on after the held-out ones were measured.
        labels: The classes; none where there are none to count.
        trained: How often each occurs in the rows that were trained on.
        held_out: The same for the rows that it was measured on, if any.
        cut: How many rows, those of the validation among them, are longer than what is read; None
            if they were not counted.
        defaults: The names of the settings that are the defaults.
        history: The trainer's log.
        pictures: What a page shows, by file name.
        more: Sections that follow the metrics.
    """

    name: str
    data: str
    validation: tuple[int, str] | None
    whole: bool = False
    labels: Sequence[str] = ()
    trained: Sequence[int] = ()
    held_out: Sequence[int] = ()
    cut: int | None = None
    defaults: frozenset[str] = frozenset()
    history: Sequence[Mapping[str, float]] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    more: Sequence[Section] = ()


def training_report(run: RunFacts, manifest: Manifest) -> dict[str, bytes]:
    """The files of the report, by name: Markdown, and a page where there are pictures to show.

    Args:
        run: What was done.
        manifest: The manifest of the result, without its files.
    """
    told = {
        "title": run.name,
        "sections": [one for one in _sections(run, manifest) if one.rows],
        "pictures": {name: _PICTURES.get(name, name) for name in run.pictures},
    }
    found = {MARKDOWN_NAME: render("report.md", **told)}
    if run.pictures:
        found[PAGE_NAME] = render("report.html", **told, files=run.pictures)
    return {name: text.encode() for name, text in found.items()}


def _sections(run: RunFacts, manifest: Manifest) -> list[Section]:
    return [
        Section("What it is", (), _identity(manifest)),
        Section(
            "Metrics",
            ("metric", "value", "better if"),
            [
                (one.name, f"{one.value:.4f}", "higher" if one.higher_is_better else "lower")
                for one in manifest.metrics
            ],
            _measured(run),
        ),
        *run.more,
        Section("Data", (), _data(run, manifest)),
        Section("Classes", ("class", "trained on", "validation"), _classes(run)),
        Section("Settings", ("setting", "value", ""), _settings(run, manifest)),
        Section("Course", ("epoch", "training loss", "validation loss"), _course(run)),
        Section("Run", (), _run(manifest)),
    ]


def _identity(manifest: Manifest) -> list[tuple[str, str]]:
    base = manifest.base_model
    method = [manifest.method.type, *_pairs(manifest.method.parameters)]
    facts = [
        ("kind", manifest.kind),
        ("method", " ".join(method)),
        ("base model", f"{base.id}{f' at {base.revision}' if base.revision else ''}"),
        ("architecture", base.architecture or ""),
        ("task", manifest.task or ""),
        ("task type", manifest.task_type or ""),
        ("tags", ", ".join(manifest.tags)),
        ("description", manifest.description),
        *(("made of", f"{parent.ref} ({parent.digest})") for parent in manifest.parents),
    ]
    return [(name, value) for name, value in facts if value]


def _measured(run: RunFacts) -> str:
    if run.validation is None:
        return ""
    count, rows = run.validation
    how = f"Measured on {count} validation rows, {rows}, at the epoch with the lowest loss there."
    more = " Then all rows, these among them, were trained on to the last epoch: that is published."
    return how + more if run.whole else how


def _data(run: RunFacts, manifest: Manifest) -> list[tuple[str, str]]:
    training, text = manifest.training, manifest.text
    assert training is not None
    limit = None if text is None else text.max_length
    facts = [
        ("rows", f"{training.examples} of {run.data}"),
        ("SHA-256 of the rows", training.data_sha256 or ""),
        ("validation rows", "none" if run.validation is None else str(run.validation[0])),
        ("tokens of a row, at most", str(limit or "")),
        ("rows longer than that", "" if run.cut is None else str(run.cut)),
    ]
    return [(name, value) for name, value in facts if value]


def _classes(run: RunFacts) -> list[tuple[str, str, str]]:
    counts = zip_longest(run.labels, run.trained, run.held_out, fillvalue="")
    return _shortened([(str(name), str(one), str(other)) for name, one, other in counts])


def _settings(run: RunFacts, manifest: Manifest) -> list[tuple[str, str, str]]:
    assert manifest.training is not None
    arguments = manifest.training.arguments
    rows = [
        (name, _value(value), "default" if name in run.defaults else "")
        for name, value in arguments.items()
    ]
    return sorted(rows, key=lambda row: row[2])


def _course(run: RunFacts) -> list[tuple[str, str, str]]:
    epochs: dict[float, dict[str, float]] = {}
    for entry in run.history:
        losses = {name: entry[name] for name in ("loss", "eval_loss") if name in entry}
        if losses:
            epochs.setdefault(round(entry["epoch"], 2), {}).update(losses)
    return _shortened(
        [
            (f"{epoch:g}", *(f"{at[n]:.4f}" if n in at else "" for n in ("loss", "eval_loss")))
            for epoch, at in epochs.items()
        ]
    )


def _run(manifest: Manifest) -> list[tuple[str, str]]:
    training = manifest.training
    assert training is not None
    return [
        ("seconds", f"{training.seconds:.1f}"),
        ("seed", str(training.seed)),
        *training.library_versions.items(),
    ]


def _shortened(rows: list[Any]) -> list[Any]:
    more = len(rows) - _MOST_ROWS
    return rows if more <= 0 else [*rows[:_MOST_ROWS], (f"and {more} more", "", "")]


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_value(value)}" for name, value in values.items()]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(_pairs(value)) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    return str(value)
