"""hubkit show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.comparisons import comparison_json, print_comparison_in_short
from hubkit.cli.options import json_option
from hubkit.cli.output import (
    measured_text,
    one_line,
    print_facts,
    print_json,
    size,
    version_json,
)
from hubkit.cli.params import REF
from registry.refs import AdapterRef

if TYPE_CHECKING:
    from hubkit.bases.known import KnownBases
    from hubkit.comparing.comparison import Comparison
    from hubkit.sharing.pickles import Pickle
    from registry import Catalog, Lineage, Manifest, Measurement, ParentLink, Version
    from registry.folders.claims import Claim
    from registry.manifest import BaseModelInfo, TextInfo, Training


@click.command("show")
@click.argument("ref", type=REF)
@click.option(
    "--files",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Copy its files, such as pictures and train.yaml, to a new folder.",
)
@json_option
def command(ref: AdapterRef, files: Path | None, as_json: bool) -> None:
    """Show all that is known of one version of an adapter.

    Prints its task, base model, metrics, labels, training and files, its parts and the adapters
    made of it, and the other versions.

    \b
    Example:
      hubkit show reviews
      hubkit show reviews@2 --json
      hubkit show reviews --files reviews-files
    """
    from registry import open_catalog

    catalog = open_catalog()
    version = catalog.resolve(ref)
    if files is not None:
        catalog.materialize(version, files)
    known = _look_up(catalog, version)
    if as_json:
        print_json(_document(known))
        return
    _print(known)
    _print_commit_without_version(catalog, version)


@dataclass(frozen=True)
class _Known:
    """All that is known of a version."""

    version: Version
    manifest: Manifest
    measurements: Sequence[Measurement]
    claims: Sequence[Claim]
    lineage: Lineage
    versions: Sequence[Version]
    origins: Sequence[str]
    bases: KnownBases
    pickles: Mapping[str, Pickle]
    comparison: Comparison | None


def _look_up(catalog: Catalog, version: Version) -> _Known:
    from hubkit.bases.known import known_bases
    from hubkit.comparing.comparison import comparison_in
    from hubkit.sharing.pickles import pickles_of

    manifest = catalog.manifest(version)
    return _Known(
        version=version,
        manifest=manifest,
        measurements=catalog.measurements([version]).get(version.ref, ()),
        claims=_claims(catalog, version, manifest),
        lineage=catalog.lineage(version),
        versions=catalog.versions(version.ref.repository),
        origins=catalog.origins(version),
        bases=known_bases(catalog.home, version),
        pickles=pickles_of(catalog, manifest),
        comparison=comparison_in(catalog, version, manifest),
    )


def _document(known: _Known) -> dict[str, Any]:
    bases, comparison = known.bases, known.comparison
    return {
        **version_json(known.version),
        "measurements": [one.model_dump(mode="json") for one in known.measurements],
        "claims": [one.model_dump(mode="json") for one in known.claims],
        "manifest": known.manifest.model_dump(mode="json", by_alias=True),
        "parents": [
            {
                "ref": None if _is_deleted(parent) else parent.ref,
                "digest": parent.digest,
                "here": str(parent.version.ref) if parent.version else None,
            }
            for parent in known.lineage.parents
        ],
        "used_by": [str(child.ref) for child in known.lineage.children],
        "versions": [version_json(other) for other in known.versions],
        "pickles": {
            path: {"name": pickle.name, "sha256": pickle.sha256}
            for path, pickle in known.pickles.items()
        },
        "comparison": comparison and comparison_json(comparison),
        "pulled_from": known.origins,
        "known_bases": {
            "first": bases.first,
            "allowed": [*bases.allowed],
            "base": bases.base and bases.base.model_dump(mode="json"),
        },
    }


def _print_commit_without_version(catalog: Catalog, version: Version) -> None:
    """Say why the last push made no version."""
    head = catalog.history.head(version.ref)
    if head is not None and head.version is None:
        facts = [("commit", head.oid), ("title", head.title), ("no version", head.reason or "")]
        print_facts(facts, title="Pushed since")


def _print(known: _Known) -> None:
    version, manifest, measurements = known.version, known.manifest, known.measurements
    base, training, first = manifest.base_model, manifest.training, known.bases.base
    click.echo(str(version.ref))
    print_facts(
        [
            ("kind", version.kind),
            ("method", " ".join([version.method, *_pairs(manifest.method.parameters)])),
            ("task", version.task or ""),
            ("task type", version.task_type or ""),
            ("labels", ", ".join(manifest.labels)),
            ("base model", f"{base.id}{f' at {base.revision}' if base.revision else ''}"),
            ("", base.shape),
            *(("", line) for line in _digests(base)),
            *(("", f"{line}, where it was first attached") for line in _digests(first)),
            ("", f"also allowed: {', '.join(known.bases.allowed)}" if known.bases.allowed else ""),
            ("head", ", ".join(manifest.head.modules) if manifest.head else ""),
            ("outputs", manifest.outputs_text),
            ("text", _text(manifest.text)),
            ("language", version.language or ""),
            ("license", version.license or ""),
            ("tags", ", ".join(version.tags)),
            ("description", version.description),
            ("published", f"{_date(version)} by {version.author}"),
            ("pulled from", ", ".join(known.origins)),
            ("message", version.message),
            ("yanked", _yank(version)),
            ("digest", version.manifest_digest),
        ]
    )
    print_facts([(one.metric, _measured(one)) for one in measurements], title="Measured")
    print_facts(
        [
            (metric.name, f"{metric.value:.4f} ({metric.dataset}, {metric.split})")
            for metric in manifest.metrics
        ],
        title="Metrics of training" if measurements else "Metrics",
    )
    print_facts(
        [
            (one.metric, f"{one.value:g} ({', '.join(filter(None, (one.dataset, one.split)))})")
            for one in known.claims
        ],
        title="Said by its card, not measured here",
    )
    if training:
        print_facts(
            [
                ("examples", str(training.examples)),
                ("data", f"sha256 {training.data_sha256}" if training.data_sha256 else ""),
                ("seed", str(training.seed)),
                ("seconds", f"{training.seconds:.1f}"),
                ("measured", _choice(training)),
                ("arguments", " ".join(_pairs(training.arguments))),
                ("libraries", " ".join(_pairs(training.library_versions))),
            ],
            title="Training",
        )
    if known.comparison is not None:
        print_comparison_in_short(known.comparison)
    print_facts(
        [
            (
                "deleted" if _is_deleted(parent) else parent.ref,
                parent.digest + _here(parent.ref, parent.version),
            )
            for parent in known.lineage.parents
        ],
        title="Made of",
    )
    children = known.lineage.children
    print_facts([(str(child.ref), child.kind) for child in children], title="Used by")
    print_facts(
        [
            (
                str(other.number),
                ", ".join(filter(None, [_date(other), *other.aliases, _yank(other)])),
            )
            for other in known.versions
        ],
        title="Versions",
    )
    print_facts(
        [
            (one_line(path), size(info.size) + _made_of(known.pickles.get(path)))
            for path, info in sorted(manifest.files.items())
        ],
        title="Files",
    )


def _claims(catalog: Catalog, version: Version, manifest: Manifest) -> list[Claim]:
    """The claims of the card that a version came with."""
    from registry.folders.card import CARD_NAME, read_card

    if CARD_NAME not in manifest.files:
        return []
    from registry.folders.claims import claims_of

    return claims_of(read_card(catalog.folder(version, manifest)).data)


def _measured(one: Measurement) -> str:
    return (
        f"{measured_text(one)} on {one.data}, {one.split}, {one.rows} rows; "
        f"{one.measured_at:%Y-%m-%d} by {one.actor} with hubkit {one.hubkit}"
    )


def _digests(base: BaseModelInfo | None) -> list[str]:
    """The digests and settings that a base model must have, one in each line."""
    if base is None:
        return []
    lines = [
        f"{name} {digest}"
        for name, digest in (
            ("fingerprint", base.fingerprint),
            ("configuration", base.config_digest),
            ("tokenizer", base.tokenizer_digest),
            *sorted(base.parts.items()),
        )
        if digest
    ]
    lines += [
        f"{name} {', '.join(_pairs(settings))}"
        for name, settings in (
            ("tokenizer settings", base.tokenizer_settings),
            ("generation settings", base.generation),
        )
        if settings
    ]
    return [*lines, f"in {base.dtype}"] if base.dtype else lines


def _text(text: TextInfo | None) -> str:
    if text is None:
        return ""
    known = text.model_dump(exclude_none=True)
    if text.separator is not None:
        known["separator"] = repr(text.separator)
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in known.items())


def _pairs(values: Mapping[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _choice(training: Training) -> str:
    """How held-out rows were measured, if all rows were trained on after that."""
    chosen: Any = training.arguments.get("chosen_on")
    if not chosen:
        return ""
    return (
        f"on {chosen['rows']} rows that were held out at first, after {chosen['steps']} steps; "
        f"then all {training.examples} were trained on, to the last epoch"
    )


def _date(version: Version) -> str:
    return f"{version.created_at:%Y-%m-%d %H:%M} UTC"


def _yank(version: Version) -> str:
    return f"yanked: {version.yank_reason}" if version.yanked else ""


def _made_of(pickle: Pickle | None) -> str:
    return f", made of {pickle.name} (sha256 {pickle.sha256})" if pickle else ""


def _is_deleted(parent: ParentLink) -> bool:
    return parent.version is not None and parent.version.ref.is_nameless


def _here(ref: str, version: Version | None) -> str:
    if version is None:
        return " (not in this registry)"
    if version.ref.is_nameless:
        return ""
    return "" if str(version.ref) == ref else f" (here {version.ref})"
