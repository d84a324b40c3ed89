"""Check the tensors of a PEFT folder against a base model."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from hubkit.bases.load import load_for_head
from hubkit.bases.parts import parts_of
from hubkit.formats.adapterhub.names import family
from hubkit.models.fit import has_sites
from hubkit.models.head import head_tensors, missing_beside, outlet_tensors
from hubkit.models.peft import runs_through_peft, try_peft
from hubkit.sharing.fit.skeleton import check_shapes, find_in, model_of_class, place_in, skeleton
from registry import Manifest
from registry.errors import AdapterError, BaseModelMismatchError, FolderError, did_you_mean, listed
from registry.folders.configs import read_config
from registry.folders.expressions import require_quick
from registry.folders.kinds import PEFT
from registry.folders.lora import ALL_LINEAR, read_lora
from registry.folders.peft_names import (
    PREFIX,
    in_head,
    is_saved,
    plain_name,
    saved_modules,
    task_of,
)
from registry.folders.safetensors import TensorInfo, read_header
from registry.storage.place import Place
from registry.task_types import of_peft

# For each tensor of a module, whether a dimension is an input (i), an output (o), either (e), or
# its own (.).
_SHAPES = {
    "lora_A": ".i",
    "lora_B": "o.",
    "lora_embedding_A": ".i",
    "lora_embedding_B": "o.",
    "lora_magnitude_vector": "o",
    "ia3_l": "ee",
    "vera_lambda_b": "o",
    "vera_lambda_d": ".",
}
# Where several parameters of one module are adapted, each wraps the one before it.
_NAME = re.compile(
    rf"base_model\.model\.(?P<module>.+?)(\.base_layer)*\.(?P<kind>{'|'.join(_SHAPES)})(\.weight)?"
)
_MAY_LACK = ("pooler",)
"""The parts of its backbone that a base model may lack."""
# What says which modules a LoRA is put at.
_TARGETING = (
    *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform"),
    *("layers_pattern", "ensure_weight_tying"),
)


def check_peft(folder: Place, manifest: Manifest, base: Path | None) -> list[str]:
    """Check a folder of PEFT, and return notes for the user: see ``check_tensors``."""
    if base is None:
        _require_named_modules(folder)
        return try_peft(folder, None) if runs_through_peft(manifest) else []
    model = skeleton(base)
    trained_in = model_of_class(_class_of_peft(folder), manifest, base)
    models = [model] if trained_in is None else [model, trained_in]
    adapted, whole = _check_adapted(folder, manifest, models)
    check_shapes(folder / PEFT.weights, whole, models)
    composed = manifest.method.type == "lora"
    if trained_in is None:
        _require_named_modules(folder)
    else:
        places = trained_in.state_dict()
        found = {place for path in whole if (place := place_in(path, places)) is not None}
        _require_saved_modules(folder, found, trained_in, composed=composed)
        has_head = manifest.head is not None or manifest.method.type == "lora_on_head"
        if has_head or saved_modules(read_config(folder / PEFT.config)):
            _require_rest_of_head(folder, found, trained_in, base, manifest)
        # A variant, such as one that repeats layers, may put them elsewhere.
        if adapted and manifest.method.type != "lora_variant":
            _require_all_layers(folder, adapted, trained_in)
    model_type = model.config.model_type
    if composed and has_sites(model_type):
        return []
    notes = try_peft(folder, trained_in)  # which is changed by it
    if composed:
        notes.append(
            f"hubkit has no layout for the architecture {model_type}, so it does not compose the "
            "adapter: PEFT runs it."
        )
    return notes


def _check_adapted(
    folder: Place, manifest: Manifest, models: Sequence[PreTrainedModel]
) -> tuple[set[str], dict[str, TensorInfo]]:
    """Check each tensor that adapts a module against that module.

    Returns:
        The modules that a LoRA adapts, and the other tensors, by the path that they replace.
    """
    model, weights = models[0], folder / PEFT.weights
    modules = {path: module for one in models for path, module in one.named_modules()}
    translate = _vision_names if manifest.method.type == "lora" else str
    # What repeats layers has tensors for layers that the base model lacks, and what is in blocks
    # has other sizes.
    config = read_config(folder / PEFT.config)
    repeats, in_blocks = (bool(config.get(key)) for key in ("layer_replication", "use_bdlora"))
    adapted: set[str] = set()
    whole: dict[str, TensorInfo] = {}
    for saved_name, tensor in read_header(weights).items():
        name = plain_name(saved_name)
        found = _NAME.fullmatch(name)
        if found is None:
            whole[name.removeprefix(PREFIX)] = tensor
            continue
        path, kind = found["module"], found["kind"]
        module = find_in(path, modules) or find_in(translate(path), modules)
        if module is None and repeats:
            continue
        if module is None:
            raise AdapterError(
                f"{weights}: the tensor {name!r} fits no module of a {type(model).__name__}."
                f"{did_you_mean(path, modules)} Name the base model that the adapter was trained "
                "on.",
                name,
            )
        sizes = _sizes(module)
        if isinstance(module, nn.Embedding):
            sizes = module.num_embeddings, module.embedding_dim
        if sizes is not None and not in_blocks and not _fits(tensor, _SHAPES[kind], *sizes):
            raise BaseModelMismatchError(
                f"{weights}: the tensor {name!r} has the shape {list(tensor.shape)}, but that "
                f"module of the {type(model).__name__} has {sizes[0]} inputs and {sizes[1]} "
                "outputs. Name the base model that the adapter was trained on.",
                name,
            )
        if kind == "lora_A":
            adapted.add(path)
    return adapted, whole


def _require_named_modules(folder: Place) -> None:
    """Make sure that the weights hold the modules that were trained as a whole, by their names.

    Where the model is at hand, :func:`_require_saved_modules` looks at the modules that it has.
    PEFT lists the heads of all architectures, of which a model has one.
    """
    config, weights = read_config(folder / PEFT.config), folder / PEFT.weights
    names = (plain_name(name) for name in read_header(weights) if ".lora_" not in name)
    paths = [name.removeprefix(PREFIX).removeprefix("base_model.") for name in names]
    named = saved_modules(config)
    missing = [module for module in named if not is_saved(module, paths)]
    heads = [module for module in named if in_head(module.rpartition(".")[2])]
    if set(heads) - set(missing):  # it has one of them
        missing = [module for module in missing if module not in heads]
    if missing:
        given = {*(config.get("modules_to_save") or ())}
        by = "modules_to_save names" if given & {*missing} else f"a {task_of(config)} has"
        raise FolderError(
            f"{folder}: {by} {', '.join(missing)}, of which {PEFT.weights} holds nothing, and the "
            "model that it was trained in is not at hand to tell whether it has any. Name its base "
            "model, or save the adapter again, with all that was trained.",
            missing,
        )


def _require_saved_modules(
    folder: Place, found: Set[str], model: PreTrainedModel, *, composed: bool
) -> None:
    """Make sure that the weights hold each module of the model that was trained as a whole.

    These are the modules that PEFT finds by the ends of their paths: those that the configuration
    names, and the head of the task type. Where hubkit puts the head in place (`composed`), the
    weights hold all or nothing of any other part of it.
    """
    ends = saved_modules(read_config(folder / PEFT.config))
    tensors = model.state_dict(keep_vars=True)
    brought = {id(tensors[name]) for name in found}  # one tensor may have several names
    whole = [path for path, _ in model.named_modules() if path.endswith(ends)]
    missing = [
        name
        for name, tensor in tensors.items()
        if id(tensor) not in brought and any(name.startswith(f"{path}.") for path in whole)
    ]
    if composed:
        missing += [name for name in missing_beside(model, found) if name not in missing]
    if missing:
        raise AdapterError(
            f"{folder / PEFT.weights} lacks {listed(missing)}, which a {type(model).__name__} has "
            "in a module that was trained as a whole. Save the adapter again, with all that was "
            "trained.",
            missing,
        )


def _require_rest_of_head(
    folder: Place, found: Set[str], model: PreTrainedModel, base: Path, manifest: Manifest
) -> None:
    """Make sure that the base model has all that the weights lack of the head of their model.

    PEFT saves some modules of a head by itself, and others only where it is told to: what started
    at random is then lost.
    """
    tensors, own = model.state_dict(keep_vars=True), head_tensors(model)
    brought = {id(tensors[name]) for name in found}
    doubtful = []
    for name, tensor in {**own, **outlet_tensors(model)}.items():
        (part,) = parts_of([name], model.base_model_prefix)
        # A base model is not taken without its backbone, and is told by the parts that it has.
        told = part in manifest.base_model.parts or (name not in own and part not in _MAY_LACK)
        if id(tensor) not in brought and not told:
            doubtful.append(name)
    if not doubtful:
        return  # mostly, so that the base model is not loaded
    _, new = load_for_head(str(base), type(model), config=model.config)
    if lost := [name for name in doubtful if name in new]:
        raise AdapterError(
            f"Neither {folder / PEFT.weights} nor the base model has {listed(lost)}, which a "
            f"{type(model).__name__} has in its head: what was there in training is lost. Save the "
            "adapter again, with its whole head in modules_to_save.",
            lost,
        )


def _require_all_layers(folder: Place, adapted: Set[str], model: PreTrainedModel) -> None:
    """Make sure that a LoRA is at each linear layer of `model` where PEFT would put one."""
    modules = dict(model.named_modules())
    config = read_config(folder / PEFT.config)
    named = config["peft_type"] == "LORA" and config.get("target_modules") not in (None, ALL_LINEAR)
    if not named or not adapted <= modules.keys():
        return  # what it was trained in is another model, or it leaves the choice to PEFT
    try:
        peft: Any = import_module("peft")
    except ImportError:
        return
    require_quick(config, modules, folder / PEFT.config)
    try:
        options = peft.LoraConfig(**{key: config[key] for key in _TARGETING if key in config})
    except (TypeError, ValueError) as error:
        raise FolderError(
            f"{folder / PEFT.config}: PEFT {peft.__version__} refuses it: {error}. Mend the file.",
            folder,
        ) from error
    lora, excluded = read_lora(config, folder / PEFT.config), config.get("exclude_modules")
    # Where it is tied to the embeddings, it has their tensors.
    tied = model.get_output_embeddings() if config.get("ensure_weight_tying") else None
    targets = [
        name
        for name, module in modules.items()
        if _sizes(module) is not None
        and module is not tied
        and lora.is_target(name)
        and not (isinstance(excluded, str) and lora.expressions.matches(excluded, name))
        and peft.tuners.tuners_utils.check_target_module_exists(options, name)
    ]
    if left_out := [
        name
        for name in sorted(adapted)
        if not peft.tuners.tuners_utils.check_target_module_exists(options, name)
    ]:
        raise AdapterError(
            f"{folder / PEFT.weights} has tensors for {left_out[0]!r}, which {PEFT.config} leaves "
            "out, so that PEFT does not use them. Weights and configuration are not of the same "
            "adapter; copy both again.",
            left_out[0],
        )
    if missing := [name for name in targets if name not in adapted]:
        raise AdapterError(
            f"{folder / PEFT.weights} has no tensors for {len(missing)} of the {len(targets)} "
            f"layers of a {type(model).__name__} that {PEFT.config} targets; the first is "
            f"{missing[0]!r}. Save the adapter again, or name only what it adapts in "
            "target_modules.",
            missing[0],
        )


def _class_of_peft(folder: Place) -> str | None:
    """The class of the model that a PEFT adapter was trained in, as far as its folder says."""
    config = read_config(folder / PEFT.config)
    trained_in = (config.get("auto_mapping") or {}).get("base_model_class")
    if trained_in:
        return str(trained_in)
    names = of_peft(task_of(config))
    return None if names is None else names.auto_class


def _vision_names(path: str) -> str:
    """The name in transformers 5 of a layer of a ViT that transformers 4 named."""
    prefix, dot, inner = path.partition(".")
    own = family("vit").linear
    return f"{prefix}{dot}{own(inner)}" if prefix == "vit" else str(own(path))


def _sizes(module: nn.Module) -> tuple[int, int] | None:
    """Inputs and outputs of a linear module, as it is called in torch and in GPT-2."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if hasattr(module, "nx") and hasattr(module, "nf"):
        return int(str(module.nx)), int(str(module.nf))
    return None


def _fits(tensor: TensorInfo, rule: str, inputs: int, outputs: int) -> bool:
    allowed = {"i": (inputs,), "o": (outputs,), "e": (inputs, outputs, 1)}
    return len(tensor.shape) == len(rule) and all(
        one == "." or size in allowed[one] for size, one in zip(tensor.shape, rule, strict=True)
    )
