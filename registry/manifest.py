"""The manifest of a version, ``hubkit.json``, schemas 1 and 2.

The file is canonical JSON (keys sorted, no spaces, UTF-8, no NaN), and its SHA-256 is the
digest of the version, which pins the base model, the parents and every byte of every file.

Schema 2 adds what a result depends on beside the weights: the configuration, the tokenizer and the
dtype of the base model, what lies between its backbone and the outputs, and how text is cut. All of
it is optional. A manifest of schema 1 keeps its bytes and its digest.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from registry.errors import ManifestError, listed
from registry.fields import Count, Finite, Json, Positive, Ref, Several, Text, Word
from registry.storage.files import Digest, FileInfo, RelPath, find_clash

SCHEMA: Literal[2] = 2
"""The schema that this hubkit writes. It also reads the earlier one."""

MAX_BYTES = 4 * 1024 * 1024
"""Most bytes of a manifest."""

_SHOWN_PROBLEMS = 5

Kind = Literal["adapter", "fusion", "stack", "mix"]
"""The kind of a version: one adapter, or a combination of several."""


ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
"""The meaning of a sequence model's outputs, as transformers calls it."""

Side = Literal["left", "right"]


class _Part(BaseModel):
    # Built at its first use: a command that lists adapters reads no manifest.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)


class Method(_Part):
    """How the adapter changes its base model.

    Attributes:
        type: For example ``seq_bn``, ``par_bn`` or ``lora``.
        parameters: The values to build it again: JSON, nested at most 16 deep.
    """

    type: Word
    parameters: Mapping[Word, Json] = Field(default_factory=dict)


class BaseModelInfo(_Part):
    """The frozen model of an adapter. Fields after `fingerprint` are of schema 2.

    Attributes:
        id: Its hub id, or its path.
        revision: The commit of that id; None if unknown.
        architecture: Its class name, for example ``BertModel``; this and the two sizes are None
            where the files of the adapter do not say, and the base model was not at hand.
        hidden_size: Features per token.
        num_layers: Transformer layers.
        fingerprint: Digest of the backbone's tensors; None if never computed.
        dtype: The type of its weights when the adapter was trained, such as ``bfloat16``; the
            fingerprint is that of the weights in this dtype.
        rounded: Fingerprints of the same weights rounded to smaller dtypes, by dtype.
        config: The fields of its configuration that change what it computes, with their values;
            those of a nested configuration as ``text_config.hidden_size``. None if not known.
        config_digest: Digest of `config`, as :func:`canonical_digest` makes it.
        tokenizer_digest: Digest of what its tokenizer does; of its image processor for a model that
            takes no text.
        tokenizer_settings: The rules by which its tokenizer cuts text, by name; None if not known,
            and for a model that takes no text.
        generation: What its generation configuration says beside the defaults, by name; None if not
            known, and for a model that writes nothing.
        parts: Digests of what lies between its backbone and the outputs and did not travel with the
            adapter, by module path, such as ``pooler``.
    """

    id: Word
    revision: Word | None = None
    architecture: Word | None = None
    hidden_size: Positive | None = None
    num_layers: Positive | None = None
    fingerprint: Digest | None = None
    dtype: Word | None = None
    rounded: Annotated[Mapping[Word, Digest], Field(max_length=16)] = Field(default_factory=dict)
    config: Annotated[Mapping[Word, Json], Field(max_length=2048)] | None = None
    config_digest: Digest | None = None
    tokenizer_digest: Digest | None = None
    tokenizer_settings: Annotated[Mapping[Word, Json], Field(max_length=2048)] | None = None
    generation: Annotated[Mapping[Word, Json], Field(max_length=256)] | None = None
    parts: Annotated[Mapping[Word, Digest], Field(max_length=256)] = Field(default_factory=dict)

    @property
    def shape(self) -> str:
        """A description such as ``BertModel, 2 layers of 32``; empty if unknown."""
        width = f"of {self.hidden_size}" if self.hidden_size else ""
        layers = f"{self.num_layers} layers" if self.num_layers else width and "width"
        return ", ".join(filter(None, (self.architecture, f"{layers} {width}".strip())))

    @model_validator(mode="after")
    def _digest_is_of_the_configuration(self) -> Self:
        if self.config is not None and self.config_digest != canonical_digest(self.config):
            raise ValueError(
                f"config_digest is not the digest of config: expected "
                f"{canonical_digest(self.config)}, found {self.config_digest}"
            )
        return self


