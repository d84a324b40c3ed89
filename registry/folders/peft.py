"""PEFT folders: ``adapter_config.json`` with a ``peft_type``, and ``adapter_model.safetensors``.

A LoRA delta of rank r is ``base_model.model.<module>.lora_A.weight`` (r, d_in) and
``.lora_B.weight`` (d_out, r); a head that is trained along stands beside it under its name in the
model. Which modules carry one, and of which rank, is in the configuration.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from registry.errors import FolderError, PickledWeightsError, did_you_mean
from registry.folders.bounded import shown
from registry.folders.card import Card, read_card
from registry.folders.configs import count_of, read_config, text_of
from registry.folders.folder import Folder, Given, choose_labels, find_base, make_folder
from registry.folders.kinds import PEFT, Part
from registry.folders.lora import LoraConfig, read_lora, unknown_options
from registry.folders.peft_names import (
    KEPT,
    PREFIX,
    backbone_prefix,
    head_module,
    in_head,
    plain_name,
    task_of,
)
from registry.folders.safetensors import TensorInfo, read_header, require_numbers, require_weights
from registry.folders.source import Source
from registry.manifest import HeadInfo, Method, manifest_errors
from registry.task_types import TASK_NAMES, of_class, of_peft, with_outputs

_METHODS = (
    *("LORA", "ADALORA", "DELORA", "GLORA", "GRALORA", "HIRA", "RANDLORA", "TINYLORA", "UNILORA"),
    *("VBLORA", "XLORA", "LOHA", "LOKR", "VERA", "PVERA", "IA3", "OFT", "BOFT", "HRA", "POLY"),
    *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE"),
    *("ADAPTION_PROMPT", "LN_TUNING", "TRAINABLE_TOKENS", "FOURIERFT", "WAVEFT", "C3A", "ROAD"),
    *("BONE", "MISS", "SHIRA", "OSF", "ADAMSS", "BEFT", "LILY", "FROD", "PSOFT", "PEANUT"),
    *("SHADOW", "SUPERTUNING", "DEFT"),
)
# The option with the size of a method, and its name in a manifest.
_PARAMETERS = {
    "r": "rank",
    "lora_alpha": "alpha",
    "use_rslora": "use_rslora",
    "num_virtual_tokens": "virtual_tokens",
}
_EXAMPLE = f"{PREFIX}encoder.layer.0.attention.self.query.lora_A.weight"
_LORA = re.compile(r"(?P<module>.+)\.(?P<leaf>lora_[AB]\.weight|lora_B\.bias)")
# The names of LoRAs that change more than linear layers of the backbone, and what they change.
_BEYOND = {
    "lora_with_embeddings": "the embeddings",
    "lora_on_head": "the head",
    "lora_with_modules": "modules of the base model as a whole",
    "lora_on_convolutions": "convolutions",
}
_HEAD = re.compile(
    r"(?:.+\.)?(?:classifier|score|classification_head)(?:\.out_proj)?\.(?:lora_B\.)?weight"
)


def read_peft_folder(path: Source, parts: tuple[Part, ...], given: Given) -> Folder:
    """Read a PEFT folder of any method.

    Raises:
        FolderError: The weights contradict the configuration, the card or the labels; or the
            base model is not named.
        ManifestError: The manifest does not allow a value.
        OSError: A file cannot be read.
    """
    where = path / PEFT.config
    config, card = read_config(where), read_card(path)
    type = _type(config, where)
    lora = read_lora(config, where) if type == "LORA" else None
    weights = path / PEFT.weights
    if not weights.is_file():
        raise PickledWeightsError(
            f"{path} holds its weights as a pickle, {PEFT.pickle}; expected {PEFT.weights}.", path
        )
    tensors = _read_tensors(weights)
    name = type.lower() if lora is None else _lora_name(tensors, lora, weights)
    _require_module_names(config, where)
    if name != "lora":
        _require_plain_names(weights, name)
    with manifest_errors(f"The method in {where}"):
        method = Method(
            type=name,
            parameters={
                ours: config[theirs] for theirs, ours in _PARAMETERS.items() if config.get(theirs)
            },
        )
    base = find_base(
        config,
        "base_model_name_or_path",
        where,
        card,
        given,
        revision=text_of(config, "revision", where),
        architecture=_base_class(config, where),
        # A prompt learning method has these for the size of its prompts.
        hidden_size=count_of(config, "token_dim", where),
        num_layers=count_of(config, "num_layers", where),
    )
    facts: dict[str, Any] = {}
    if modules := _head_modules(tensors):
        facts["head"] = HeadInfo(modules=modules)
    outputs = _classes(tensors)
    has_head = bool(modules) or _adapts_head(tensors)
    known, unknown = _task_type(config, card, has_head, where)
    facts["task_type"] = with_outputs(known, outputs)
    names = TASK_NAMES.get(facts["task_type"] or "")
    if names is not None and not (names.classes or names.pretrained_head):
        outputs = None  # they are numbers
    notes = [*_notes(config, lora, name), *unknown]
    labels = choose_labels(path, (), outputs, given)
    return make_folder(
        path, method=method, base=base, card=card, given=given, labels=labels, notes=notes, **facts
    )


def _read_tensors(weights: Source) -> dict[str, TensorInfo]:
    """Return the tensors by their names without wrappers."""
    found = read_header(weights)
    if not found:
        raise FolderError(f"{weights} holds no tensor. Save the adapter again.", weights.parent)
    require_numbers(found, weights)
    tensors = {plain_name(name): tensor for name, tensor in found.items()}
    if len(tensors) < len(found):
        raise FolderError(
            f"{weights} holds a tensor twice: with a wrapper such as _orig_mod in its name, and "
            "without. Save the adapter again, from the model inside the wrapper.",
            weights,
        )
    return tensors


def _require_plain_names(weights: Source, method: str) -> None:
    """Refuse wrappers in the names of tensors for PEFT, which does not find them."""
    wrapped = next((name for name in read_header(weights) if plain_name(name) != name), None)
    if wrapped is not None:
        raise FolderError(
            f"{weights}: the tensor {shown(wrapped)} was saved through a wrapper; expected "
            f"{shown(plain_name(wrapped))}. PEFT, which runs the method {method}, does not find "
            "it. Save the adapter again, from the model inside the wrapper.",
            wrapped,
        )


def _require_module_names(config: Mapping[str, Any], where: Source) -> None:
    """Check the option that names the modules that were trained as a whole."""
    given = config.get("modules_to_save") or ()
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise FolderError(
            f"{where}: modules_to_save is {shown(given)}; expected names of modules, or null. Mend "
            "the file.",
            where,
        )


def _task_type(
    config: dict[str, Any], card: Card, has_head: bool, where: Source
) -> tuple[str | None, list[str]]:
    """Return what the adapter is for, as far as its files say, and a note if nobody knows."""
    if given := text_of(config, "task_type", where):
        if names := of_peft(task_of(config)):
            return names.name, []
        note = (
            f"{where.name} has the task_type {shown(given)}, which PEFT does not know: hubkit "
            "keeps the adapter, and does not load it to predict."
        )
        return given.lower().replace("_", "-"), [note]
    names = of_class(_base_class(config, where))
    # PEFT writes the class of the model only if it does not know the task type.
    if names and (has_head or names.pretrained_head):
        return names.name, []
    if card.task_type or not has_head:
        return card.task_type, []
    note = (
        f"{where.name} has no task_type, though there is a head: nothing says what the head does, "
        "so that hubkit keeps it, and does not load it to predict. PEFT's task_type, such as "
        "SEQ_CLS, says it."
    )
    return None, [note]


def _notes(config: Mapping[str, Any], lora: LoraConfig | None, method: str) -> list[str]:
    """Notes about it for people, before it is used."""
    if lora is None and (reason := KEPT.get(method.upper())):
        return [f"Kept, not run by hubkit: {method}, as {reason}."]
    if lora is None:
        return [f"hubkit does not compose the method {method}: PEFT runs it."]
    notes = [
        f"{PEFT.config} has the option {shown(option)}, which no known release of PEFT has: hubkit "
        "computes the adapter without it."
        for option in unknown_options(config)
    ]
    if lora.variant is not None:
        notes.append(f"hubkit does not compose it, as {lora.variant.reason}: PEFT runs it.")
    elif method != "lora":
        reason = _BEYOND[method]
        notes.append(f"hubkit does not compose it, as it adapts {reason}: PEFT runs it.")
    return notes


def _type(config: dict[str, Any], where: Source) -> str:
    type = text_of(config, "peft_type", where)
    if type is None:
        raise FolderError(f"{where}: peft_type is empty; expected a method such as LORA.", where)
    if type not in _METHODS:
        raise FolderError(
            f"{where}: peft_type is {shown(type)}; expected a method of PEFT, such as LORA or IA3."
            f"{did_you_mean(type.upper(), _METHODS)} Mend the file.",
            where,
        )
    return type


def _base_class(config: dict[str, Any], where: Source) -> str | None:
    mapping = config.get("auto_mapping") or {}
    if not isinstance(mapping, dict):
        raise FolderError(f"{where}: auto_mapping is {shown(mapping)}; expected an object.", where)
    return text_of(mapping, "base_model_class", where)


def _classes(tensors: Mapping[str, TensorInfo]) -> int | None:
    """Return the number of the head's classes; None if there is no head."""
    rows = {
        name: tensor.shape[0]
        for name, tensor in tensors.items()
        if _HEAD.fullmatch(name) and len(tensor.shape) == 2
    }
    # The projection of a head of two layers comes last in this order.
    return rows[max(rows)] if rows else None


