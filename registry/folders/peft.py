"""PEFT folders: ``adapter_config.json`` with a ``peft_type``, and ``adapter_model.safetensors``.

A LoRA delta of rank r is ``base_model.model.<module>.lora_A.weight`` (r, d_in) and
``.lora_B.weight`` (d_out, r); a head that is trained along stands beside it under its name in the
model. Which modules carry one, and of which rank, is in the configuration.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.errors import FolderError, did_you_mean
from registry.folders.card import read_card
from registry.folders.configs import count_of, read_config, text_of
from registry.folders.folder import Folder, Given, choose_labels, find_base, make_folder
from registry.folders.kinds import PEFT, Part
from registry.folders.safetensors import TensorInfo, read_header
from registry.manifest import Method, manifest_errors

TASK_TYPES = {
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "CAUSAL_LM": "text-generation",
    "SEQ_2_SEQ_LM": "text2text-generation",
    "FEATURE_EXTRACTION": "feature-extraction",
}
"""From PEFT's task types to those of the Hugging Face Hub."""

PLAIN_STARTS = ("gaussian", "eva", "orthogonal")
"""The named initialisations of LoRA that leave the base model's weights alone."""

# What else makes a LoRA another method.
_SWITCHES = (
    *("use_qalora", "use_bdlora", "layer_replication", "trainable_token_indices", "loftq_config"),
    *("target_parameters", "alora_invocation_tokens", "arrow_config", "kasa_config"),
    *("velora_config", "monteclora_config", "corda_config", "lora_ga_config"),
)
# What says how large the method is, and what it is called in a manifest.
_PARAMETERS = {
    "r": "rank",
    "lora_alpha": "alpha",
    "use_rslora": "use_rslora",
    "num_virtual_tokens": "virtual_tokens",
}
_PREFIX = "base_model.model."
_LORA = re.compile(r"(?P<module>.+)\.(?P<side>lora_[AB])\.weight")
_HEAD = re.compile(r"(?:.+\.)?(?:classifier|score)(?:\.out_proj)?\.weight")


def read_peft_folder(path: Path, parts: tuple[Part, ...], given: Given) -> Folder:
    """Read a PEFT folder of any method.

    Raises:
        FolderError: The weights contradict the configuration, the card or the labels; or the
            base model is not named.
        ManifestError: A fact is none that a manifest holds.
        OSError: A file cannot be read.
    """
    where = path / PEFT.config
    config, card = read_config(where), read_card(path)
    method = _method(config, where)
    if not (path / PEFT.weights).is_file():
        raise FolderError(
            f"{path} holds its weights as a pickle, {PEFT.pickle}; expected {PEFT.weights}. "
            "`hubkit publish` converts it.",
            path,
        )
    tensors = read_header(path / PEFT.weights)
    if not tensors:
        raise FolderError(f"{path / PEFT.weights} holds no tensor. Save the adapter again.", path)
    if any(".lora_embedding_" in name for name in tensors):
        method = Method(type="lora_with_embeddings", parameters=method.parameters)
    elif config["peft_type"] == "LORA":
        _check_lora(tensors, config, path / PEFT.weights)
    base = find_base(
        config,
        "base_model_name_or_path",
        where,
        card,
        given,
        revision=text_of(config, "revision", where),
        architecture=_base_class(config, where),
        # A prompt learning method has them to know how large its prompts are.
        hidden_size=count_of(config, "token_dim", where),
        num_layers=count_of(config, "num_layers", where),
    )
    facts = {}
    if task_type := text_of(config, "task_type", where):
        facts["task_type"] = TASK_TYPES.get(task_type, task_type.lower().replace("_", "-"))
    labels = choose_labels(path, (), _classes(tensors), given)
    return make_folder(
        path, method=method, base=base, card=card, given=given, labels=labels, **facts
    )


def _method(config: dict[str, Any], where: Path) -> Method:
    type = text_of(config, "peft_type", where)
    if type is None:
        raise FolderError(f"{where}: peft_type is empty; expected a method such as LORA.", where)
    name = _variant(config) or type.lower() if type == "LORA" else type.lower()
    parameters = {
        ours: config[theirs] for theirs, ours in _PARAMETERS.items() if config.get(theirs)
    }
    with manifest_errors(f"The method in {where}"):
        return Method(type=name, parameters=parameters)