class HeadInfo(_Part):
    """The modules between the backbone and the outputs that travel with the adapter.

    Attributes:
        modules: Their paths, from the backbone to the outputs, such as ``pooler`` and
            ``classifier``.
    """

    modules: Annotated[Several[Word], Field(max_length=256)]


class TextInfo(_Part):
    """How text is cut and joined, in training and in use.

    Attributes:
        max_length: Most tokens of a row, with special tokens. None if rows were not cut.
        truncation_side: The side on which long text is cut.
        padding_side: The side on which rows of a batch are padded.
        stride: Tokens that two windows over one long text share; None if there are no windows.
        pair: Which of two joined texts is cut first; None if a row is one text.
        target_max_length: The most tokens of a text that the model writes; None if it writes none.
        separator: The text between the input and the output of a model that is only a decoder;
            None for an encoder with a decoder.
        source_language: The tokenizer's code for the language of the input, such as ``en_XX``;
            None for base models without such codes.
        target_language: The same for the output.
        pooling: How the vectors of a text's tokens become one vector; None if a head reads them.
        normalize: Whether that vector is scaled to the length 1.
        no_answer: Whether a question may have no answer in its text; None without questions.
    """

    max_length: Positive | None = None
    truncation_side: Side | None = None
    padding_side: Side | None = None
    stride: Count | None = None
    pair: Literal["longest_first", "only_first", "only_second"] | None = None
    target_max_length: Positive | None = None
    separator: Annotated[Text, Field(max_length=256)] | None = None
    source_language: Word | None = None
    target_language: Word | None = None
    pooling: Literal["mean", "cls", "max", "last"] | None = None
    normalize: bool | None = None
    no_answer: bool | None = None


