"""The kind of a folder, from the names of its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.errors import FolderError, listed
from registry.folders.configs import read_config
from registry.folders.source import Source, names_in
from registry.storage.files import MANIFEST_NAME


@dataclass(frozen=True, slots=True)
class Part:
    """A part that a library saves: a configuration with its weights.

    Attributes:
        name: Its name in messages.
        config: Its configuration file.
        weights: Its safetensors file.
        pickle: Its pickle, which older releases wrote instead.
    """

    name: str
    config: str
    weights: str
    pickle: str


PEFT = Part(
    "a PEFT adapter", "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
)
ADAPTER = Part(
    "an AdapterHub adapter", "adapter_config.json", "adapter.safetensors", "pytorch_adapter.bin"
)
FUSION = Part(
    "an AdapterHub fusion",
    "adapter_fusion_config.json",
    "model_adapter_fusion.safetensors",
    "pytorch_model_adapter_fusion.bin",
)
HEAD = Part(
    "an AdapterHub head", "head_config.json", "model_head.safetensors", "pytorch_model_head.bin"
)
PARTS = (PEFT, ADAPTER, FUSION, HEAD)


def find_parts(path: Source) -> tuple[Part, ...]:
    """Return the parts of a folder without a manifest: one, or one and the head beside it.

    Raises:
        FolderError: Nothing that is an adapter, or two that are; a configuration without its
            weights, or the reverse.
        OSError: The folder cannot be read.
    """
    names, folders = names_in(path)
    entries = names | folders
    configured = _configured(path, names)
    weighted = {part for part in PARTS if part.weights in names or part.pickle in names}
    if not configured and not weighted:
        raise FolderError(
            f"{path} is not an adapter's folder: it has no {MANIFEST_NAME}. {_describe(entries)} "
            "Expected what hubkit.save_adapter(), PEFT's save_pretrained() or AdapterHub's "
            "save_adapter() writes.",
            path,
        )
    adapters = configured - {HEAD}
    strays = weighted - configured - {HEAD}
    if len(adapters) > 1 or (adapters & weighted and strays):
        both = " and ".join(part.name for part in PARTS if part in adapters | strays)
        raise FolderError(
            f"{path} holds {both}; expected one. Move one of them to a folder of its own.", path
        )
    for part in sorted(configured - weighted, key=PARTS.index):
        raise FolderError(
            f"{path} holds {part.config} of {part.name}, but not its weights: expected "
            f"{part.weights} (or {part.pickle}), {_instead(part, entries)}",
            path,
        )
    for part in sorted(weighted - configured, key=PARTS.index):
        found = part.weights if part.weights in names else part.pickle
        raise FolderError(
            f"{path} holds {found} of {part.name}, but not its configuration: expected "
            f"{part.config}, found none. Copy the whole folder.",
            path,
        )
    if PEFT in configured and HEAD in configured:
        raise FolderError(
            f"{path} holds {PEFT.name} and {HEAD.name}; expected one. A PEFT adapter keeps its "
            "head in its own weights (modules_to_save).",
            path,
        )
    return tuple(part for part in PARTS if part in configured)


def _instead(part: Part, entries: set[str]) -> str:
    """Describe the files in place of weights, and the cure."""
    start = part.weights.removesuffix(".safetensors")
    shards = sorted(name for name in entries if name.startswith(f"{start}-"))
    if shards:
        return (
            f"found them in parts, such as {shards[0]}, which are not read. Save the adapter again "
            "in one file, with a larger max_shard_size of save_pretrained."
        )
    if part.weights in entries:
        return f"found a folder that is called {part.weights}. Copy the file in its place."
    return "found neither. Copy the whole folder."


def _configured(path: Source, names: set[str]) -> set[Part]:
    """Return the parts with a configuration; both libraries have an ``adapter_config.json``."""
    configured = {part for part in (FUSION, HEAD) if part.config in names}
    if PEFT.config not in names:
        return configured
    config = read_config(path / PEFT.config)
    if "peft_type" in config:
        return configured | {PEFT}
    if config.get("config") is not None or names & {ADAPTER.weights, ADAPTER.pickle}:
        return configured | {ADAPTER}
    keys = listed(sorted(config), 8) or "none"
    raise FolderError(
        f"{path / PEFT.config} is neither a configuration of PEFT, with a peft_type, nor one of "
        f"AdapterHub, with a config; found the keys {keys}. {_other_tool(config, names)}",
        path / PEFT.config,
    )


def _other_tool(config: Mapping[str, Any], names: set[str]) -> str:
    """Name the likely tool of the folder, and the cure."""
    if config.keys() & {"fine_tune_type", "lora_parameters", "lora_layers"}:
        return (
            "It is one of MLX, whose weights have other names and are transposed: convert it to "
            "PEFT's format first."
        )
    if names & {"train_config.json", "policy_preprocessor.json", "policy_postprocessor.json"}:
        return "It is one of LeRobot, whose policies hubkit does not read."
    return "Save the adapter with the library that trained it, or copy its own configuration."


def _describe(names: set[str]) -> str:
    if not names:
        return "It is empty."
    guess = "looks like a whole model, not an adapter: it " if "config.json" in names else ""
    return f"It {guess}holds {listed(sorted(names), 8)}."
