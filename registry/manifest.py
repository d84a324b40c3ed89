"""What an adapter is: the one place that knows ``hubkit.json``, schema 1.

The file is canonical JSON (keys sorted, no spaces, UTF-8, no NaN), and its SHA-256 is the
digest of the version, which pins the base model, the parents and every byte of every file.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from registry.errors import ManifestError
from registry.fields import Count, Finite, Json, Positive, Ref, Text, Word
from registry.storage.files import Digest, FileInfo, RelPath

SCHEMA: Literal[1] = 1
"""The schema this hubkit reads and writes."""

MAX_BYTES = 4 * 1024 * 1024
"""The largest manifest accepted."""

_SHOWN_PROBLEMS = 5

Kind = Literal["adapter", "fusion", "stack", "mix"]
"""What a version holds: one adapter, or one of the ways to combine several."""


class _Part(BaseModel):
    # Built when first used: a command that lists adapters reads no manifest.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)


class Method(_Part):
    """How the adapter changes its base model.

    Attributes:
        type: For example ``seq_bn``, ``par_bn`` or ``lora``.
        parameters: What the type needs to be rebuilt: JSON values nested at most 16 deep.
    """

    type: Word
    parameters: Mapping[Word, Json] = Field(default_factory=dict)


class BaseModelInfo(_Part):
    """The frozen model the adapter was trained for.

    Attributes:
        id: Its hub id, or the path it was loaded from.
        revision: The commit of that id; None if unknown.
        architecture: Its class name, for example ``BertModel``; this and the two sizes are None
            where the files of the adapter do not say, and the base model was not at hand.
        hidden_size: Features per token.
        num_layers: Transformer layers.
        fingerprint: Digest of the backbone's stored tensors; None if never computed.
    """

    id: Word
    revision: Word | None = None
    architecture: Word | None = None
    hidden_size: Positive | None = None
    num_layers: Positive | None = None
    fingerprint: Digest | None = None


class Metric(_Part):
    """One measured number.

    Attributes:
        dataset: What it was measured on.
        split: The part of it, for example ``test``.
        name: For example ``accuracy``.
        value: Finite, in the metric's own unit.
        higher_is_better: False for losses and errors.
    """

    dataset: Word
    split: Word
    name: Word
    value: Finite
    higher_is_better: bool


class Parent(_Part):
    """An adapter that a fusion, stack or mix is made of.

    Attributes:
        ref: What it was called, for people.
        digest: Which manifest it had, for machines.
    """

    ref: Ref
    digest: Digest


class Training(_Part):
    """How the weights came about.

    Attributes:
        arguments: Hyperparameters by name.
        seed: Of every random generator.
        examples: Rows trained on in an epoch.
        data_sha256: Digest of those rows; None if they were not kept.
        seconds: Wall-clock time.
        library_versions: By distribution name.
    """

    arguments: Mapping[Word, Json] = Field(default_factory=dict)
    seed: Count
    examples: Count
    data_sha256: Digest | None = None
    seconds: Annotated[Finite, Field(ge=0)]
    library_versions: Mapping[Word, Word] = Field(default_factory=dict)


class Manifest(_Part):
    """Everything a version is, except the bytes of its files.

    Attributes:
        schema_version: Always 1; spelled ``schema`` in the file.
        kind: What the version holds.
        method: How it changes the base model.
        base_model: The model it belongs to.
        task: What it does, for example ``sentiment``.
        task_type: How, for example ``text-classification``.
        labels: Label names; the position is the label id.
        language: BCP 47 tag, for example ``en``.
        license: SPDX identifier, for example ``apache-2.0``.
        tags: Words to find it by, without duplicates.
        description: For people, at most 65,536 characters.
        metrics: What was measured.
        parents: What it is made of, in order; never empty for a fusion, stack or mix.
        training: How the weights came about; None if hubkit did not train them.
        files: What identifies each file's bytes, by path.
    """

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    kind: Kind
    method: Method
    base_model: BaseModelInfo
    task: Word | None = None
    task_type: Word | None = None
    labels: tuple[Word, ...] = ()
    language: Word | None = None
    license: Word | None = None
    tags: tuple[Word, ...] = ()
    description: Text = ""
    metrics: tuple[Metric, ...] = ()
    parents: tuple[Parent, ...] = ()
    training: Training | None = None
    files: Mapping[RelPath, FileInfo] = Field(default_factory=dict)

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    @field_validator("labels", "tags")
    @classmethod
    def _no_duplicates(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            raise ValueError(f"expected no duplicates, found {twice} more than once")
        return words

    @field_validator("files")
    @classmethod
    def _one_file_per_path(cls, files: Mapping[str, FileInfo]) -> Mapping[str, FileInfo]:
        # Two paths must not meet on a file system that ignores case or normalises Unicode,
        # and a file cannot also be a folder.
        seen: dict[str, str] = {}
        for path in files:
            folded = unicodedata.normalize("NFC", path.casefold())
            if folded in seen:
                raise ValueError(f"{seen[folded]!r} and {path!r} are one file on some systems")
            seen[folded] = path
        for folded, path in seen.items():
            parts = folded.split("/")
            for end in range(1, len(parts)):
                parent = "/".join(parts[:end])
                if parent in seen:
                    raise ValueError(f"{seen[parent]!r} is both a file and a folder of {path!r}")
        return files

    @model_validator(mode="after")
    def _combinations_have_parents(self) -> Self:
        if self.kind != "adapter" and not self.parents:
            raise ValueError(f"a {self.kind} needs parents: the adapters it is made of")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of `to_json()`: the identity of the version."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files together, without the manifest."""
        return sum(info.size for info in self.files.values())

    def to_json(self) -> bytes:
        """Return the canonical bytes of ``hubkit.json``."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(
            content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()

    @classmethod
    def from_json(cls, content: bytes, source: str) -> Self:
        """Read ``hubkit.json``; any JSON spelling is accepted, and the digest is canonical.

        Args:
            content: The bytes of the file.
            source: Where they came from, for messages.

        Raises:
            ManifestError: Too large, no JSON, another schema, or a field that is missing,
                unknown or of the wrong kind.
        """
        if len(content) > MAX_BYTES:
            raise ManifestError(
                f"{source}: a manifest has at most {MAX_BYTES} bytes, but this one has more. "
                "Move what is large into a file of its own.",
                source,
            )
        with manifest_errors(source):
            schema = _Envelope.model_validate_json(content, strict=True).schema_version
            if schema > SCHEMA:
                raise ManifestError(
                    f"{source} has schema {schema}, but this hubkit reads schema {SCHEMA}. "
                    "Upgrade hubkit (pip install --upgrade hubkit) and try again.",
                    source,
                )
            return cls.model_validate_json(content, strict=True)


class _Envelope(BaseModel):
    """The field that every schema has."""

    model_config = ConfigDict(defer_build=True)

    schema_version: int = Field(alias="schema")


@contextmanager
def manifest_errors(source: str) -> Iterator[None]:
    """Turn the errors of building or reading a manifest into one ManifestError.

    Args:
        source: What is being built or read, for messages.

    Raises:
        ManifestError: Names each bad field, what was expected and what was found.
    """
    try:
        yield
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        lines = []
        for problem in problems[:_SHOWN_PROBLEMS]:
            field = ".".join(str(step) for step in problem["loc"]) or "the manifest"
            found = ascii(problem["input"])
            shown = found if len(found) <= 80 else f"{found[:77]}..."
            expected = problem["msg"].removeprefix("Value error, ")
            lines.append(f"  {field}: {expected}; found {shown}")
        if len(problems) > _SHOWN_PROBLEMS:
            lines.append(f"  and {len(problems) - _SHOWN_PROBLEMS} more")
        raise ManifestError(
            f"{source} is not a manifest of schema {SCHEMA}:\n" + "\n".join(lines), source
        ) from error
