"""``hubkit.export_onnx("team/sentiment", "folder")``: a folder that onnxruntime serves.

The folder has the graph (``model.onnx``), the files of the tokenizer or of the image processor, and
the model's ``config.json`` with its labels. ``serving.json`` says what was exported, the inputs and
outputs, and how texts are cut and joined.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from hubkit.adapters.tree import Tree
from hubkit.exporting.graph import Graph, require_onnx, write_graph
from hubkit.exporting.trial import batches, check_graph
from hubkit.inference import AdaptedModel, load
from hubkit.models.attach import attached_to
from registry import AdapterRef, Catalog
from registry.arguments import checked
from registry.errors import CompositionError, ConflictError, EarlierExportError, ExportError
from registry.storage.durable import fsync_folder, make_folders, storage_errors

MODEL, SERVING = "model.onnx", "serving.json"


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: Where it is.
        inputs: The names of the graph's inputs.
        outputs: The names of its outputs.
        difference: The largest difference between an output and the model's own, as a part of the
            largest output where that is over 1.
    """

    folder: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float


@checked
def export_onnx(
    model: str | AdapterRef | AdaptedModel,
    folder: str | Path,
    *,
    base: str | None = None,
    allow_base_mismatch: bool = False,
    replace: bool = False,
    catalog: Catalog | None = None,
) -> Exported:
    """Write a published adapter with its base model as one ONNX graph, and check it.

    Fusions are in their folded form. The graph takes any number of rows of any length. onnxruntime
    runs it on texts and on noise, in batches of several sizes and lengths. Each output has to be
    within 1e-4 of the model's own, times the largest output if that is over 1. The folder is
    written as a whole, or not at all.

    Args:
        model: ``[owner/]name[@version|@alias]``; or what :func:`hubkit.load` returned, on the
            processor and in float32.
        folder: The folder to write; it must not exist, or be empty.
        base: As for :func:`hubkit.load`, where a name is given.
        allow_base_mismatch: Likewise.
        replace: Take the place of an earlier export.
        catalog: The registry; default: the user's.

    Raises:
        ExportError: onnxscript or onnxruntime is not installed, torch cannot write the model as a
            graph, or the graph computes something else.
        UnsupportedModelError: The task type does not answer in one forward pass.
        CompositionError: Rows choose what computes them.
        EarlierExportError: The folder holds an earlier export.
        ConflictError: The folder holds something else.
        StorageError: The folder cannot be written.
        HubkitError: As :func:`hubkit.load`.
    """
    require_onnx()
    target = Path(folder)
    _check_free(target, replace=replace)
    if not isinstance(model, AdaptedModel):
        model = load(
            model,
            base=base,
            allow_base_mismatch=allow_base_mismatch,
            device="cpu",
            dtype="float32",
            catalog=catalog,
        )
    _check_plain(model)
    inputs = next(batches(model))
    graph = Graph(model, list(inputs))
    with torch.no_grad():
        outputs = tuple(graph.named(inputs))
    with _taking(target, replace=replace) as scratch:
        write_graph(graph, inputs, scratch / MODEL)
        difference = check_graph(model, graph, scratch / MODEL)
        _write_beside(model, scratch, list(inputs), list(outputs))
    return Exported(target, tuple(inputs), outputs, difference)


def _check_free(folder: Path, *, replace: bool) -> None:
    with storage_errors("read", folder):
        found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if not found:
        return
    if not {MODEL, SERVING} <= {*found}:
        raise ConflictError(
            f"{folder} holds {found[0]!r}, which no export wrote; expected an empty folder, or one "
            "that does not exist.",
            str(folder),
        )
    if not replace:
        raise EarlierExportError(f"{folder} holds an earlier export.", str(folder))


def _check_plain(model: AdaptedModel) -> None:
    """Make sure that one graph can be all that the model computes."""
    carried = attached_to(model.model)
    if carried is not None and Tree.of(carried).row_choice is not None:
        raise CompositionError(
            f"In {carried}, rows choose what computes them; a graph computes all rows alike."
        )
    weight = next(model.model.parameters())
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        raise ExportError(
            f"{model.version.ref} is loaded in {str(weight.dtype).removeprefix('torch.')} on "
            f"{weight.device}; a graph is written of a model in float32 on the processor (cpu)."
        )


@contextmanager
def _taking(target: Path, *, replace: bool) -> Iterator[Path]:
    """Yield an empty folder; at the end of the block it is at ``target``, unless it failed."""
    target = target.absolute()
    scratch = target.parent / f".{uuid.uuid4().hex}.tmp"
    old = scratch.with_suffix(".old")
    with storage_errors("write", target):
        make_folders(target.parent)
        scratch.mkdir()
        try:
            yield scratch
            _check_free(target, replace=replace)
            fsync_folder(scratch)
            if target.exists():
                target.rename(old)
            scratch.rename(target)
            fsync_folder(target.parent)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _write_beside(model: AdaptedModel, folder: Path, inputs: list[str], outputs: list[str]) -> None:
    """Write all but the graph."""
    model.model.config.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    text = model.text.model_dump(exclude_none=True)
    _cut_as_in_training(folder / "tokenizer.json", model)
    about: dict[str, Any] = {
        "ref": str(model.version.ref),
        "digest": model.version.manifest_digest,
        "base_model": model.manifest.base_model.id,
        "task_type": model.task.name,
        "labels": list(model.labels),
        "problem_type": model.plan.problem_type,
        "inputs": inputs,
        "outputs": outputs,
        "text": text,
    }
    (folder / SERVING).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _cut_as_in_training(path: Path, model: AdaptedModel) -> None:
    """Store cutting and padding in ``tokenizer.json``: `tokenizers` alone reads no other file."""
    if not path.exists():  # a tokenizer in Python, or an image processor
        return
    words, text, processor = Tokenizer.from_file(str(path)), model.text, model.processor
    if text.max_length is not None:
        windows = {} if text.stride is None else {"stride": text.stride}
        words.enable_truncation(
            text.max_length,
            strategy=text.pair or "longest_first",
            direction=text.truncation_side or processor.truncation_side,
            **windows,
        )
    words.enable_padding(
        direction=processor.padding_side,
        pad_id=processor.pad_token_id,
        pad_type_id=processor.pad_token_type_id,
        pad_token=processor.pad_token,
    )
    words.save(str(path))
