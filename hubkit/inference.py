"""Run a published adapter: ``hubkit.load("team/sentiment").predict([...])``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.adapters.fusion import Fusion
from hubkit.adapters.load import load_published
from hubkit.adapters.tree import Attachable
from hubkit.bases.fingerprint import fingerprint
from hubkit.bases.known import require_known_base
from hubkit.bases.load import encode, load_for_head, load_tokenizer
from hubkit.bases.stored import cache_in, where_base_is
from hubkit.models.attach import attach
from hubkit.models.attention import SiteAttention, mean_attention
from hubkit.models.head import set_head
from hubkit.models.peft import attach_peft, runs_through_peft
from hubkit.tasks.table import task_type
from hubkit.tasks.task import Prediction, TaskType
from registry import AdapterRef, Catalog, Manifest, Version, open_catalog
from registry.errors import AdapterError, CompositionError, DataError
from registry.folders.kinds import HEAD

_MAX_LENGTH = 128


class AdaptedModel:
    """A frozen base model that runs one adapter, fusion or stack, in eval mode.

    Attributes:
        model: The base model with the adapter attached and its head in place.
        tokenizer: The base model's tokenizer.
        version: Which version it runs.
        manifest: The manifest of that version.
        composition: What is attached; None where PEFT runs the adapter.
        labels: Label names; the position is the label id.
    """

    def __init__(
        self, base: _Base, version: Version, manifest: Manifest, composition: Attachable | None
    ) -> None:
        self.model = base.model
        self.tokenizer = base.tokenizer
        self.version = version
        self.manifest = manifest
        self.composition = composition
        self.labels = manifest.labels
        self._task = base.task

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
        fusion = self.composition
        if not isinstance(fusion, Fusion):
            raise CompositionError(
                f"{self.version.ref} is of the kind {self.manifest.kind!r}; "
                "only a fusion pays attention to adapters."
            )
        batches = (inputs for _, inputs in self._batches(texts, batch_size))
        return mean_attention(self.model, fusion, batches)

    def _batches(
        self, texts: Sequence[str], batch_size: int
    ) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Rows of about the same length together, so that little is padded."""
        training = self.manifest.training
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
    version = catalog.resolve(AdapterRef.parse(ref) if isinstance(ref, str) else ref)
    manifest = catalog.manifest(version)
    request = _Request(catalog, version, manifest, base, allow_base_mismatch)
    found = _through_peft(request) if runs_through_peft(manifest) else _composed(request)
    found.model.requires_grad_(False)
    found.model.train(False)
    if torch.cuda.is_available():
        found.model.to("cuda")  # type: ignore[arg-type]
    return found


@dataclass(frozen=True)
class _Request:
    """What is to be loaded, and the base model that was asked for."""

    catalog: Catalog
    version: Version
    manifest: Manifest
    base: str | None
    allow_base_mismatch: bool


def _composed(request: _Request) -> AdaptedModel:
    """With an adapter, or a composition, that hubkit computes itself."""
    published = load_published(request.catalog, request.version, request.manifest)
    composition, name = published.composition, str(request.version.ref)
    if published.head is None:
        raise _no_head(
            request,
            f"Attach it to a model of your own: hubkit.attach(model, "
            f"hubkit.load_composition({name!r})); or stack it under an adapter that has a head.",
        )
    base = _load_base(request)
    set_head(base.model, published.head, base.new)
    # The base model was compared when it was loaded. Since then, the head may have brought weights
    # that are inside of it, such as a trained pooler.
    attach(base.model, composition, allow_base_mismatch=True)
    return AdaptedModel(base, request.version, request.manifest, composition)


def _through_peft(request: _Request) -> AdaptedModel:
    """With an adapter of a method that hubkit does not compute itself."""
    if not request.manifest.labels:
        raise _no_head(
            request,
            f"Its method, {request.manifest.method.type}, is none that hubkit attaches: load its "
            "folder into a model of your own with peft.PeftModel.from_pretrained.",
        )
    base = _load_base(request)
    folder, name = (
        request.catalog.folder(request.version, request.manifest),
        str(request.version.ref),
    )
    base = replace(base, model=attach_peft(base.model, folder, name, base.new))
    return AdaptedModel(base, request.version, request.manifest, None)


def _no_head(request: _Request, cure: str) -> AdapterError:
    name, manifest = request.version.ref, request.manifest
    if HEAD.config not in manifest.files:
        return AdapterError(f"{name} has no head, so it cannot predict by itself. {cure}")
    return AdapterError(
        f"{name} has a head ({manifest.task_type or 'of no task type'}) that AdapterHub's own "
        "library builds and runs; hubkit keeps it, but predicts with heads of transformers' "
        f"classes. {cure}"
    )


@dataclass(frozen=True)
class _Base:
    """A base model with the place of a head.

    Attributes:
        model: The model.
        new: The names of the head's parameters that start at random.
        tokenizer: The base model's own.
        task: What the head is for.
    """

    model: PreTrainedModel
    new: Collection[str]
    tokenizer: PreTrainedTokenizerBase
    task: TaskType


def _load_base(request: _Request) -> _Base:
    """The base model that a version was trained on, or the one that was asked for."""
    version, manifest, home = request.version, request.manifest, request.catalog.home
    task = task_type(manifest.task_type, str(version.ref))
    where = request.base or where_base_is(manifest.base_model, cache_in(home))
    model, new = load_for_head(
        where,
        task.load_class(),
        num_labels=len(manifest.labels),
        id2label=dict(enumerate(manifest.labels)),
        label2id={label: index for index, label in enumerate(manifest.labels)},
    )
    found = fingerprint(model)
    require_known_base(
        home, version, manifest, found, base=where, allow_mismatch=request.allow_base_mismatch
    )
    return _Base(model, new, load_tokenizer(where, model), task)