class Metric(_Part):
    """A measured number.

    Attributes:
        dataset: The name of the data.
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
    """A part of a fusion, stack or mix, or of an average.

    Attributes:
        ref: Its name then, for people.
        digest: The digest of its manifest, for machines.
    """

    ref: Ref
    digest: Digest


class Training(_Part):
    """The training of the weights.

    Attributes:
        arguments: Hyperparameters by name.
        seed: The seed of every random generator.
        examples: Rows of an epoch.
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
    """All of a version but the bytes of its files. Fields after `files` are of schema 2.

    Attributes:
        schema_version: 1 or 2; spelled ``schema`` in the file.
        kind: Its kind.
        method: How it changes the base model.
        base_model: Its base model.
        task: Its task, for example ``sentiment``.
        task_type: The type of the task, for example ``text-classification``.
        labels: Label names; the position is the label id.
        language: BCP 47 tag, for example ``en``.
        license: SPDX identifier, for example ``apache-2.0``.
        tags: Words to find it by, without duplicates.
        description: A text for people, at most 65,536 characters.
        metrics: Its metrics.
        parents: The adapters that it is made of, in order; never empty for a fusion, stack or mix.
        training: How the weights were trained; None if hubkit did not train them.
        files: The size and digest of each file, by path.
        problem_type: The meaning of a sequence model's outputs; None for other models.
        outputs: The number of outputs of the head for a row or token.
        head: The modules of the head that travel with the adapter; None if none do, or if that was
            not recorded.
        text: How text is cut and joined; None without text, or if that was not recorded.
    """

    schema_version: Literal[1, 2] = Field(default=SCHEMA, alias="schema")
    kind: Kind
    method: Method
    base_model: BaseModelInfo
    task: Word | None = None
    task_type: Word | None = None
    labels: Several[Word] = ()
    language: Word | None = None
    license: Word | None = None
    tags: Several[Word] = ()
    description: Text = ""
    metrics: Several[Metric] = ()
    parents: Several[Parent] = ()
    training: Training | None = None
    files: Mapping[RelPath, FileInfo] = Field(default_factory=dict)
    problem_type: ProblemType | None = None
    outputs: Positive | None = None
    head: HeadInfo | None = None
    text: TextInfo | None = None

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    @field_validator("labels", "tags")
    @classmethod
    def _no_duplicates(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted(word for word, times in Counter(words).items() if times > 1)
        if twice:
            raise ValueError(f"expected no duplicates, found {listed(twice)} more than once")
        return words

    @field_validator("files")
    @classmethod
    def _files_lie_in_one_folder(cls, files: Mapping[str, FileInfo]) -> Mapping[str, FileInfo]:
        if (clash := find_clash(files)) is not None:
            one, other = clash
            raise ValueError(f"{one!r} and {other!r} cannot lie in one folder on every system")
        return files

    @model_validator(mode="after")
    def _combinations_have_parents(self) -> Self:
        if self.kind != "adapter" and not self.parents:
            raise ValueError(f"a {self.kind} needs parents: the adapters it is made of")
        return self

    @model_validator(mode="after")
    def _schema_has_these_fields(self) -> Self:
        if self.schema_version == 1 and (newer := self._newer_fields()):
            raise ValueError(f"schema 1 does not have {', '.join(newer)}")
        return self

    @model_validator(mode="after")
    def _outputs_have_labels(self) -> Self:
        if self.labels and self.outputs not in (None, len(self.labels)):
            raise ValueError(f"{self.outputs} outputs, but {len(self.labels)} labels")
        return self

    def _newer_fields(self) -> list[str]:
        """The fields with a value that schema 1 does not have."""
        return [
            f"{where}{name}"
            for part, where, names in (
                (self.base_model, "base_model.", _BASE_SINCE_2),
                (self, "", _SINCE_2),
            )
            for name in names
            if getattr(part, name) not in (None, {})
        ]

    @property
    def digest(self) -> str:
        """SHA-256 of `to_json()`: the identity of the version."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files together, without the manifest."""
        return sum(info.size for info in self.files.values())

    @property
    def outputs_text(self) -> str:
        """A description such as ``2 (single label classification)``; empty if unknown."""
        problem = (self.problem_type or "").replace("_", " ")
        return " ".join(filter(None, (str(self.outputs or ""), problem and f"({problem})")))

    def to_json(self) -> bytes:
        """Return the canonical bytes of ``hubkit.json``."""
        content = self.model_dump(mode="json", by_alias=True)
        base = content["base_model"]
        if self.schema_version == 1:
            for name in _SINCE_2:
                del content[name]
            for name in _BASE_SINCE_2:
                del base[name]
        # These came later to schema 2: without them, digests of earlier manifests stay the same.
        for part, later in ((content.get("text"), _TEXT_LATER), (base, _BASE_LATER)):
            for name in later:
                if part is not None and part.get(name, part) is None:
                    del part[name]
        return _canonical(content)

    def changed(self, source: str, **changes: Any) -> Self:
        """Return this manifest with other fields, checked.

        One of schema 1 stays so, unless it now says what only a later schema can say.

        Args:
            source: The name of the result, for messages.
            changes: Fields by name.

        Raises:
            ManifestError: The manifest does not allow a value.
        """
        made = self.model_copy(update=changes)
        if made._newer_fields():
            made = made.model_copy(update={"schema_version": SCHEMA})
        # Through JSON, since a copy is not checked.
        return self.from_json(made.to_json(), source)

    @classmethod
    def from_json(cls, content: bytes, source: str) -> Self:
        """Read ``hubkit.json``; any JSON spelling is accepted, and the digest is canonical.

        Args:
            content: The bytes of the file.
            source: Their place, for messages.

        Raises:
            ManifestError: Too large, no JSON, another schema, or a field that is missing,
                unknown or of the wrong kind.
        """
        if len(content) > MAX_BYTES:
            raise ManifestError(
                f"{source}: a manifest has at most {MAX_BYTES} bytes, but this one has more. "
                "Move large values into a file of their own.",
                source,
            )
        with manifest_errors(source):
            schema = _Envelope.model_validate_json(content, strict=True).schema_version
            if schema > SCHEMA:
                raise ManifestError(
                    f"{source} has schema {schema}, but this hubkit reads schemas 1 to {SCHEMA}. "
                    "Upgrade hubkit and try again.",
                    source,
                )
            return cls.model_validate_json(content, strict=True)


_SINCE_2 = ("problem_type", "outputs", "head", "text")
_TEXT_LATER = (
    *("target_max_length", "separator", "source_language", "target_language"),
    *("pooling", "normalize", "no_answer"),
)
_BASE_LATER = ("tokenizer_settings", "generation")
_BASE_SINCE_2 = (
    *("dtype", "rounded", "config", "config_digest", "tokenizer_digest", "parts"),
    *_BASE_LATER,
)


def canonical_digest(content: Mapping[str, Json]) -> str:
    """Return the SHA-256 of JSON values in their canonical spelling."""
    return hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


class _Envelope(BaseModel):
    """The field that every schema has."""

    model_config = ConfigDict(defer_build=True)

    schema_version: int = Field(alias="schema")


@contextmanager
def manifest_errors(source: str) -> Iterator[None]:
    """Turn the errors of building or reading a manifest into one ManifestError.

    Args:
        source: The manifest or its place, for messages.

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
            f"{source} is not a manifest that hubkit reads:\n" + "\n".join(lines), source
        ) from error
