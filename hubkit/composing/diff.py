"""What differs between two published versions. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import deserialize

from registry import Catalog, Manifest, Version

# numpy has no bfloat16: its bits are the upper half of a float32's.
_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
_ELSEWHERE = {"files", "metrics"}
# What an adapter is called inside its own files: the same tensor has another name in another's.
_OWNER = re.compile(
    r"(?<![^.])(adapters|loras|invertible_adapters|adapter_fusion_layer|heads)\.[^.]+(?=\.)"
)


@dataclass(frozen=True, slots=True)
class Change:
    """A value that differs.

    Attributes:
        name: A field of the manifest, such as ``training.arguments.epochs``, or a metric with its
            data set and split.
        before: In the first version; None if it is not there.
        after: In the second version; None if it is not there.
    """

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor that differs.

    Attributes:
        name: The file and the tensor's name in it: in the first version, if it is there. It may
            differ in the second version by what the adapters are called.
        before: Its shape in the first version; None if it is not there.
        after: Its shape in the second version; None if it is not there.
        relative: The norm of the difference over the norm of the first, infinite where that is 0;
            None unless both have the same shape and a known number type.
    """

    name: str
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None
    relative: float | None


@dataclass(frozen=True, slots=True)
class Differences:
    """All that differs between two versions; what is equal is left out.

    Attributes:
        fields: Of the manifests, without metrics and files.
        metrics: By data set, split and name.
        files: By path: their digests.
        tensors: Of the safetensors files that differ.
    """

    fields: tuple[Change, ...]
    metrics: tuple[Change, ...]
    files: tuple[Change, ...]
    tensors: tuple[TensorChange, ...]


def compare(catalog: Catalog, one: Version, other: Version) -> Differences:
    """Compare two versions that the catalog resolved.

    Raises:
        HubkitError: As ``Catalog.folder``.
    """
    before, after = catalog.manifest(one), catalog.manifest(other)
    files = _changes(_files(before), _files(after))
    weights = [change.name for change in files if change.name.endswith(".safetensors")]
    first: dict[str, _Tensor] = {}
    second: dict[str, _Tensor] = {}
    if weights:
        first = _tensors(catalog.folder(one, before), weights)
        second = _tensors(catalog.folder(other, after), weights)
    return Differences(
        fields=_changes(dict(_fields(before)), dict(_fields(after))),
        metrics=_changes(_metrics(before), _metrics(after)),
        files=files,
        tensors=tuple(
            change
            for one_name, other_name in _pairs(first, second)
            if (
                change := _tensor_change(
                    one_name or other_name, first.get(one_name), second.get(other_name)
                )
            )
        ),
    )


def _pairs(first: Iterable[str], second: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names of the same tensor in both versions; empty where one has none.

    They are the same name, or differ in what the adapters are called.
    """
    alike = set(first) & set(second)
    left: dict[str, list[str]] = {}
    for name in sorted(set(second) - alike):
        left.setdefault(_OWNER.sub(r"\1", name), []).append(name)
    pairs = [(name, name) for name in alike]
    for name in sorted(set(first) - alike):
        others = left.get(_OWNER.sub(r"\1", name))
        pairs.append((name, others.pop(0) if others else ""))
    pairs.extend(("", name) for names in left.values() for name in names)
    return sorted(pairs, key=lambda pair: pair[0] or pair[1])


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(
        Change(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def _fields(manifest: Manifest) -> Iterator[tuple[str, Any]]:
    document = manifest.model_dump(mode="json", by_alias=True, exclude=_ELSEWHERE)
    pending = [("", document)]
    while pending:
        prefix, values = pending.pop()
        for key, value in values.items():
            if isinstance(value, dict):
                pending.append((f"{prefix}{key}.", value))
            else:
                yield f"{prefix}{key}", value


def _metrics(manifest: Manifest) -> dict[str, float]:
    return {f"{m.name} ({m.dataset}, {m.split})": m.value for m in manifest.metrics}


def _files(manifest: Manifest) -> dict[str, str]:
    return {path: info.sha256 for path, info in manifest.files.items()}


_Tensor = tuple[str, tuple[int, ...], bytes]


def _tensors(folder: Path, paths: list[str]) -> dict[str, _Tensor]:
    found: dict[str, _Tensor] = {}
    for path in paths:
        if not (folder / path).is_file():
            continue
        entries = deserialize((folder / path).read_bytes())  # type: ignore[no-untyped-call]
        for name, entry in entries:
            data = bytes(entry["data"])
            found[f"{path}: {name}"] = (entry["dtype"], tuple(entry["shape"]), data)
    return found


def _tensor_change(name: str, before: _Tensor | None, after: _Tensor | None) -> TensorChange | None:
    if before == after:
        return None
    relative = None
    if before and after and before[1] == after[1]:
        one, other = _numbers(before), _numbers(after)
        if one is not None and other is not None:
            size = float(np.linalg.norm(one))
            gap = float(np.linalg.norm(other - one))
            relative = gap / size if size else (0.0 if gap == 0 else float("inf"))
    return TensorChange(name, before and before[1], after and after[1], relative)


def _numbers(tensor: _Tensor) -> NDArray[np.float64] | None:
    kind, _, data = tensor
    if kind not in _TYPES:
        return None
    values = np.frombuffer(data, _TYPES[kind])
    if kind == "BF16":
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float64)
