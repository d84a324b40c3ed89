"""Folders of other libraries are published, listed, pulled into another registry, and run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import linear
from transformers import AutoModelForSequenceClassification, GPT2LMHeadModel

from hubkit import Adapter, Stack, attach
from hubkit.adapters.load import Published, load_published
from hubkit.bases.fingerprint import fingerprint
from hubkit.models.head import set_head
from registry import AdapterRef, open_catalog
from tests.support.models import PEFT_REFERENCES, REFERENCES, reference_outputs, run
from tests.support.references import (
    APART,
    CASES,
    base,
    cases,
    check_close,
    folders,
    param,
    shares_positions,
)
from tests.support.sources import base_of, labels_of, method_of, tensors_in

# All of these architectures, and one method of each other one: what differs there is only names.
WHOLE = {REFERENCES: ("bert", "gpt2", "t5"), PEFT_REFERENCES: ("bert", "llama")}
ONE = {REFERENCES: "double_seq_bn", PEFT_REFERENCES: "lora"}
FOLDERS = [
    folder
    for folder in folders()
    for source in [folder.parent.parent]
    if folder.parent.name in WHOLE[source] or folder.name == ONE[source]
]
# All methods of one architecture, and one method of some others; `make torture` has the rest.
SOME = ("gpt2", "t5", "vit", "llama", "deberta-v2")


def brought(folder: Path) -> Any:
    """A parameter of a test that is called after its folder."""
    one = folder.parent.name in SOME and folder.name == ONE[folder.parent.parent]
    quick = one or folder.parent.name == "bert"
    return param(folder, marks=() if quick else pytest.mark.torture)


SEQ_CLS = PEFT_REFERENCES / "bert" / "seq_cls"
LABELS = {SEQ_CLS / "a": ["neg", "neu", "pos"]}  # PEFT does not save them
WITHOUT_PICKLES = {
    "pytorch_adapter.bin": "adapter.safetensors",
    "pytorch_model_adapter_fusion.bin": "model_adapter_fusion.safetensors",
}


@dataclass(frozen=True)
class Registries:
    """Two registries; all that is published in one is pulled into the other."""

    call: Callable[..., Result]
    here: Path
    there: Path
    loaded: dict[str, Published] = field(default_factory=dict)

    def publish(self, folder: Path, name: str, *options: object) -> None:
        options = ("--name", name, "--task", "task", *options)
        printed = self.call("publish", folder, *options, HUBKIT_HOME=str(self.here))
        assert (printed.stdout, printed.stderr) == (f"{name}@1\n", "")

    def bring(self, folder: Path) -> dict[str, Path]:
        """Publish the parts of a folder and pull them; return each by its new name."""
        parts = {f"{owner(folder)}/{path.name}": path for path in sorted(folder.glob("*/"))}
        for name, part in parts.items():  # in this order, adapters come before their fusions
            self.publish(part, name, "--base", stored_base(folder), *label_options(part))
            printed = self.call("pull", name, "--from", self.here, HUBKIT_HOME=str(self.there))
            assert (printed.stdout, printed.stderr) == (f"{name}@1\n", "")
        return parts

    def document(self, *arguments: object) -> Any:
        """What a command prints of the registry into which all was pulled."""
        printed = self.call(*arguments, "--json", HUBKIT_HOME=str(self.there))
        return json.loads(printed.stdout)

    def load(self, name: str) -> Published:
        if name not in self.loaded:
            catalog = open_catalog(self.there)
            version = catalog.resolve(AdapterRef.parse(name))
            self.loaded[name] = load_published(catalog, version)
        return self.loaded[name]

    def folder(self, ref: str) -> Path:
        """Where the files of what was pulled are."""
        catalog = open_catalog(self.there)
        return catalog.folder(catalog.resolve(AdapterRef.parse(ref)))


@pytest.fixture(scope="module")
def registries(workshop: Path, run: Callable[..., Result]) -> Registries:
    return Registries(run, workshop / "here", workshop / "there")


def owner(folder: Path) -> str:
    return "-".join(folder.parts[-3:])


def stored_base(folder: Path) -> Path:
    return REFERENCES / folder.parent.name / "base"


@pytest.mark.parametrize("folder", [brought(folder) for folder in FOLDERS if folder not in APART])
def test_what_is_brought_is_the_same_and_does_the_same(
    registries: Registries, folder: Path
) -> None:
    check_facts_and_files(registries, folder)
    model = base(folder.parent.name)
    inputs, expected = reference_outputs(folder)
    for case in cases(folder):
        if not shares_positions(folder, case):
            parts = CASES[case](lambda name: registries.load(f"{owner(folder)}/{name}").composition)
            with attach(model, parts):
                check_close(run(model, inputs), expected[case])


def test_a_classifier_in_modules_to_save_travels_with_its_labels(registries: Registries) -> None:
    check_facts_and_files(registries, SEQ_CLS)
    inputs, expected = reference_outputs(SEQ_CLS)
    pulled = registries.load(f"{owner(SEQ_CLS)}/a")
    assert pulled.head is not None
    assert [*pulled.head.labels] == LABELS[SEQ_CLS / "a"]
    model = AutoModelForSequenceClassification.from_pretrained(stored_base(SEQ_CLS), num_labels=3)
    model.eval()
    set_head(model, pulled.head)
    with attach(model, pulled.composition):
        check_close(run(model, inputs), expected["logits"])


def test_a_flexible_head_travels_with_its_adapter(registries: Registries) -> None:
    folder = REFERENCES / "bert" / "heads"
    check_facts_and_files(registries, folder)
    inputs, expected = reference_outputs(folder)
    written = registries.folder(f"{owner(folder)}/topic")
    with attach(base("bert"), Adapter.load(written, with_head=False)):
        hidden = run(base("bert"), inputs)[:, 0]
    # hubkit keeps a head that the library builds itself, but does not run it.
    head = tensors_in(written / "model_head.safetensors")
    first, last = (
        (head[f"heads.topic.{layer}.weight"], head[f"heads.topic.{layer}.bias"]) for layer in (1, 4)
    )
    check_close(linear(torch.tanh(linear(hidden, *first)), *last), expected["logits"])


def test_a_language_and_a_task_adapter_stack_after_a_pull(registries: Registries) -> None:
    folder = REFERENCES / "gpt2" / "madx"
    check_facts_and_files(registries, folder)
    inputs, expected = reference_outputs(folder)
    language, task = (
        registries.load(f"{owner(folder)}/{name}").composition for name in ("language", "task")
    )
    model = GPT2LMHeadModel.from_pretrained(stored_base(folder)).eval()
    for case, composition in (("language", language), ("stack", Stack(language, task))):
        with attach(model, composition):
            check_close(run(model, inputs), expected[f"{case}_logits"])
            check_close(run(model.base_model, inputs), expected[case])


def check_facts_and_files(registries: Registries, folder: Path) -> None:
    """Bring a folder, and hold what became of it to what its own files say."""
    parts = registries.bring(folder)
    options = ("--owner", owner(folder), "--base", stored_base(folder))
    listed = registries.document("list", *options)["adapters"]
    assert sorted(one["ref"] for one in listed) == [f"{name}@1" for name in parts]
    model = base(folder.parent.name)
    for one in listed:
        part = parts[one["ref"].removesuffix("@1")]
        shown = registries.document("show", one["ref"])
        manifest = shown["manifest"]
        method, sizes = method_of(part)
        assert (one["method"], one["base_model"]) == (method, str(stored_base(folder)))
        assert manifest["method"]["parameters"].items() >= sizes.items()
        assert manifest["labels"] == LABELS.get(part, labels_of(part))
        expected = {
            "id": str(stored_base(folder)),
            "revision": None,
            "architecture": type(model).__name__,
            "hidden_size": model.config.hidden_size,
            "num_layers": layers_of(model.config),
            "fingerprint": fingerprint(model),
        }
        assert manifest["base_model"].items() >= expected.items()
        assert one["size"] == check_files(registries, one["ref"], part)
        assert [*shown["pickles"].values()] == [
            {"name": path.name, "sha256": sha256(path.read_bytes()).hexdigest()}
            for path in part.glob("*.bin")
        ]


def label_options(part: Path) -> list[str]:
    """What `publish` asks for where a folder names no labels."""
    return [word for label in LABELS.get(part, ()) for word in ("--label", label)]


def layers_of(config: Any) -> int:
    """Layers of the encoder and of the decoder together."""
    names = ("num_decoder_layers", "decoder_layers")
    decoder = next((getattr(config, name) for name in names if hasattr(config, name)), 0)
    return int(config.num_hidden_layers) + (decoder if config.is_encoder_decoder else 0)


def check_files(registries: Registries, ref: str, source: Path) -> int:
    """Compare what was pulled with the folder that was published; return its bytes."""
    written = registries.folder(ref)
    expected = {WITHOUT_PICKLES.get(path.name, path.name): path for path in source.iterdir()}
    found = {path.name: path for path in written.iterdir() if path.name != "hubkit.json"}
    assert found.keys() == expected.keys()
    for name, path in found.items():
        content, original = path.read_bytes(), expected[name].read_bytes()
        if name == expected[name].name:
            assert content == original
            continue
        check_same_tensors(tensors_in(path), tensors_in(expected[name]))
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        assert metadata["converted_from"] == expected[name].name
        assert metadata["sha256"] == sha256(original).hexdigest()
    return sum(path.stat().st_size for path in found.values())


def check_same_tensors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(found[name].dtype == tensor.dtype for name, tensor in expected.items())
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("folder", [brought(folder) for folder in FOLDERS])
def test_without_a_base_model_the_folder_says_what_it_is(
    registries: Registries, folder: Path
) -> None:
    part = min(folder.glob("*/"))
    registries.publish(part, f"plain-{owner(folder)}/{part.name}", *label_options(part))
    printed = registries.call(
        *("list", "--owner", f"plain-{owner(folder)}", "--json"), HUBKIT_HOME=str(registries.here)
    )
    (one,) = json.loads(printed.stdout)["adapters"]
    assert (one["method"], one["base_model"]) == (method_of(part)[0], base_of(part))
    assert one["base_fingerprint"] is None
