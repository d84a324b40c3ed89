"""The head of a model: what makes outputs of what the backbone gives.

It is every weight outside the backbone. Some backbones end in modules that only a head reads, such
as BERT's pooler: its *outlet*, the modules that come after the last layer. What is trained of them,
or was made new because the base model lacks it, belongs to the head as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from transformers import PreTrainedModel

from hubkit.bases.fingerprint import BESIDE_BACKBONE
from hubkit.bases.parts import parts_of
from hubkit.formats.heads import Head
from hubkit.nn.hooks import SUBMODULE
from hubkit.nn.host import backbone
from hubkit.nn.layout import layouts_of
from registry.arguments import checked
from registry.errors import AdapterError, UnsupportedModelError
from registry.folders.flexible_heads import FlexibleHead
from registry.manifest import ProblemType
from registry.task_types import TaskNames, of_class, of_head

logger = logging.getLogger(__name__)

_POOLER = "pooler."
_NOTED = "_hubkit_outlet"


def head_of(model: PreTrainedModel, outlet: Collection[str] = ()) -> Head | None:
    """A copy of the head that belongs to what is trained in ``model``; None if there is none.

    A bare backbone has none, and nor has a language model whose own head is frozen.

    Args:
        model: A model with a head.
        outlet: The tensors of the backbone's outlet that belong to the head, by name.
    """
    places = outlet_tensors(model)
    tensors = {**head_to_keep(model), **{name: places[name] for name in outlet}}
    if flexible_of(model) is not None:  # AdapterHub's library wants its words, too
        tensors |= _shared(model)
    if not tensors:
        return None
    problem, names = problem_type(model), task_names(model)
    labels: dict[Any, str] = dict(model.config.id2label or {})
    if problem == "regression" or (names is not None and not names.classes):
        labels = {}  # transformers names two in any configuration
    words = names is not None and names.pretrained_head
    return Head(
        model_class=type(model).__name__,
        labels=tuple(labels[index] for index in sorted(labels)),
        tensors={name: tensor.detach().cpu().clone() for name, tensor in tensors.items()},
        backbone=model.base_model_prefix,
        outputs=None if words else getattr(model.config, "num_labels", None),
        problem_type=problem,
        flexible=flexible_of(model),
    )


@checked
def set_head(model: PreTrainedModel, head: Head, new: Collection[str] | None = None) -> None:
    """Write ``head`` into ``model``, where it stays: its weights, its labels, what they mean.

    Attaching leaves a model's head alone: ``set_head(model, adapter.head)`` gives it the one that
    an adapter or a fusion was trained with. A head may hold weights of the backbone's outlet, such
    as a trained pooler. An adapter that is to be attached, too, is attached first, since it is held
    to the weights that the base model had.

    Args:
        model: Has the head's place, as a model of the class that the adapter was trained in has.
        head: The weights; ``head`` of an adapter or a fusion.
        new: The parameters of the model's head that the base model has no weights for, by name:
            ``head`` has at least these, and all of each module that it has a part of. None: those
            that transformers did not read from its files.

    Raises:
        AdapterError: A parameter is missing, is not in the model's head, or has another shape; or
            the model shares it with its embeddings, and those are others. Nothing is written.
    """
    if head.flexible is not None and flexible_of(model) != head.flexible:
        raise AdapterError(
            f"The adapter's head is a flexible one ({head.flexible.head_type}), which has no place "
            f"in a {type(model).__name__}. Make one with "
            "hubkit.with_flexible_head(backbone, adapter.head.flexible)."
        )
    own = head_tensors(model)
    places = {**own, **outlet_tensors(model), **_shared(model)}
    missing = set(_made(model, own) if new is None else new) - head.tensors.keys()
    if missing := missing | set(missing_beside(model, head.tensors)):
        raise AdapterError(
            f"The adapter's head ({head.model_class or 'of an unnamed class'}) has no weights for "
            f"{', '.join(sorted(missing))} of {type(model).__name__}; they would be others than in "
            "training. Save the adapter with its whole head (peft: modules_to_save)."
        )
    for name, tensor in head.tensors.items():
        place = places.get(name)
        if place is None or place.shape != tensor.shape:
            expected = "is no part" if place is None else f"has the shape {tuple(place.shape)}"
            raise AdapterError(
                f"The adapter's head ({head.model_class or 'of an unnamed class'}) has {name} of "
                f"shape {tuple(tensor.shape)}, which {expected} in the head of "
                f"{type(model).__name__}. Load the model class that the adapter was trained in."
            )
    if (words := other_words(model, head)) is not None:
        raise AdapterError(
            f"The adapter's head ({head.model_class or 'of an unnamed class'}) makes words by "
            f"{words}, which in a {type(model).__name__} are its embeddings: their weights are "
            "others. Load the base model that the adapter was trained on."
        )
    with torch.no_grad():
        for name in head.tensors.keys() - _shared(model).keys():
            places[name].copy_(head.tensors[name])
    _describe_outputs(model, head)


def other_words(model: PreTrainedModel, head: Head) -> str | None:
    """By which tensor a head makes words otherwise than a model that shares it with its embeddings.

    None where there is no such tensor: the model has room for the head.
    """
    for name, embeddings in _shared(model).items():
        given = head.tensors.get(name)
        if given is not None and not torch.equal(embeddings.cpu(), given.to(embeddings.dtype)):
            return name
    return None


def _describe_outputs(model: PreTrainedModel, head: Head) -> None:
    """Give the outputs of the model the names that they have in the head."""
    config = model.config
    if head.labels:
        config.id2label = dict(enumerate(head.labels))  # which sets num_labels, too
        config.label2id = {label: index for index, label in enumerate(head.labels)}
    elif head.outputs is not None and head.outputs != config.num_labels:
        config.num_labels = head.outputs
    if hasattr(model, "num_labels"):
        setattr(model, "num_labels", config.num_labels)  # noqa: B010
    if head.problem_type is not None:
        config.problem_type = head.problem_type


def problem_type(model: PreTrainedModel) -> ProblemType | None:
    """What the outputs of ``model`` mean; None for models that give none for a whole row.

    Where its configuration does not say, it is what transformers takes it for in training.
    """
    if (flexible := flexible_of(model)) is not None:
        return flexible.problem_type
    given: ProblemType | None = getattr(model.config, "problem_type", None)
    if given in get_args(ProblemType):
        return given
    if not type(model).__name__.endswith("ForSequenceClassification"):
        return None
    return "regression" if model.config.num_labels == 1 else "single_label_classification"


def flexible_of(model: PreTrainedModel) -> FlexibleHead | None:
    """How the flexible head of ``model`` is built; None for any other model."""
    found: FlexibleHead | None = getattr(model, "flexible", None)
    return found


def task_names(model: PreTrainedModel) -> TaskNames | None:
    """What the head of ``model`` is for; None where the table of names does not know it."""
    flexible = flexible_of(model)
    return of_class(type(model).__name__) if flexible is None else of_head(flexible.head_type)


def note_other_head(model: PreTrainedModel, name: str, head: Head) -> None:
    """Warn if a model has the place of a head, but other weights in it.

    Args:
        model: What an adapter was just attached to.
        name: The name of the adapter.
        head: What it was trained with.
    """
    places = {**head_tensors(model), **outlet_tensors(model)}
    pairs = [(places.get(place), tensor) for place, tensor in head.tensors.items()]
    if any(own is None or own.shape != tensor.shape for own, tensor in pairs):
        return  # a model for something else
    if all(own is None or torch.equal(own.cpu(), tensor.to(own.dtype)) for own, tensor in pairs):
        return
    logger.warning(
        "%s was trained with a head, but the %s that it is attached to keeps its own. "
        "hubkit.set_head(model, adapter.head) gives it the adapter's.",
        name,
        type(model).__name__,
    )


@contextmanager
def wearing(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Put these weights into the model inside the block, whatever their shape.

    Args:
        model: Gets them by name. Parameters are its own inside the block, so that what it computes
            has gradients to them; other tensors are copied where the model has another dtype or
            device, and are frozen.
        tensors: Such as those of a head.
    """
    kept: list[tuple[nn.Module, str, Any]] = []
    try:
        for path, tensor in tensors.items():
            place, _, name = path.rpartition(".")
            module = model.get_submodule(place)
            old = getattr(module, name)
            new: Any = tensor
            if not isinstance(tensor, Parameter):
                new = tensor.to(device=model.device, dtype=old.dtype)
                if isinstance(old, Parameter):
                    new = Parameter(new, requires_grad=False)
            kept.append((module, name, old))
            setattr(module, name, new)
        yield
    finally:
        for module, name, old in reversed(kept):
            setattr(module, name, old)


