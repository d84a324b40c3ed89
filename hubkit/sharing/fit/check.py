"""Check the tensors of a folder against a base model, of which only the configuration is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.load import load_published, require_labels
from hubkit.adapters.mix import MIX_WEIGHTS, LearnedMix
from hubkit.adapters.older import completed
from hubkit.formats.adapterhub.names import family
from hubkit.formats.heads import described, is_kept_only, read_head
from hubkit.methods.table import METHODS
from hubkit.models.fit import Fitting
from hubkit.sharing.fit.heads import check_head, require_layers
from hubkit.sharing.fit.peft import check_peft
from hubkit.sharing.fit.skeleton import skeleton
from hubkit.sharing.own_tokenizer import note_own_tokenizer
from hubkit.tasks.table import TASK_TYPES
from registry import Catalog, Manifest
from registry.errors import AdapterError, UnsupportedModelError
from registry.folders.configs import read_config
from registry.folders.kinds import ADAPTER, FUSION, HEAD, PEFT
from registry.refs import AdapterRef
from registry.storage.place import Place


def check_tensors(
    catalog: Catalog, folder: Place, manifest: Manifest, base: Path | None, *, foreign: bool
) -> list[str]:
    """Make sure that the tensors of a folder are as its manifest says, and fit its base model.

    Args:
        catalog: Where the parts of a fusion are looked for.
        folder: Holds the weights as safetensors.
        manifest: What the folder is.
        base: The folder of the base model, whose weights are not read; None if it is not at hand:
            then the names of bottleneck adapters are held to their architecture alone.
        foreign: Whether another library wrote the folder. What hubkit wrote fitted then.

    Returns:
        Notes for the user, as sentences.

    Raises:
        BaseModelMismatchError: A tensor has another shape than its place, or the base model is of
            another architecture, depth or width.
        AdapterError: A tensor's name fits no place, and the message has near ones; or a layer has
            no tensors; or the folder would be refused when it is loaded.
        FolderError: PEFT refuses what its configuration says.
    """
    notes = []
    if foreign:
        _check_fusion(catalog, folder, manifest)
        notes = _check_places(folder, manifest, base)
        if base is not None:
            notes += note_own_tokenizer(folder, base)
    _check_readable(folder, manifest)
    return notes


def _check_places(folder: Place, manifest: Manifest, base: Path | None) -> list[str]:
    """Make sure that every tensor of an adapter's folder has its place in its base model.

    A LoRA of PEFT must also have tensors for each linear layer that it targets. That is checked if
    PEFT is installed, and the folder names the class of the model that it was trained in.
    """
    notes: list[str] = []
    if (folder / PEFT.weights).is_file():
        notes += check_peft(folder, manifest, base)
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
            Fitting(skeleton(base)).check(replace(adapter, name=str(folder)))
    if (folder / HEAD.weights).is_file() and base is not None:
        check_head(folder, manifest, base)
    if is_kept_only(folder):
        notes.append("Kept, not run by hubkit: a head of a type that AdapterHub's library runs.")
    elif base is not None and (task := TASK_TYPES.get(manifest.task_type or "")) is not None:
        try:
            task.load_class(str(base))
        except UnsupportedModelError as error:
            notes.append(f"hubkit attaches it, and does not load it to predict: {error}")
    return notes


def _check_readable(folder: Place, manifest: Manifest) -> None:
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
        require_layers(folder, head, head.flexible)
    task = TASK_TYPES.get(manifest.task_type or "")
    if task is not None:
        try:
            task.plan_of(completed(manifest, head))
        except AdapterError as error:
            raise AdapterError(f"{folder}: {error}", folder) from error


def _check_fusion(catalog: Catalog, folder: Place, manifest: Manifest) -> None:
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


def _is_composed(folder: Place, manifest: Manifest) -> bool:
    """Whether hubkit reads the adapter in a folder to compute it."""
    if manifest.method.type not in METHODS:
        return False
    is_peft = (folder / PEFT.weights).is_file()
    return is_peft or _knows_names(read_config(folder / ADAPTER.config).get("model_type"))


def _knows_names(model_type: object) -> bool:
    try:
        family(str(model_type))
    except AdapterError:
        return False
    return True
