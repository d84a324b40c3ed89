"""Check the tensors of a folder against a base model, of which only the configuration is loaded."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.load import load_published, require_labels
from hubkit.adapters.mix import MIX_WEIGHTS, LearnedMix
from hubkit.adapters.older import completed
from hubkit.bases.load import load_for_head
from hubkit.bases.parts import parts_of
from hubkit.formats.adapterhub.names import family
from hubkit.formats.heads import FLEXIBLE, Head, described, is_kept_only, read_head
from hubkit.methods.table import METHODS
from hubkit.models.fit import Fitting, has_sites
from hubkit.models.flexible_head import shapes_by_width, with_flexible_head
from hubkit.models.head import head_tensors, missing_beside, outlet_tensors
from hubkit.models.peft import runs_through_peft, try_peft
from hubkit.tasks.table import TASK_TYPES
from registry import Catalog, Manifest
from registry.errors import (
    AdapterError,
    BaseModelMismatchError,
    FolderError,
    UnsupportedModelError,
    did_you_mean,
    listed,
)
from registry.folders.bounded import shown
from registry.folders.configs import read_config
from registry.folders.expressions import require_quick
from registry.folders.flexible_heads import KEPT, OPTIONS, FlexibleHead
from registry.folders.kinds import ADAPTER, FUSION, HEAD, PEFT
from registry.folders.lora import ALL_LINEAR, read_lora
from registry.folders.peft_names import PREFIX, plain_name, saved_modules, task_of
from registry.folders.safetensors import TensorInfo, read_header
from registry.refs import AdapterRef
from registry.storage.place import Place
from registry.task_types import of_peft

_Found = TypeVar("_Found")

# The name of a tensor inside its module, and which of its dimensions is an input (i), an output
# (o), either (e), or its own (.).
_PEFT_SHAPES = {
    r"lora_A\.weight": ".i",
    r"lora_B\.weight": "o.",
    r"lora_embedding_A": ".i",
    r"lora_embedding_B": "o.",
    r"lora_magnitude_vector(\.weight)?": "o",
    r"ia3_l": "ee",
    r"vera_lambda_b": "o",
    r"vera_lambda_d": ".",
}
# Where several parameters of one module are adapted, each wraps the one before it.
_PEFT_NAME = re.compile(
    rf"base_model\.model\.(?P<module>.+?)(\.base_layer)*\.(?P<leaf>{'|'.join(_PEFT_SHAPES)})"
)
_MAY_LACK = ("pooler",)
"""The parts of its backbone that a base model may lack."""
# What says which modules a LoRA is put at.
_TARGETING = (
    *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform"),
    *("layers_pattern", "ensure_weight_tying"),
)


def check_fit(folder: Place, manifest: Manifest, base: Path | None) -> list[str]:
    """Make sure that every tensor of an adapter's folder has its place in its base model.

    A LoRA of PEFT must also have tensors for each linear layer that it targets. That is checked if
    PEFT is installed, and the folder names the class of the model that it was trained in.

    Args:
        folder: Holds the weights as safetensors.
        manifest: What the folder is.
        base: The folder of the base model, whose weights are not read; None if it is not at hand:
            then the names of bottleneck adapters are held to their architecture alone.

    Returns:
        Notes for the user, as sentences.

    Raises:
        BaseModelMismatchError: A tensor has another shape than its place, or the base model is of
            another architecture, depth or width.
        AdapterError: A tensor's name fits no place, and the message has near ones; or a layer has
            no tensors.
        FolderError: PEFT refuses what its configuration says.
    """
    notes: list[str] = []
    if (folder / PEFT.weights).is_file():
        if base is not None:
            notes += _check_peft(folder, manifest, base)
        elif runs_through_peft(manifest):
            notes += try_peft(folder, None)
    elif (folder / ADAPTER.weights).is_file() and manifest.method.type in METHODS:
        model_type = read_config(folder / ADAPTER.config).get("model_type")
        if not _knows_names(model_type):
            return [
                f"Kept, not attached by hubkit: it does not know where AdapterHub has its adapters "
                f"in the architecture {model_type}."
            ]
        if base is not None:
            with torch.device("meta"):  # its sizes, without reading a number again
                adapter = Adapter.load(folder, with_head=False)
            # The name in the files says little to a user who has the folder at hand.
            Fitting(_skeleton(base)).check(replace(adapter, name=str(folder)))
    if (folder / HEAD.weights).is_file() and base is not None:
        _check_head(folder, manifest, base)
    if is_kept_only(folder):
        notes.append("Kept, not run by hubkit: a head of a type that AdapterHub's library runs.")
    elif base is not None and (task := TASK_TYPES.get(manifest.task_type or "")) is not None:
        try:
            task.load_class(str(base))
        except UnsupportedModelError as error:
            notes.append(f"hubkit attaches it, and does not load it to predict: {error}")
    return notes


def check_readable(folder: Place, manifest: Manifest) -> None:
    """Read a folder as it is read when it is loaded, but for the numbers of its tensors.

    Does nothing for what hubkit does not compute itself.

    Raises:
        AdapterError: It would be refused then: tensors are missing, unexpected or of another shape,
            or its head has other outputs than its manifest says.
    """
    kept = is_kept_only(folder)
    with torch.device("meta"):
        trained = manifest.kind in ("fusion", "mix")
        if trained and not kept and (head := read_head(folder)) is not None:
            head = described(head, manifest)
        elif manifest.kind == "adapter" and _is_composed(folder, manifest):
            adapter = Adapter.load(folder, base=manifest.base_model, with_head=not kept)
            head = adapter.described_by(manifest).head
        else:
            return
    require_labels(f"{folder}: the head", head, manifest)
    if head is None:
        return
    if head.flexible is not None:
        _require_layers(folder, head, head.flexible)
    task = TASK_TYPES.get(manifest.task_type or "")
    if task is not None:
        with _said_of(folder):
            task.plan_of(completed(manifest, head))


def _is_composed(folder: Place, manifest: Manifest) -> bool:
    """Whether hubkit reads the adapter in a folder to compute it."""
    if manifest.method.type not in METHODS:
        return False
    is_peft = (folder / PEFT.weights).is_file()
    return is_peft or _knows_names(read_config(folder / ADAPTER.config).get("model_type"))


@contextmanager
def _said_of(folder: Place) -> Iterator[None]:
    """Name a folder in errors of the block."""
    try:
        yield
    except AdapterError as error:
        raise AdapterError(f"{folder}: {error}", folder) from error


def _require_layers(folder: Place, head: Head, flexible: FlexibleHead) -> None:
    """Make sure that a flexible head has the layers that its configuration says."""
    width = next((one.shape[1] for one in head.tensors.values() if one.ndim == 2), 1)
    expected = shapes_by_width(flexible, width)
    found = {name: tuple(tensor.shape) for name, tensor in head.tensors.items()}
    if expected is not None and expected != found:
        odd = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise AdapterError(
            f"{folder / HEAD.weights}: the {flexible.head_type} head that {HEAD.config} describes "
            f"has the tensors {expected}, found {found}. Copy both files of the head.",
            odd,
        )


def check_fusion(catalog: Catalog, folder: Place, manifest: Manifest) -> None:
    """Make sure that a fusion, or a learned mix, fits the adapters it is said to be made of.

    Does nothing for other folders, and for fusions of what hubkit does not compose.

    Raises:
        AdapterError: Its layers are at other sites, or of another width, than the adapters.
        BaseModelMismatchError: The adapters belong to different base models.
    """
    is_mix = (folder / MIX_WEIGHTS).is_file()
    if not is_mix and not (folder / FUSION.weights).is_file():
        return
    parents = [catalog.resolve(AdapterRef.parse(parent.ref)) for parent in manifest.parents]
    if all(parent.method in METHODS for parent in parents):
        with torch.device("meta"):
            parts = [load_published(catalog, parent).composition for parent in parents]
            (LearnedMix if is_mix else Fusion).load(folder, parts)


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


def _check_peft(folder: Place, manifest: Manifest, base: Path) -> list[str]:
    model, weights = _skeleton(base), folder / PEFT.weights
    trained_in = _with_head(_class_of_peft(folder), manifest, base)
    models = [one for one in (model, trained_in) if one is not None]
    modules: dict[str, nn.Module] = {}
    for one in models:
        modules |= dict(one.named_modules())
    tensors = {plain_name(name): tensor for name, tensor in read_header(weights).items()}
    translate = _vision_names if manifest.method.type == "lora" else str
    # What repeats layers has tensors for layers that the base model lacks, and what is in blocks
    # has other sizes.
    config = read_config(folder / PEFT.config)
    repeats, in_blocks = (bool(config.get(key)) for key in ("layer_replication", "use_bdlora"))
    adapted: set[str] = set()
    whole: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        found = _PEFT_NAME.fullmatch(name)
        if found is None:
            whole[name.removeprefix(PREFIX)] = tensor
            continue
        module = _find(found["module"], modules) or _find(translate(found["module"]), modules)
        if module is None and repeats:
            continue
        if module is None:
            raise AdapterError(
                f"{weights}: the tensor {name!r} fits no module of a {type(model).__name__}."
                f"{did_you_mean(found['module'], modules)} Name the base model that the adapter "
                "was trained on.",
                name,
            )
        sizes = _sizes(module)
        if isinstance(module, nn.Embedding):
            sizes = module.num_embeddings, module.embedding_dim
        rule = next(
            rule for leaf, rule in _PEFT_SHAPES.items() if re.fullmatch(leaf, found["leaf"])
        )
        if sizes is not None and not in_blocks and not _fits(tensor, rule, *sizes):
            raise BaseModelMismatchError(
                f"{weights}: the tensor {name!r} has the shape {list(tensor.shape)}, but that "
                f"module of the {type(model).__name__} has {sizes[0]} inputs and {sizes[1]} "
                "outputs. Name the base model that the adapter was trained on.",
                name,
            )
        if found["leaf"] == "lora_A.weight":
            adapted.add(found["module"])
    _check_whole(weights, whole, models)
    if trained_in is not None:
        composed = manifest.method.type == "lora"
        _require_saved_modules(folder, whole, trained_in, composed=composed)
        if manifest.head is not None:
            _require_rest_of_head(folder, whole, trained_in, base, manifest)
        # A variant, such as one that repeats layers, may put them elsewhere.
        if adapted and manifest.method.type != "lora_variant":
            _require_all_layers(folder, adapted, trained_in)
    model_type = model.config.model_type
    if manifest.method.type == "lora" and has_sites(model_type):
        return []
    notes = try_peft(folder, trained_in)  # which is changed by it
    if manifest.method.type == "lora":
        notes.append(
            f"hubkit has no layout for the architecture {model_type}, so it does not compose the "
            "adapter: PEFT runs it."
        )
    return notes


def _check_whole(
    weights: Place, whole: Mapping[str, TensorInfo], models: Sequence[PreTrainedModel]
) -> None:
    """Check the shape of each tensor that replaces a whole parameter of the model.

    Tensors that replace no parameter belong to the method, whose library knows them.
    """
    for name, tensor in whole.items():
        for model in models:
            expected = _find(name, model.state_dict())
            if expected is None or tuple(expected.shape) == tensor.shape:
                continue
            raise BaseModelMismatchError(
                f"{weights}: the tensor {name!r} has the shape {list(tensor.shape)}, but that of "
                f"the {type(model).__name__} has {list(expected.shape)}. Name the base model that "
                "the adapter was trained on; where its embeddings were resized, save it resized.",
                name,
            )


def _require_saved_modules(
    folder: Place, paths: Collection[str], model: PreTrainedModel, *, composed: bool
) -> None:
    """Make sure that the weights hold each module of the model that was trained as a whole.

    These are the modules that PEFT finds by the ends of their paths: those that the configuration
    names, and the head of the task type. Where hubkit puts the head in place (`composed`), the
    weights hold all or nothing of any other part of it.
    """
    ends = saved_modules(read_config(folder / PEFT.config))
    tensors = model.state_dict(keep_vars=True)
    found = {place for path in paths if (place := _place(path, tensors)) is not None}
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
    folder: Place, paths: Collection[str], model: PreTrainedModel, base: Path, manifest: Manifest
) -> None:
    """Make sure that the base model has all that the weights lack of the head of their model.

    PEFT saves some modules of a head by itself, and others only where it is told to: what started
    at random is then lost.
    """
    tensors, own = model.state_dict(keep_vars=True), head_tensors(model)
    found = {place for path in paths if (place := _place(path, tensors)) is not None}
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


def _check_head(folder: Place, manifest: Manifest, base: Path) -> None:
    """Check a head of a transformers class against that class on the base model."""
    config = read_config(folder / HEAD.config)
    if isinstance(config.get("config"), dict):
        _check_flexible_head(folder, base)
        return
    model = _with_head(config.get("model_class"), manifest, base)
    if model is None:
        return
    found, own = read_header(folder / HEAD.weights), head_tensors(model)
    _check_whole(folder / HEAD.weights, found, [model])
    brought = {id(own[name]) for name in found if name in own}
    missing = [name for name, one in own.items() if name not in found and id(one) not in brought]
    if missing := missing or missing_beside(model, found):
        raise AdapterError(
            f"{folder / HEAD.weights} lacks {listed(missing)}, which the head of a "
            f"{type(model).__name__} has. Save the adapter again, with its whole head.",
            missing,
        )


def _check_flexible_head(folder: Place, base: Path) -> None:
    """Check the weights of a flexible head against what its configuration builds on the base."""
    config = read_config(folder / HEAD.config)
    if is_kept_only(folder):
        kind = config["config"].get("head_type")
        if kind in KEPT:
            return
        raise AdapterError(
            f"{folder / HEAD.config}: the head_type is {shown(kind)}; hubkit keeps heads of the "
            f"types {', '.join((*OPTIONS, *KEPT))}.{did_you_mean(str(kind), OPTIONS)}",
            folder,
            found=kind,
        )
    head = read_head(folder)
    assert head is not None
    assert head.flexible is not None
    with torch.device("meta"):
        model = with_flexible_head(_skeleton(base), head.flexible)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if name.startswith(f"{FLEXIBLE}.")
    }
    found = {name: tuple(tensor.shape) for name, tensor in head.tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            own = f"heads.{config.get('name')}.{name.removeprefix(f'{FLEXIBLE}.')}"
            here, there = (
                "is missing" if shape is None else f"has the shape {list(shape)}"
                for shape in (found.get(name), expected.get(name))
            )
            raise BaseModelMismatchError(
                f"{folder / HEAD.weights}: {own} {here}, but in the {head.flexible.head_type} head "
                f"that {HEAD.config} describes, on this base model, it {there}. Name the base "
                "model that the adapter was trained on, and copy both files of the head.",
                own,
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


def _with_head(name: str | None, manifest: Manifest, base: Path) -> PreTrainedModel | None:
    """A model of a class on the base model, without weights; None if it has no such class."""
    model_class = getattr(transformers, str(name), None)
    base_config = AutoConfig.from_pretrained(base)
    of_class = getattr(model_class, "config_class", None) or PreTrainedConfig
    if model_class is None or not isinstance(base_config, of_class):
        return None  # another architecture, which its modules will tell
    outputs = 1 if manifest.task_type == "text-regression" else len(manifest.labels)
    if outputs:
        base_config.num_labels = outputs
    try:
        with torch.device("meta"):
            model = getattr(model_class, "from_config", model_class)(base_config)
    except ValueError:  # this architecture has no such head
        return None
    return model if isinstance(model, PreTrainedModel) else None


def _vision_names(path: str) -> str:
    """The name in transformers 5 of a layer of a ViT that transformers 4 named."""
    prefix, dot, inner = path.partition(".")
    own = family("vit").linear
    return f"{prefix}{dot}{own(inner)}" if prefix == "vit" else str(own(path))


def _find(path: str, places: Mapping[str, _Found]) -> _Found | None:
    """What is at the place that a path means: see :func:`_place`."""
    place = _place(path, places)
    return None if place is None else places[place]


def _place(path: str, places: Container[str]) -> str | None:
    """The place that a path inside a model with any head means: in that head, or the backbone."""
    while path not in places:
        _, dot, path = path.partition(".")
        if not dot:
            return None
    return path


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
