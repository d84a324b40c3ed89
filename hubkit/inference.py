"""Run a published adapter: ``hubkit.load("team/sentiment").predict([...])``."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.adapters.fusion import Fusion
from hubkit.adapters.load import OVER, Published, load_published
from hubkit.adapters.older import completed
from hubkit.adapters.tree import Attachable
from hubkit.bases.check import require_known_model
from hubkit.bases.compare import identity
from hubkit.bases.load import load_for_head
from hubkit.bases.stored import cache_in, pinned, where_base_is
from hubkit.models.attach import attach
from hubkit.models.attention import (
    SiteAttention,
    TokenAttention,
    fusion_in,
    mean_attention,
    token_attention,
)
from hubkit.models.fit import has_sites
from hubkit.models.flexible_head import load_with_flexible_head
from hubkit.models.head import other_words, set_head
from hubkit.models.peft import attach_peft, runs_through_peft
from hubkit.models.place import device_of, dtype_of
from hubkit.tasks.rows import Rows
from hubkit.tasks.running import Cut, as_read, batches, encode, outputs_of
from hubkit.tasks.table import task_type
from hubkit.tasks.task import Encoded, HeadPlan, Options, Outputs, Prediction, TaskType
from hubkit.tasks.tokens.words import words_of
from registry import AdapterRef, Catalog, Manifest, Version, open_catalog
from registry.arguments import checked
from registry.errors import (
    AdapterError,
    CompositionError,
    DataError,
    HubkitError,
    UnsupportedModelError,
    reason_of,
)
from registry.folders.kinds import HEAD, PEFT
from registry.manifest import BaseModelInfo, TextInfo
from registry.task_types import TASK_NAMES

logger = logging.getLogger(__name__)


class AdaptedModel:
    """A frozen base model that runs one adapter, fusion, stack or mix, in eval mode.

    Attributes:
        model: The base model with the adapter attached and its head in place.
        processor: What turns rows into what the model reads: the base model's tokenizer, or its
            image processor.
        version: Which version it runs.
        manifest: The manifest of that version.
        composition: What is attached; None where PEFT runs the adapter.
        labels: Label names; the position is the label id.
        task: Its task type.
        plan: The meaning of the outputs of its head.
        text: How texts are cut.
        base_digest: Which base model is at hand: a digest of all that it is compared by.
        each: None: it answers all rows.
    """

    each = None

    def __init__(
        self, base: Base, version: Version, manifest: Manifest, composition: Attachable | None
    ) -> None:
        self.model = base.model
        self.processor = base.processor
        self.version = version
        self.manifest = manifest
        self.composition = composition
        self.labels = manifest.labels
        self.task = base.task
        self.plan = base.plan
        self.text = base.text
        self.base_digest = identity(base.described)

    @checked
    def predict(
        self,
        texts: Iterable[Any],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        **options: Any,
    ) -> Sequence[Prediction]:
        """What the adapter's task type says of each row, in their order.

        Args:
            texts: Anything that can be gone through, a text a row: a list, a generator, an array, a
                column of pandas or datasets. Where a row is several texts, a tuple of them, or a
                mapping by column. What is longer than in training is cut off, and noted.
            batch_size: Rows at a time.
            max_length: Tokens of a row at most; default: as in training.
            options: Those of the task type: the fields of its ``options``.

        Raises:
            DataError: ``texts`` is a single string, a row holds something other than text, the
                rows are pairs where training had single texts, or the reverse, or the task type has
                no such option.
        """
        found, cut = self.predict_block(
            texts, batch_size=batch_size, max_length=max_length, **options
        )
        cut.note()
        return found

    @checked
    def predict_block(
        self,
        block: Iterable[Any],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        **options: Any,
    ) -> tuple[Sequence[Prediction], Cut]:
        """As :meth:`predict` for some of many rows, with what was cut off in place of a note.

        Raises:
            DataError: As :meth:`predict`.
        """
        how = self.task.options_of(options)
        self.task.check_options(how, self.plan)
        rows = self._given(block)
        if not len(rows):
            return [], Cut()
        encoded = self._encode(rows, max_length)
        outputs = self._run(encoded, how, batch_size)
        found = self.task.predictions(outputs, encoded, rows, self.plan, how)
        return found, self._cut(encoded, len(rows))

    @property
    def depends_on(self) -> dict[str, str]:
        """What its answers depend on, beside the rows and the options."""
        return {
            "version": self.version.manifest_digest,
            "base": self.base_digest,
            "dtype": str(self.model.dtype),
        }

    @checked
    def logits(self, texts: Iterable[Any], *, batch_size: int = 32) -> Tensor:
        """The head's raw outputs. *Shape:* ``(rows, outputs)``, float32, on the CPU.

        For multiple choice, the outputs are the choices of the row that has most; a row with fewer
        ends in -inf.

        Raises:
            DataError: As :meth:`predict`.
            AdapterError: The task type has no such vector for a row, but numbers for each token,
                window or candidate.
        """
        if not self.task.one_vector_a_row:
            raise AdapterError(
                f"{self.version.ref} is for {self.task.name}, whose head gives no vector for a "
                "row as a whole. Use `predict` for its answers, or `outputs` for all its numbers."
            )
        rows = self._given(texts)
        if not len(rows):
            return torch.empty(0, self.plan.outputs or 0)
        return torch.from_numpy(self.outputs(rows, batch_size=batch_size)[0][0])

    @checked
    def outputs(self, rows: Rows, *, batch_size: int = 32) -> tuple[Outputs, Encoded]:
        """What the model gives for rows of its task type, and how they were encoded.

        Args:
            rows: As the task type reads them.
            batch_size: Rows at a time.

        Raises:
            DataError: ``batch_size`` is less than one.
        """
        encoded = self._noted(rows)
        return self._run(encoded, self.task.options(), batch_size), encoded

    @checked
    def attention(self, texts: Iterable[Any], *, batch_size: int = 32) -> SiteAttention:
        """The mean weight that a fusion gives to each adapter, over the tokens of ``texts``.

        Raises:
            CompositionError: The adapter is not a fusion, or a decoder writes what it attends over.
        """
        fusion = self.composition
        if not isinstance(fusion, Fusion):
            raise CompositionError(
                f"{self.version.ref} is of the kind {self.manifest.kind!r}; "
                "only a fusion pays attention to adapters."
            )
        if self.task.generates and self.model.config.is_encoder_decoder:
            raise CompositionError(
                f"In {self.version.ref}, a decoder attends while it writes, and the texts alone do "
                "not tell what. hubkit.mean_attention takes batches with what is written."
            )
        encoded = self._noted(self._given(texts))
        read = self._read(encoded, encoded.by_length(), batch_size)
        return mean_attention(self.model, fusion, read)

    @checked
    def explain(self, text: Any, *, pieces: bool = False) -> TokenAttention:
        """Which adapter of a fusion each word of a text attends to, layer by layer.

        A stack that holds a fusion is explained for that fusion. In an encoder-decoder model, the
        words of the source listen in the encoder. Where a row is read in pieces, such as windows or
        choices, these follow each other.

        Args:
            text: A row, as in :meth:`predict`.
            pieces: Whether to have the tokens themselves. If not, a word has the mean of what its
                tokens give.

        Raises:
            CompositionError: It is neither a fusion nor a stack that holds one; or it reads no
                text.
            DataError: ``text`` is not a row of its task type.
        """
        fusion = fusion_in(self.composition)
        if fusion is None:
            raise CompositionError(
                f"{self.version.ref} is of the kind {self.manifest.kind!r}; what can be explained "
                "is a fusion, or a stack that holds one fusion."
            )
        if not isinstance(self.processor, PreTrainedTokenizerBase):
            raise CompositionError(
                f"{self.version.ref} is for {self.task.name}, which reads no tokens; what can be "
                "explained is a fusion that reads text."
            )
        encoded = self._noted(self._given([text]))
        # One by one, so that nothing is padded.
        passes = [*self._read(encoded, range(len(encoded)), 1)]
        tokens: list[str] = []
        for inputs in passes:
            ids = inputs["input_ids"]
            kept = ids[inputs["attention_mask"].bool()] if "attention_mask" in inputs else ids
            tokens += self.processor.convert_ids_to_tokens(kept.flatten().tolist())
            if self.task.generates and self.model.config.is_encoder_decoder:
                # The encoder does not depend on what is written; the model wants a first token.
                start = self.model.config.decoder_start_token_id
                inputs["decoder_input_ids"] = torch.full_like(ids[:, :1], start)
        found = token_attention(self.model, fusion, tokens, passes)
        return found if pieces else found.joined(words_of(self.processor, tokens))

    def _noted(self, rows: Rows) -> Encoded:
        encoded = self._encode(rows)
        self._cut(encoded, len(rows)).note()
        return encoded

    def _read(
        self, encoded: Encoded, order: Sequence[int], batch_size: int
    ) -> Iterator[dict[str, Tensor]]:
        found = batches(self.task, self.processor, self.model, encoded, order, batch_size)
        return as_read(self.task, self.processor, found)

    def _given(self, texts: Iterable[Any]) -> Rows:
        require_rows(texts)
        return self.task.given(texts)

    def _encode(self, rows: Rows, max_length: int | None = None) -> Encoded:
        self.task.require_form(rows, self.text)
        text = self.text if max_length is None else shortened(self.text, max_length)
        return encode(self.task, self.processor, self.model, rows, self.plan, text)

    def _run(self, encoded: Encoded, options: Options, batch_size: int) -> Outputs:
        try:
            return outputs_of(self.task, self.processor, self.model, encoded, options, batch_size)
        except RuntimeError as error:
            # The classes are named by their modules: to import these takes seconds.
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = " ".join(str(error).split())[:300]
            raise UnsupportedModelError(
                f"torch cannot compile the {type(self.model).__name__} of {self.version.ref} here: "
                f"{reason}",
                str(self.version.ref),
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            if self.composition is not None or isinstance(error, HubkitError):
                raise
            raise AdapterError(
                f"PEFT cannot run {self.version.ref} ({self.manifest.method.type}) for "
                f"{self.task.name} on this architecture: {reason_of(error)[:300]}"
            ) from error

    def _cut(self, encoded: Encoded, rows: int) -> Cut:
        return Cut(rows, encoded.cut, f"the {encoded.limit} tokens that {self.version.ref} reads")


@checked
def load(
    ref: str | AdapterRef,
    *,
    base: str | None = None,
    allow_base_mismatch: bool = False,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    compile: bool = False,
    catalog: Catalog | None = None,
) -> AdaptedModel:
    """Load a published adapter, fusion, stack or mix, ready to predict.

    Every byte is checked against its digest, and the base model against its fingerprint. A PEFT
    adapter of a method that hubkit does not compose runs through PEFT, if that is installed.

    Args:
        ref: ``[owner/]name[@version|@alias]``.
        base: Where the base model is now, when it is not where it was in training: a hub id, or a
            folder.
        allow_base_mismatch: Go on with another base model than it was trained on, and note that.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; default: the first CUDA GPU where
            there is one, else the processor.
        dtype: What the base model and the head compute in: ``float32``, ``bfloat16`` or
            ``float16``; adapters stay in float32. Default: as the base model is stored.
        compile: Have torch compile the model, which takes minutes once and then runs faster.
        catalog: The registry; default: the user's.

    Raises:
        NotFoundError: There is no such adapter, version or alias.
        UnsupportedModelError: There is no such device or dtype.
        BaseModelNotFoundError: The base model cannot be loaded.
        BaseModelMismatchError: The base model is not the one that the adapter was trained on.
        CorruptBlobError: Stored bytes are not those that were published.
        AdapterError: The adapter has no head, or a task type that hubkit does not run.
    """
    place = device_of(device)
    numbers = None if dtype is None else dtype_of(dtype)
    catalog = catalog or open_catalog()
    version = catalog.resolve(AdapterRef.parse(ref) if isinstance(ref, str) else ref)
    manifest = catalog.manifest(version)
    request = _Request(catalog, version, manifest, base, allow_base_mismatch, numbers)
    found = _through_peft(request) if runs_through_peft(manifest) else _composed(request)
    found.model.requires_grad_(False)
    found.model.train(False)
    found.model.to(place)  # type: ignore[arg-type]
    if compile:
        found.model.compile(dynamic=True)
    return found


def require_rows(texts: Iterable[Any]) -> None:
    """Make sure that something gives rows when it is gone through.

    Raises:
        DataError: It is a single text or a table.
    """
    # Going through a table of pandas gives the names of its columns.
    table = hasattr(texts, "iterrows")
    if table or isinstance(texts, str | bytes | Mapping):
        raise DataError(
            f"Expected an iterable of texts, found a {type(texts).__name__}. Put a single text "
            "in a list.",
            texts,
        )


def shortened(text: TextInfo, max_length: int) -> TextInfo:
    """The same with another limit of the tokens of a row; windows share as much as suits it.

    Raises:
        DataError: The limit is less than one.
    """
    if max_length < 1:
        raise DataError(f"max_length must be at least 1, not {max_length}.", max_length)
    return text.model_copy(update={"max_length": max_length, "stride": None})


@dataclass(frozen=True)
class _Request:
    """A version to load, and the base model that was asked for."""

    catalog: Catalog
    version: Version
    manifest: Manifest
    base: str | None
    allow_base_mismatch: bool
    dtype: torch.dtype | None = None


def _composed(request: _Request) -> AdaptedModel:
    """With an adapter, or a composition, that hubkit computes itself."""
    published = load_published(request.catalog, request.version, request.manifest)
    composition, name = published.composition, str(request.version.ref)
    attach_it = (
        f"Attach it to a model of your own: hubkit.attach(model, "
        f"hubkit.load_composition({name!r})); or stack it under an adapter that has a head."
    )
    head = published.head
    if head is None and (published.foreign_head or not _base_has_head(request)):
        raise _no_head(request, attach_it)
    _note_missing_below(request)
    base = _load_base(request, published)
    if PEFT.weights in request.manifest.files and (
        not has_sites(base.model.config.model_type)
        # PEFT gives the model a head of its own beside its embeddings.
        or (head is not None and other_words(base.model, head) is not None)
    ):
        return _with_peft(request, base)
    if head is not None:
        set_head(base.model, head, base.new)
    elif base.new:
        raise AdapterError(
            f"{name} has no head, and its base model has no weights for {min(base.new)} of "
            f"{type(base.model).__name__}; they would be random. {attach_it}"
        )
    # The base model was compared when it was loaded. Since then, the head may have brought weights
    # that are inside of it, such as a trained pooler.
    attach(base.model, composition, allow_base_mismatch=True)
    return AdaptedModel(base, request.version, request.manifest, composition)


def _through_peft(request: _Request) -> AdaptedModel:
    """With an adapter of a method that hubkit does not compute itself."""
    names = TASK_NAMES.get(request.manifest.task_type or "")
    # What the outputs of a head for answers are, nothing has to say; PEFT looks for its weights.
    told = HeadPlan.of(request.manifest).outputs is not None or (names and not names.classes)
    if not told and not _base_has_head(request):
        raise _no_head(
            request,
            f"hubkit does not attach its method, {request.manifest.method.type}: load its "
            "folder into a model of your own with peft.PeftModel.from_pretrained.",
        )
    return _with_peft(request, _load_base(request))


def _with_peft(request: _Request, base: Base) -> AdaptedModel:
    folder, name = (
        request.catalog.folder(request.version, request.manifest),
        str(request.version.ref),
    )
    base = replace(base, model=attach_peft(base.model, folder, name, base.new))
    return AdaptedModel(base, request.version, request.manifest, None)


def _note_missing_below(request: _Request) -> None:
    """Warn that an adapter runs without the one that it was trained over."""
    training = request.manifest.training
    below: Any = None if training is None else training.arguments.get(OVER)
    if below is not None:
        logger.warning(
            "%s was trained over %s, and runs without it here: its answers differ from those in "
            "training. Stack the two.",
            request.version.ref,
            below["ref"],
        )


def _base_has_head(request: _Request) -> bool:
    """Whether an adapter of that task type runs with the head that base models come with."""
    names = TASK_NAMES.get(request.manifest.task_type or "")
    return names is not None and names.pretrained_head and HEAD.config not in request.manifest.files


def _no_head(request: _Request, cure: str) -> AdapterError:
    name, manifest = request.version.ref, request.manifest
    if HEAD.config not in manifest.files:
        return AdapterError(f"{name} has no head, so it cannot predict by itself. {cure}")
    return AdapterError(
        f"{name} has a head ({manifest.task_type or 'of no task type'}) of a type that only "
        f"AdapterHub's own library runs; hubkit keeps it. {cure}"
    )


@dataclass(frozen=True)
class Base:
    """A base model with the place of a head.

    Attributes:
        model: The model.
        new: The names of the head's parameters that start at random.
        described: What it is, without the head.
        processor: The base model's own: its tokenizer, or its image processor.
        task: What the head is for.
        plan: The meaning of the outputs of the head.
        text: How texts are cut.
    """

    model: PreTrainedModel
    new: Collection[str]
    described: BaseModelInfo
    processor: Any
    task: TaskType[Any]
    plan: HeadPlan
    text: TextInfo


def load_base(
    catalog: Catalog,
    published: Published,
    base: str | None = None,
    *,
    allow_base_mismatch: bool = False,
) -> Base:
    """The base model of a published adapter, checked, with a head that is still to be set.

    Raises:
        BaseModelNotFoundError: It cannot be loaded.
        BaseModelMismatchError: It is not the one that the adapter was trained on.
    """
    request = _Request(catalog, published.version, published.manifest, base, allow_base_mismatch)
    return _load_base(request, published)


def _load_base(request: _Request, published: Published | None = None) -> Base:
    """The base model that a version was trained on, or the one that was asked for.

    Args:
        request: Names the version.
        published: Its tensors, the head among them; None where PEFT holds them.
    """
    version, manifest, home = request.version, request.manifest, request.catalog.home
    task = task_type(manifest.task_type, str(version.ref))
    where = request.base or where_base_is(manifest.base_model, cache_in(home))
    head = None if published is None else published.head
    whole = completed(manifest, head)
    plan, text = task.plan_of(whole), whole.text or TextInfo()
    settings = {"revision": pinned(manifest.base_model, where), **plan.config()}
    model: PreTrainedModel
    if head is not None and head.flexible is not None:
        model, new = load_with_flexible_head(where, head.flexible, **settings)
    else:
        model, new = load_for_head(where, task.load_class(where), **settings)
    processor = task.load_processor(where, model)
    described = require_known_model(
        home,
        version,
        manifest,
        model,
        processor,
        base=where,
        own=(*new, *(() if head is None else head.tensors)),
        allow_mismatch=request.allow_base_mismatch,
    )
    if request.dtype is not None:
        model.to(request.dtype)  # type: ignore[arg-type]
    task.prepare(processor, model, plan, text)
    return Base(model, new, described, processor, task, plan, text)