def _lora_name(tensors: Mapping[str, TensorInfo], lora: LoraConfig, path: Source) -> str:
    """Return the name of a LoRA by what it changes; compare its tensors with the configuration."""
    require_weights(tensors, path)
    if any(".lora_embedding_" in name for name in tensors):
        return "lora_with_embeddings"
    deltas = _check_lora(tensors, lora, path)
    if lora.variant is not None:
        return lora.variant.method
    return _what_else(deltas, tensors) or "lora"


def _what_else(
    deltas: Mapping[str, Mapping[str, TensorInfo]], tensors: Mapping[str, TensorInfo]
) -> str | None:
    """Return the name of a LoRA that changes more than linear layers of the backbone."""
    prefix = backbone_prefix(deltas) or ""
    if any(in_head(module, prefix) for module in deltas):
        return "lora_on_head"
    # Modules of modules_to_save: a head is published along, others are parts of the base model.
    if not all(head_module(path, prefix) for path in _whole(tensors)):
        return "lora_with_modules"
    sides = (tensor for delta in deltas.values() for tensor in delta.values())
    return "lora_on_convolutions" if any(len(one.shape) > 2 for one in sides) else None


def _head_modules(tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    """Return the modules between the backbone's layers and the outputs that the folder has."""
    prefix = backbone_prefix(name.removeprefix(PREFIX) for name in tensors) or ""
    modules = (head_module(path, prefix) for path in _whole(tensors))
    return tuple(dict.fromkeys(module for module in modules if module))


def _adapts_head(tensors: Iterable[str]) -> bool:
    paths = [name.removeprefix(PREFIX) for name in tensors if name.startswith(PREFIX)]
    prefix = backbone_prefix(paths) or ""
    return any(in_head(path, prefix) for path in paths)


def _whole(tensors: Mapping[str, TensorInfo]) -> Iterator[str]:
    """Return the paths of the modules that were trained as a whole, not by a LoRA."""
    # Beside the model, a method has tensors of its own, such as VeRA.
    own = (name for name in tensors if name.startswith(PREFIX) and ".lora_" not in name)
    return (name.removeprefix(PREFIX) for name in own)


def _check_lora(
    tensors: Mapping[str, TensorInfo], lora: LoraConfig, path: Source
) -> dict[str, dict[str, TensorInfo]]:
    """Return every delta, compared with the configuration: module, rank, and both sides."""
    deltas: dict[str, dict[str, TensorInfo]] = {}
    for name, tensor in tensors.items():
        found = _LORA.fullmatch(name.removeprefix(PREFIX))
        stray = lora.variant is None and found is None and ".lora_" in name
        if stray or not name.startswith(PREFIX):
            raise FolderError(
                f"{path}: the tensor {name!r} is not one of a LoRA: expected names such as "
                f"{_EXAMPLE!r}.{did_you_mean(PREFIX + name, filter(_is_lora, tensors))} Save the "
                "adapter with PEFT's save_pretrained.",
                name,
            )
        if found:
            deltas.setdefault(found["module"], {})[found["leaf"]] = tensor
    if not deltas and not any(".lora_" in name for name in tensors):
        raise FolderError(
            f"{path} holds no LoRA tensor: expected names such as {_EXAMPLE!r}, found "
            f"{next(iter(tensors))!r}.",
            path,
        )
    for module, delta in deltas.items():
        _require_target(module, lora, deltas, path)
        _check_delta(module, delta, lora, path)
    return deltas


def _is_lora(name: str) -> bool:
    is_inside = name.startswith(PREFIX)
    return is_inside and _LORA.fullmatch(name.removeprefix(PREFIX)) is not None


def _check_delta(
    module: str, delta: Mapping[str, TensorInfo], lora: LoraConfig, path: Source
) -> None:
    for leaf, axis in (("lora_A.weight", 0), ("lora_B.weight", 1)):
        if leaf not in delta:
            raise FolderError(f"{path}: {module} has no {leaf}. Copy it again.", module)
        shape = delta[leaf].shape
        if lora.in_blocks and len(shape) == 2:
            continue
        if len(shape) < 2 or not lora.is_rank_at(module, shape[axis]):
            raise FolderError(
                f"{path}: {module}.{leaf} has the shape {list(shape)}, but {PEFT.config} says "
                f"rank {lora.rank_at(module)}. Weights and configuration are not of the same "
                "adapter; copy both again.",
                module,
            )
    if lora.variant is None and ("lora_B.bias" in delta) != lora.bias:
        raise FolderError(
            f"{path}: {module} has {'no' if lora.bias else 'a'} lora_B.bias, but {PEFT.config} "
            f"says lora_bias is {lora.bias}. Weights and configuration are not of the same "
            "adapter; copy both again.",
            module,
        )


def _require_target(module: str, lora: LoraConfig, found: Iterable[str], path: Source) -> None:
    if lora.is_target(module):
        return
    targets = [lora.targets] if isinstance(lora.targets, str) else sorted(lora.targets or ())
    names = {module.rpartition(".")[2] for module in found}
    suggestions = (did_you_mean(target, names - {*targets}) for target in targets)
    raise FolderError(
        f"{path}: the tensors of {module!r} fit none of the modules that {PEFT.config} "
        f"targets: {', '.join(targets[:8]) or 'none'}.{next(filter(None, suggestions), '')}",
        module,
    )
