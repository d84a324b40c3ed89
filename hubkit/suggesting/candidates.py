"""The adapters of a registry that could be fused on one base model. Loads no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from hubkit.bases.compare import same_base
from hubkit.bases.known import expected_base, known_bases
from hubkit.composing.combine import Chosen
from hubkit.methods.table import METHODS
from registry import Catalog, Version
from registry.errors import HubkitError, NoCandidateError
from registry.manifest import BaseModelInfo
from registry.search.search import search

_PAGE = 1000


@dataclass(frozen=True)
class Skipped:
    """An adapter that could not be run.

    Attributes:
        version: The adapter.
        reason: Why, as a sentence.
    """

    version: Version
    reason: str


@dataclass(frozen=True)
class Candidates:
    """What may be run, and how much is not.

    Attributes:
        chosen: The newest version of each adapter: first those of the task type, then the others,
            of both the latest published first.
        skipped: Those that cannot be read.
        left_out: How many adapters are not among them, by the reason.
    """

    chosen: tuple[Chosen, ...]
    skipped: tuple[Skipped, ...]
    left_out: Mapping[str, int]


def find_candidates(
    catalog: Catalog,
    base: BaseModelInfo,
    task_type: str,
    most: int,
    rows: Collection[str] = (),
) -> Candidates:
    """Find the adapters on a base model that can be fused.

    One that was trained on the very rows that it is to help with would look better than it is: it
    is left out.

    Args:
        catalog: The registry.
        base: The base model, described.
        task_type: The task type that comes first.
        most: How many are taken.
        rows: Digests of the rows that they are to help with.

    Raises:
        NoCandidateError: There is none.
    """
    left_out: Counter[str] = Counter()
    usable = []
    for version in _versions(catalog, base):
        if version.kind != "adapter":
            left_out["fusions, stacks and mixes"] += 1
        elif version.method not in METHODS:
            left_out["of methods that hubkit does not combine"] += 1
        else:
            usable.append(version)
    usable.sort(key=lambda one: (one.task_type == task_type, one.created_at), reverse=True)
    chosen: list[Chosen] = []
    skipped: list[Skipped] = []
    for number, version in enumerate(usable):
        if len(chosen) == most:
            left_out[f"behind the first {most}"] = len(usable) - number
            break
        try:
            manifest = catalog.manifest(version)
        except HubkitError as error:
            skipped.append(Skipped(version, str(error)))
            continue
        if manifest.training is not None and manifest.training.data_sha256 in rows:
            left_out["trained on these very rows"] += 1
        elif same_base(expected_base(manifest, known_bases(catalog.home, version)), base):
            chosen.append(Chosen(version, manifest))
        else:
            left_out["of another base model of that name"] += 1
    if not chosen:
        left_out["that cannot be read"] += len(skipped)
        without = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        raise NoCandidateError(
            f"The registry has no adapter on {base.id} that could be fused"
            f"{f' (left out: {without})' if without else ''}.",
            base.id,
        )
    return Candidates(tuple(chosen), tuple(skipped), dict(left_out))


def _versions(catalog: Catalog, base: BaseModelInfo) -> Iterator[Version]:
    """The versions with the weights of a base model, or its name; each once."""
    seen: set[str] = set()
    for asked in (base.fingerprint, *base.rounded.values(), base.id):
        after = None
        while asked is not None:
            page = search(catalog, base=asked, limit=_PAGE, after=after)
            for version in page.items:
                if str(version.ref) not in seen:
                    seen.add(str(version.ref))
                    yield version
            after = page.next
            if after is None:
                break
