"""Hold the tensors of a folder to a base model, of which only the configuration is loaded."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.load import load_published
from hubkit.formats.adapterhub.names import family
from hubkit.methods.table import METHODS
from hubkit.models.fit import Fitting
from registry import Catalog, Manifest
from registry.errors import AdapterError, BaseModelMismatchError, FolderError, did_you_mean
from registry.folders.configs import read_config
from registry.folders.expressions import matches
from registry.folders.kinds import ADAPTER, FUSION, PEFT
from registry.folders.lora import ALL_LINEAR, read_lora
from registry.folders.safetensors import TensorInfo, read_header
from registry.refs import AdapterRef
from registry.task_types import of_peft

# The name of a tensor inside its module, and which of its dimensions is an input (i), an output
# (o), either (e), or its own (.).
_PEFT_SHAPES = {
    r"lora_A\.weight": ".i",
    r"lora_B\.weight": "o.",
    r"lora_magnitude_vector(\.weight)?": "o",
    r"ia3_l": "ee",
    r"vera_lambda_b": "o",
    r"vera_lambda_d": ".",
}
# Where several parameters of one module are adapted, each wraps the one before it.
_PEFT_NAME = re.compile(
    rf"base_model\.model\.(?P<module>.+?)(\.base_layer)*\.(?P<leaf>{'|'.join(_PEFT_SHAPES)})"
)
# What says which modules a LoRA is put at.
_TARGETING = (
    *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform"),
    *("layers_pattern", "ensure_weight_tying"),
)


def check_fit(folder: Path, manifest: Manifest, base: Path | None) -> None:
    """Make sure that every tensor of an adapter's folder has its place in its base model.

    A LoRA of PEFT must also have tensors for each linear layer that it targets, if PEFT is here to
    say which these are, and the folder names the class of the model that it was trained in.

    Args:
        folder: Holds the weights as safetensors.
        manifest: What the folder is.
        base: The folder of the base model, whose weights are not read; None if it is not at hand:
            then the names of bottleneck adapters are held to their architecture alone.

    Raises:
        BaseModelMismatchError: A tensor has another shape than its place, or the base model is of
            another architecture, depth or width.
        AdapterError: A tensor's name fits no place, and the message has near ones; or a layer has
            no tensors.
        FolderError: PEFT refuses what its configuration says.
    """
    if (folder / PEFT.weights).is_file():
        if base is not None:
            _check_peft(folder, manifest, base)
    elif (folder / ADAPTER.weights).is_file() and manifest.method.type in METHODS:
        if not _knows_names(read_config(folder / ADAPTER.config).get("model_type")):
            return  # an adapter that hubkit only keeps may be of any architecture
        adapter = Adapter.load(folder, with_head=False)
        if base is not None:
            # The name in the files says little to who has the folder at hand.
            Fitting(_skeleton(base)).check(replace(adapter, name=str(folder)))


def check_fusion(catalog: Catalog, folder: Path, manifest: Manifest) -> None:
    """Make sure that a fusion folder fits the adapters it is said to be made of.

    Does nothing for other folders, and for fusions of what hubkit does not compose.

    Raises:
        AdapterError: Its layers are at other sites, or of another width, than the adapters.
        BaseModelMismatchError: The adapters belong to different base models.
    """
    if not (folder / FUSION.weights).is_file():
        return
    parents = [catalog.resolve(AdapterRef.parse(parent.ref)) for parent in manifest.parents]
    if all(parent.method in METHODS for parent in parents):
        Fusion.load(folder, [load_published(catalog, parent).composition for parent in parents])


def _skeleton(base: Path) -> PreTrainedModel:
    """The base model without weights."""
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(base))
    assert isinstance(model, PreTrainedModel)
    return model


def _knows_names(model_type: object) -> bool:
    try:
        family(str(model_type))
    except AdapterError:
        return False
    return True


def _check_peft(folder: Path, manifest: Manifest, base: Path) -> None:
    model, trained_in, weights = _skeleton(base), _with_head(folder, base), folder / PEFT.weights
    modules: dict[str, nn.Module] = {}
    for one in (trained_in, model):
        modules |= {} if one is None else dict(one.named_modules())
    adapted: set[str] = set()
    for name, tensor in read_header(weights).items():
        found = _PEFT_NAME.fullmatch(name)
        if found is None:
            continue
        module = _find(found["module"], modules)
        if module is None:
            raise AdapterError(
                f"{weights}: the tensor {name!r} fits no module of a {type(model).__name__}."
                f"{did_you_mean(found['module'], modules)} Name the base model that the adapter "
                "was trained on.",
                name,
            )
        sizes = _sizes(module)
        rule = next(
            rule for leaf, rule in _PEFT_SHAPES.items() if re.fullmatch(leaf, found["leaf"])
        )
        if sizes is not None and not _fits(tensor, rule, *sizes):
            raise BaseModelMismatchError(
                f"{weights}: the tensor {name!r} has the shape {list(tensor.shape)}, but that "
                f"module of the {type(model).__name__} has {sizes[0]} inputs and {sizes[1]} "
                "outputs. Name the base model that the adapter was trained on.",
                name,
            )
        if found["leaf"] == "lora_A.weight":
            adapted.add(found["module"])
    # A variant, such as one that repeats layers, may put them elsewhere.
    if adapted and trained_in is not None and manifest.method.type != "lora_variant":
        _require_all_layers(folder, adapted, trained_in)


def _require_all_layers(folder: Path, adapted: Set[str], model: PreTrainedModel) -> None:
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
        and not (isinstance(excluded, str) and matches(excluded, name, lora.where))
        and peft.tuners.tuners_utils.check_target_module_exists(options, name)
    ]
    if missing := [name for name in targets if name not in adapted]:
        raise AdapterError(
            f"{folder / PEFT.weights} has no tensors for {len(missing)} of the {len(targets)} "
            f"layers of a {type(model).__name__} that {PEFT.config} targets; the first is "
            f"{missing[0]!r}. Save the adapter again, or name only what it adapts in "
            "target_modules.",
            missing[0],
        )


def _with_head(folder: Path, base: Path) -> PreTrainedModel | None:
    """The model that a PEFT adapter was trained in, without weights, as far as its folder says."""
    config = read_config(folder / PEFT.config)
    trained_in = (config.get("auto_mapping") or {}).get("base_model_class")
    names = of_peft(config.get("task_type"))
    name = trained_in or (names and names.auto_class)
    model_class = getattr(transformers, str(name), None)
    base_config = AutoConfig.from_pretrained(base)
    of_class = getattr(model_class, "config_class", None) or PreTrainedConfig
    if model_class is None or not isinstance(base_config, of_class):
        return None  # another architecture, which its modules will tell
    try:
        with torch.device("meta"):
            model = getattr(model_class, "from_config", model_class)(base_config)
    except ValueError:  # this architecture has no such head
        return None
    return model if isinstance(model, PreTrainedModel) else None


def _find(path: str, modules: dict[str, nn.Module]) -> nn.Module | None:
    """The module that a path inside a model with any head means: of that head, or the backbone."""
    while path not in modules:
        _, dot, path = path.partition(".")
        if not dot:
            return None
    return modules[path]


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