@contextmanager
def head_alone(model: PreTrainedModel, states: Any) -> Iterator[None]:
    """Inside the block, the backbone returns ``states``, computed before: the head alone runs."""
    base = vars(backbone(model))
    base["forward"] = lambda *_arguments, **_named: states
    try:
        yield
    finally:
        del base["forward"]


def head_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The parameters and saved buffers of ``model`` outside its backbone, by name."""
    if model.base_model is model:  # bare, or one that holds its head beside the backbone's modules
        beside, saved = (*BESIDE_BACKBONE, "lm_head."), _saved(model)
        inside = {id(tensor) for name, tensor in saved.items() if not name.startswith(beside)}
        return {n: t for n, t in saved.items() if n.startswith(beside) and id(t) not in inside}
    # A language model's head may be tied to the embeddings, which are the base model's.
    inside = {id(tensor) for tensor in _saved(backbone(model)).values()}
    return {
        name: tensor
        for name, tensor in _saved(model).items()
        if id(tensor) not in inside and not name.startswith(f"{SUBMODULE}.")
    }


def head_to_train(model: PreTrainedModel) -> dict[str, Tensor]:
    """The part of the head that is trained beside an adapter: all of it, or nothing, by name.

    The head of a language model is the base model's own. It is trained only where the base model's
    files have no weights for it, or not for all of it.
    """
    tensors, names = head_tensors(model), task_names(model)
    if names is None or not names.pretrained_head:
        return tensors
    made = _is_marked(model) and any(
        isinstance(tensor, Parameter) and not _was_read(tensor) for tensor in tensors.values()
    )
    return tensors if made else {}


def head_to_keep(model: PreTrainedModel) -> dict[str, Tensor]:
    """The part of the head that an adapter needs beside it: what is to train, or was trained."""
    tensors = head_tensors(model)
    trained = any(tensor.requires_grad for tensor in tensors.values())
    return tensors if trained else head_to_train(model)


def _shared(model: PreTrainedModel) -> dict[str, Tensor]:
    """The tensors outside the backbone that are tensors of the backbone, too, by name."""
    if model.base_model is model:
        beside, saved = (*BESIDE_BACKBONE, "lm_head."), _saved(model)
        own = {id(tensor) for name, tensor in saved.items() if not name.startswith(beside)}
        return {n: t for n, t in saved.items() if n.startswith(beside) and id(t) in own}
    inside = {id(tensor) for tensor in _saved(backbone(model)).values()}
    prefix = f"{model.base_model_prefix}."
    return {
        name: tensor
        for name, tensor in _saved(model).items()
        if id(tensor) in inside and not name.startswith((prefix, f"{SUBMODULE}."))
    }


def outlet_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The parameters and saved buffers of the backbone's outlet, by their names in ``model``.

    Empty where hubkit knows no layers of the architecture.
    """
    base = backbone(model)
    try:
        ends = {path.partition(".")[0] for one in layouts_of(model) for path in one.layers}
    except UnsupportedModelError:
        return {}
    children = [name for name, _ in base.named_children()]
    last = max((children.index(end) for end in ends if end in children), default=len(children))
    after = tuple(f"{name}." for name in children[last + 1 :] if name not in (SUBMODULE, "lm_head"))
    prefix = "" if base is model else f"{model.base_model_prefix}."
    return {
        f"{prefix}{name}": tensor
        for name, tensor in _saved(base).items()
        if name.startswith(after) and not name.startswith(BESIDE_BACKBONE)
    }