def _variant(config: dict[str, Any]) -> str | None:
    """What a LoRA is called that is more than low-rank updates of linear layers.

    It runs in PEFT, but cannot be added up: DoRA scales columns, some initialisations change the
    base model's own weights, and others train biases or whole tokens.
    """
    if config.get("use_dora"):
        return "dora"
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower() not in PLAIN_STARTS:
        return start.lower()
    if config.get("bias", "none") != "none":
        return "lora_with_biases"
    return "lora_variant" if any(config.get(key) for key in _SWITCHES) else None


def _base_class(config: dict[str, Any], where: Path) -> str | None:
    mapping = config.get("auto_mapping") or {}
    return text_of(mapping, "base_model_class", where) if isinstance(mapping, dict) else None


def _classes(tensors: Mapping[str, TensorInfo]) -> int | None:
    """Return how many classes the head tells apart, None if there is no head."""
    rows = {
        name: tensor.shape[0]
        for name, tensor in tensors.items()
        if _HEAD.fullmatch(name) and len(tensor.shape) == 2
    }
    # The projection of a head of two layers comes last in this order.
    return rows[max(rows)] if rows else None


def _check_lora(tensors: Mapping[str, TensorInfo], config: dict[str, Any], path: Path) -> None:
    """Hold every delta to the configuration: its module, its rank, and both of its sides."""
    default = count_of(config, "r", path.with_name(PEFT.config))
    sides: dict[str, dict[str, TensorInfo]] = {}
    for name, tensor in tensors.items():
        if not name.startswith(_PREFIX):
            raise FolderError(
                f"{path}: the tensor {name!r} fits no module: expected a name that starts with "
                f"{_PREFIX!r}.{did_you_mean(_PREFIX + name, tensors)} Save the adapter with PEFT's "
                "save_pretrained.",
                name,
            )
        if found := _LORA.fullmatch(name.removeprefix(_PREFIX)):
            sides.setdefault(found["module"], {})[found["side"]] = tensor
    if not sides and not any(".lora_" in name for name in tensors):
        raise FolderError(
            f"{path} holds no LoRA tensor: expected names such as "
            f"{_PREFIX + 'encoder.layer.0.attention.self.query.lora_A.weight'!r}, found "
            f"{next(iter(tensors))!r}.",
            path,
        )
    for module, delta in sides.items():
        _require_target(module, config, path)
        expected = _rank(module, config, default)
        for side in ("lora_A", "lora_B"):
            if side not in delta:
                raise FolderError(f"{path}: {module} has no {side}.weight. Copy it again.", module)
            shape = delta[side].shape
            rank = (shape[0] if side == "lora_A" else shape[1]) if len(shape) >= 2 else None
            if rank is None or (expected is not None and rank != expected):
                raise FolderError(
                    f"{path}: {module}.{side}.weight has the shape {list(shape)}, but "
                    f"{PEFT.config} says rank {expected}. Weights and configuration are not of "
                    "the same adapter; copy both again.",
                    module,
                )


def _require_target(module: str, config: dict[str, Any], path: Path) -> None:
    targets = config.get("target_modules")
    # Anything but a list of names is a pattern, which PEFT matches against the model.
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        return
    if not any(f".{module}".endswith(f".{target}") for target in targets):
        last = module.rpartition(".")[2]
        raise FolderError(
            f"{path}: the tensors of {module!r} fit none of the modules that {PEFT.config} "
            f"targets: {', '.join(sorted(targets)[:8]) or 'none'}.{did_you_mean(last, targets)}",
            module,
        )


def _rank(module: str, config: dict[str, Any], default: int | None) -> int | None:
    """Return the rank of a module, as PEFT finds it: the first pattern that ends its name."""
    patterns = config.get("rank_pattern") or {}
    for pattern, rank in patterns.items() if isinstance(patterns, dict) else ():
        try:
            if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", module):
                return int(rank)
        except (re.error, TypeError, ValueError):
            return None
    return default
