"""Run a published adapter: ``hubkit.load("team/sentiment").predict([...])``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.adapters.fusion import Fusion
from hubkit.adapters.load import Published, load_published, rebased
from hubkit.bases.fingerprint import fingerprint
from hubkit.bases.known import require_known_base
from hubkit.bases.load import describe, encode, load_for_head, load_tokenizer
from hubkit.bases.stored import cache_in, where_base_is
from hubkit.models.attach import attach, attached_to
from hubkit.models.attention import SiteAttention, mean_attention
from hubkit.models.head import set_head
from hubkit.models.peft import attach_peft, runs_through_peft
from hubkit.tasks.table import task_type
from hubkit.tasks.task import Prediction, TaskType
from registry import AdapterRef, Catalog, open_catalog
from registry.errors import AdapterError, CompositionError, DataError
from registry.folders.kinds import HEAD

_MAX_LENGTH = 128


class AdaptedModel:
    """A frozen base model that runs one adapter, fusion or stack, in eval mode.

    Attributes:
        model: The base model with the adapter attached and its head in place.
        tokenizer: The base model's tokenizer.
        labels: Label names; the position is the label id.
        published: What the registry holds of the adapter.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        published: Published,
        task: TaskType,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.published = published
        self.labels = published.manifest.labels
        self._task = task

    def predict(self, texts: Sequence[str], *, batch_size: int = 32) -> list[Prediction]:
        """The label of each text, with its score and those of the others.

        Args:
            texts: One text or more; what is longer than in training is cut off.
            batch_size: Texts at a time.

        Raises:
            DataError: ``texts`` is a single string, or holds something other than text.
        """
        return self._task.decode(self.logits(texts, batch_size=batch_size), self.labels)

    def logits(self, texts: Sequence[str], *, batch_size: int = 32) -> Tensor:
        """The head's raw scores. *Shape:* ``(len(texts), labels)``, float32, on the CPU.

        Raises:
            DataError: As :meth:`predict`.
        """
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, not {batch_size}.", batch_size)
        if isinstance(texts, str):
            raise DataError("predict takes a list of texts; put the one text in a list.", texts)
        for number, text in enumerate(texts, start=1):
            if not isinstance(text, str) or not _is_unicode(text):
                raise DataError(
                    f"Text {number} is {text!r} ({type(text).__name__}); expected Unicode text.",
                    text,
                )
        result = torch.empty(len(texts), len(self.labels))
        for rows, inputs in self._batches(texts, batch_size):
            with torch.inference_mode():
                result[rows] = self.model(**inputs).logits.float().cpu()
        return result

    def attention(self, texts: Sequence[str], *, batch_size: int = 32) -> SiteAttention:
        """The mean weight that a fusion gives to each adapter, over the tokens of ``texts``.

        Raises:
            CompositionError: The adapter is no fusion.
        """
        fusion = attached_to(self.model)
        if not isinstance(fusion, Fusion):
            raise CompositionError(
                f"{self.published.version.ref} is of the kind {self.published.manifest.kind!r}; "
                "only a fusion pays attention to adapters."
            )
        batches = (inputs for _, inputs in self._batches(texts, batch_size))
        return mean_attention(self.model, fusion, batches)

    def _batches(
        self, texts: Sequence[str], batch_size: int
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Rows of about the same length together, so that little is padded."""
        training = self.published.manifest.training
        known = training.arguments.get("max_length") if training else None
        max_length = known if isinstance(known, int) else _MAX_LENGTH
        # Characters are near enough to tokens for this.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        starts = range(0, len(order), batch_size)
        # Shown on a terminal only, and only when there is something to wait for.
        for start in tqdm(starts, unit="batch", disable=None, delay=1, leave=False):
            rows = order[start : start + batch_size]
            inputs = encode(
                self.tokenizer,
                [texts[row] for row in rows],
                max_length,
                padding=True,
                return_tensors="pt",
            )
            yield rows, dict(inputs.to(self.model.device))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which no tokenizer takes
        return False
    return True


def load(
    ref: str | AdapterRef,
    *,
    base: str | None = None,
    allow_base_mismatch: bool = False,
    catalog: Catalog | None = None,
) -> AdaptedModel:
    """Load a published adapter, fusion or stack, ready to predict.

    Every byte is checked against its digest, and the base model against its fingerprint. A PEFT
    adapter of a method that hubkit does not compose runs through PEFT, if that is installed.

    Args:
        ref: ``[owner/]name[@version|@alias]``.
        base: Where the base model is now, when it is not where it was in training: a hub id, or a
            folder.
        allow_base_mismatch: Go on with another base model than it was trained on, and note that.
        catalog: The registry; default: the user's.

    Raises:
        NotFoundError: There is no such adapter, version or alias.
        BaseModelNotFoundError: The base model cannot be loaded.
        BaseModelMismatchError: The base model is not the one that the adapter was trained on.
        CorruptBlobError: Stored bytes are not those that were published.
        AdapterError: The adapter has no head, or a task type that hubkit does not run.
    """
    catalog = catalog or open_catalog()
    published = _load_published(catalog, ref)
    version, manifest = published.version, published.manifest
    name = str(version.ref)
    task = _require_task(published)
    where = base or where_base_is(manifest.base_model, cache_in(catalog.home))
    model, new = load_for_head(
        where,
        task.load_class(),
        num_labels=len(manifest.labels),
        id2label=dict(enumerate(manifest.labels)),
        label2id={label: index for index, label in enumerate(manifest.labels)},
    )
    found = fingerprint(model)
    require_known_base(
        catalog.home, version, manifest, found, base=where, allow_mismatch=allow_base_mismatch
    )
    tokenizer = load_tokenizer(where, model)
    if published.composition is None:
        model = attach_peft(model, catalog.folder(version), name, new)
    else:
        composition = published.composition
        if manifest.base_model.fingerprint not in (None, found):  # which was allowed just now
            composition = rebased(composition, describe(model))
        assert published.head is not None
        set_head(model, published.head, new)
        attach(model, composition)
    model.requires_grad_(False)
    model.train(False)
    if torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]
    return AdaptedModel(model, tokenizer, published, task)


def _require_task(published: Published) -> TaskType:
    """What the head of a version is for, if it has one that hubkit runs."""
    manifest, name = published.manifest, str(published.version.ref)
    through_peft = published.composition is None
    if (not manifest.labels) if through_peft else (published.head is None):
        if HEAD.config not in manifest.files:
            raise AdapterError(
                f"{name} has no head, so it cannot predict by itself. {_other_use(published)}"
            )
        raise AdapterError(
            f"{name} has a head ({manifest.task_type or 'of no task type'}) that AdapterHub's own "
            "library builds and runs; hubkit keeps it, but predicts with heads of transformers' "
            f"classes. {_other_use(published)}"
        )
    return task_type(manifest.task_type, name)


def _other_use(published: Published) -> str:
    """What to do with a version that has no head that hubkit runs, as sentences."""
    if published.composition is None:
        return (
            f"Its method, {published.manifest.method.type}, is none that hubkit attaches: load its "
            "folder into a model of your own with peft.PeftModel.from_pretrained."
        )
    return (
        "Attach it to a model of your own: "
        f"hubkit.attach(model, hubkit.load_composition({str(published.version.ref)!r})); or stack "
        "it under an adapter that has a head."
    )


def _load_published(catalog: Catalog, ref: str | AdapterRef) -> Published:
    version = catalog.resolve(AdapterRef.parse(ref) if isinstance(ref, str) else ref)
    manifest = catalog.manifest(version)
    if runs_through_peft(manifest):
        return Published(version, manifest, composition=None, head=None)
    return load_published(catalog, version.ref)