def made_outlet(model: PreTrainedModel) -> frozenset[str]:
    """The tensors of the outlet that the base model's files have no weights for, by name.

    transformers makes them at random, and marks what it read from the files. Of a model that it
    made from a configuration alone nothing is marked, and all of it is the base model.
    """
    return _made(model, outlet_tensors(model)) if _is_marked(model) else frozenset()


def _made(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> frozenset[str]:
    """The names of those of ``tensors`` that were not read from files.

    Of a model that was not read at all, these are all.
    """
    marked = _is_marked(model)
    return frozenset(name for name, one in tensors.items() if not (marked and _was_read(one)))


def outlet_to_train(model: PreTrainedModel) -> dict[str, Parameter]:
    """The part of the outlet that is trained with the head, by name; nothing without a head.

    It is a pooler, and whatever the base model's files have no weights for. Norms after the last
    layer are part of the backbone, and stay frozen. So does the pooler before a flexible head, as
    AdapterHub's format has no place for it. transformers leaves a pooler out of a model whose head
    does not read it.
    """
    if not head_to_train(model):
        return {}
    prefix = "" if backbone(model) is model else f"{model.base_model_prefix}."
    made, flexible = made_outlet(model), flexible_of(model) is not None
    return {
        name: tensor
        for name, tensor in outlet_tensors(model).items()
        if isinstance(tensor, Parameter)
        and (name in made or (name.startswith(f"{prefix}{_POOLER}") and not flexible))
    }


def outlet_to_keep(model: PreTrainedModel) -> tuple[str, ...]:
    """The part of the outlet that an adapter needs beside it: what is trained, or was made new.

    Returns:
        The names of its tensors: all of a module, or none.
    """
    if not head_to_keep(model):
        return ()
    outlet, made = outlet_tensors(model), made_outlet(model)
    trained = {name for name, one in outlet.items() if one.requires_grad}
    return whole_modules(model, outlet, trained | made)


def whole_modules(
    model: PreTrainedModel, outlet: Collection[str], names: Collection[str]
) -> tuple[str, ...]:
    """The tensors of the outlet in each module that one of ``names`` is in.

    A head has all of a module, or nothing.
    """
    kept = module_paths(model, [name for name in outlet if name in names])
    return tuple(name for name in outlet if module_paths(model, [name])[0] in kept)


def renew_head(model: PreTrainedModel) -> None:
    """Draw new weights for each parameter that the base model's files lack: above all, the head.

    They are drawn as transformers draws them when it loads a model.
    """
    new = {*head_to_train(model), *made_outlet(model)}
    for path in dict.fromkeys(name.rpartition(".")[0] for name in new):
        model._init_weights(model.get_submodule(path))  # type: ignore[no-untyped-call]


def note_outlet(model: PreTrainedModel, names: Collection[str]) -> None:
    """Note what these tensors of the outlet are, for :func:`restore_outlet`.

    What was noted before stays, until the adapters that ``model`` carries are taken out.
    """
    carried = getattr(model, SUBMODULE, None)
    if carried is None:
        return
    noted: dict[str, Tensor] = vars(carried).setdefault(_NOTED, {})
    for name in names:
        noted.setdefault(name, model.get_parameter(name).detach().clone())


def restore_outlet(model: PreTrainedModel) -> None:
    """Restore the base model's outlet, if it was trained."""
    noted: dict[str, Tensor] = vars(getattr(model, SUBMODULE, nn.Module())).pop(_NOTED, {})
    with torch.no_grad():
        for name, tensor in noted.items():
            model.get_parameter(name).copy_(tensor)


@contextmanager
def outlets_of_rows(
    model: PreTrainedModel, parts: Sequence[tuple[Sequence[int], Mapping[str, Tensor]]]
) -> Iterator[None]:
    """Let rows of a batch go through an outlet of their own each, such as a pooler.

    Args:
        model: Its backbone runs inside the block.
        parts: Numbers of rows, and weights for them by name; those that are not in the outlet are
            ignored. Each row of the batch is in one part.
    """
    outlet, base = outlet_tensors(model).keys(), backbone(model)
    prefix = "" if base is model else f"{model.base_model_prefix}."
    own = [(rows, {n: t for n, t in given.items() if n in outlet}) for rows, given in parts]
    changed: list[dict[str, Any]] = []
    try:
        for path in module_paths(model, list(dict.fromkeys(n for _, one in own for n in one))):
            inside = f"{prefix}{path}."
            weights = [(r, {n: t for n, t in w.items() if n.startswith(inside)}) for r, w in own]
            module = base.get_submodule(path)
            vars(module)["forward"] = _ByRows(model, module.forward, weights)
            changed.append(vars(module))
        yield
    finally:
        for one in changed:
            del one["forward"]


class _ByRows:
    """The forward pass of a module that has other weights for other rows."""

    def __init__(
        self,
        model: PreTrainedModel,
        whole: Callable[[Tensor], Tensor],
        parts: Sequence[tuple[Sequence[int], Mapping[str, Tensor]]],
    ) -> None:
        self._model, self._whole, self._parts = model, whole, parts

    def __call__(self, states: Tensor) -> Tensor:
        found = []
        for rows, weights in self._parts:
            with wearing(self._model, weights):
                found.append(self._whole(states[list(rows)]))
        order = torch.tensor([row for rows, _ in self._parts for row in rows])
        return torch.cat(found)[order.argsort()]


def _is_marked(model: PreTrainedModel) -> bool:
    """Whether weights of the backbone are marked as read."""
    return any(_was_read(parameter) for parameter in backbone(model).parameters())


def _was_read(tensor: Tensor) -> bool:
    return bool(getattr(tensor, "_is_hf_initialized", False))


def module_paths(model: PreTrainedModel, tensors: Collection[str]) -> tuple[str, ...]:
    """The modules that tensors of a head belong to, as a manifest names them: ``classifier``."""
    return parts_of(tensors, model.base_model_prefix)


def missing_beside(model: PreTrainedModel, tensors: Collection[str]) -> list[str]:
    """What ``model`` has in the modules of a head beside ``tensors``, by name.

    A head brings a module as a whole, or not at all: of a part, the rest would be what the base
    model has there, which was not trained with it.

    Args:
        model: Has the head's place.
        tensors: The names of what the head brings.
    """
    places = {**head_tensors(model), **outlet_tensors(model)}
    modules = set(module_paths(model, tensors))
    # One tensor may have several names, of which the files have one.
    brought = {id(places[name]) for name in tensors if name in places}
    return [
        name
        for name, tensor in places.items()
        if name not in tensors
        and id(tensor) not in brought
        and not modules.isdisjoint(module_paths(model, [name]))
    ]


def _saved(model: PreTrainedModel) -> dict[str, Tensor]:
    """The tensors that a checkpoint holds, themselves, by each of their names."""
    found: dict[str, Tensor] = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}
