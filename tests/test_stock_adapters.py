"""The `adapters` library itself reads what hubkit writes, in an environment of its own.

It pins transformers 4.57, so each run makes an environment for it (some minutes, 2 GB):

    python -m pytest -m own_environment
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hubkit import Adapter, Fuse, Fusion, attach, with_flexible_head
from hubkit.bases.describe import describe
from hubkit.methods.table import new_method
from hubkit.models.head import head_of
from hubkit.nn.host import BaseModel
from registry.folders.flexible_heads import FlexibleHead
from tests.support.models import inputs_for, randomize, run, tiny_model

pytestmark = [pytest.mark.own_environment, pytest.mark.timeout(1800)]

REQUIRED = ("adapters==1.3.0", "transformers==4.57.6", "torch==2.13.0")
# Reads a base model and what is beside it, as any user of the library does.
READ = """
import json, sys, adapters, torch
from pathlib import Path
from adapters.composition import Fuse
from safetensors.torch import load_file, save_file
from transformers import AutoModel

for place in map(Path, sys.argv[1:]):
    outputs = {}
    for name, fusion in (("one", None), ("fusion", place / "fusion")):
        if fusion is not None and not fusion.exists():
            continue
        model = AutoModel.from_pretrained(place / "base").eval()
        adapters.init(model)
        loaded = [
            model.load_adapter(str(place / one), use_safetensors=True)
            for one in (["a"] if fusion is None else ["a", "b"])
        ]
        if fusion is None:
            model.set_active_adapters(loaded[0])
        else:
            model.load_adapter_fusion(str(fusion), use_safetensors=True)
            model.set_active_adapters(Fuse(*loaded))
        model.eval()  # what is loaded comes up in training mode
        with torch.no_grad():
            outputs[name] = model(**load_file(place / "inputs.safetensors"))[0].contiguous()
    save_file(outputs, place / "outputs.safetensors")
"""

# The same for a head that lies beside an adapter.
READ_HEADS = """
import sys, torch
from pathlib import Path
from adapters import AutoAdapterModel
from safetensors.torch import load_file, save_file

for place in map(Path, sys.argv[1:]):
    model = AutoAdapterModel.from_pretrained(place / "base")
    loaded = model.load_adapter(str(place / "a"), use_safetensors=True)
    model.eval().set_active_adapters(loaded)
    assert model.active_head == loaded
    with torch.no_grad():
        found = model(**load_file(place / "inputs.safetensors"))
    names = [name for name in ("logits", "start_logits", "end_logits") if name in found]
    save_file({name: found[name].contiguous() for name in names}, place / "outputs.safetensors")
    print(place.name, *(model.get_labels() or ()))
"""

CLASSES = FlexibleHead("classification", layers=2, activation="tanh", outputs=2)
WORDS = FlexibleHead("seq2seq_lm", layers=1, bias=False)
HEADS: dict[str, tuple[str, FlexibleHead]] = {
    **{f"{one} classes": (one, CLASSES) for one in ("bert", "roberta", "distilbert", "electra")},
    **{f"{one} classes": (one, CLASSES) for one in ("gpt2", "llama", "bart", "t5")},
    "pooled": ("bert", replace(CLASSES, layers=1, activation=None, use_pooler=True)),
    "number": ("bert", replace(CLASSES, outputs=1)),
    "several": ("bert", replace(CLASSES, head_type="multilabel_classification", several=True)),
    "tags": ("bert", replace(CLASSES, head_type="tagging", layers=1)),
    "answers": ("roberta", replace(CLASSES, head_type="question_answering")),
    "choices": ("bert", replace(CLASSES, head_type="multiple_choice", outputs=1, choices=2)),
    "masks": (
        "bert",
        FlexibleHead("masked_lm", layers=2, activation="gelu", layer_norm=True, words=40),
    ),
    "gpt2 words": ("gpt2", FlexibleHead("causal_lm", layers=1, bias=False, shift_labels=True)),
    "bart words": ("bart", WORDS),
    "t5 words": ("t5", WORDS),
}

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{
        f"{architecture} {method}": (architecture, method, {"bottleneck_size": 4})
        for architecture in ("bert", "roberta", "distilbert", "electra", "deberta-v2")
        for method in ("seq_bn", "double_seq_bn", "par_bn")
    },
    **{
        architecture: (architecture, "double_seq_bn", {"bottleneck_size": 3})
        for architecture in ("xlm-roberta", "gpt2", "llama", "mistral", "t5", "bart")
    },
    "invertible": ("bert", "seq_bn_inv", {}),
    "invertible t5": ("t5", "seq_bn_inv", {}),
    "one factor": ("bert", "par_bn", {"scaling": "learned"}),
    "many factors": ("bert", "par_bn", {"scaling": "channel"}),
    "by layer": ("bert", "seq_bn", {"bottleneck_size": [2, 5]}),
    "left out": ("bert", "seq_bn", {"bottleneck_size": 4, "leave_out": (0,)}),
}
# A fusion of these is none that the library computes.
ALONE = ("invertible", "invertible t5", "left out")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the library."""
    place = tmp_path_factory.mktemp("adapters-library")
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    found = place / "bin" / "python"
    install = [str(found), "-m", "pip", "install", "--quiet", *REQUIRED, "safetensors"]
    subprocess.run(install, check=True)
    return found


def write(case: str, place: Path) -> dict[str, torch.Tensor]:
    """A base model with adapters and a fusion, and what hubkit computes."""
    architecture, method, parameters = CASES[case]
    model = tiny_model(architecture, pad_token_id=1)
    model.save_pretrained(place / "base")
    inputs = inputs_for(model)
    save_file(inputs, place / "inputs.safetensors")
    base, settings = describe(model), new_method(method, BaseModel(model), **parameters)
    parts = []
    for number, name in enumerate("ab"):
        adapter = replace(Adapter.create(model, name, settings), base=base)
        for index, module in enumerate(adapter.modules()):
            randomize(module, 10 * number + index)
            module.requires_grad_(False)
        adapter.save(place / name)
        parts.append(adapter)
    compositions: dict[str, Any] = {"one": parts[0]}
    if case not in ALONE:
        fusion = Fusion.create(Fuse(*parts))
        for index, layer in enumerate(fusion.layers.values()):
            randomize(layer, index)
            layer.requires_grad_(False)
        fusion.save(place / "fusion")
        compositions["fusion"] = fusion
    expected = {}
    for name, composition in compositions.items():
        with attach(model, composition):
            expected[name] = run(model, inputs)
    return expected


def write_head(case: str, place: Path) -> dict[str, torch.Tensor]:
    """A base model with an adapter and a flexible head, and what hubkit computes."""
    architecture, flexible = HEADS[case]
    special = {"eos_token_id": 2, "decoder_start_token_id": 2, "pad_token_id": 1}
    backbone = tiny_model(architecture, **special)
    backbone.save_pretrained(place / "base")
    inputs = inputs_for(backbone)
    if backbone.config.is_encoder_decoder:  # classifiers read where a text ends
        ids = inputs["input_ids"].clamp(min=3)
        ids[:, -1] = 2
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if flexible.head_type == "multiple_choice":
        inputs = {name: torch.stack([one, one.flip(0)], 1) for name, one in inputs.items()}
    save_file(inputs, place / "inputs.safetensors")
    base = describe(backbone)
    model = with_flexible_head(backbone, flexible)
    if flexible.tells_classes and flexible.outputs == 2:
        model.config.id2label = {0: "no", 1: "yes"}
    randomize(model.head, 5)
    adapter = Adapter.create(model, "a", new_method("seq_bn", BaseModel(model), bottleneck_size=4))
    for index, module in enumerate(adapter.modules()):
        randomize(module, index)
        module.requires_grad_(False)
    replace(adapter, base=base, head=head_of(model)).save(place / "a")
    with attach(model.eval(), adapter), torch.no_grad():
        found = model(**inputs)
    return {name: found[name] for name in ("logits", "start_logits", "end_logits") if name in found}


def test_the_heads_that_hubkit_writes_give_the_same_outputs_there(
    python: Path, tmp_path: Path
) -> None:
    places = {case: tmp_path / case.replace(" ", "-") for case in HEADS}
    expected = {case: write_head(case, place) for case, place in places.items()}
    told = subprocess.run(
        [str(python), "-W", "ignore", "-c", READ_HEADS, *map(str, places.values())],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "tags no yes" in told.stdout.splitlines()
    for case, outputs in expected.items():
        found = load_file(places[case] / "outputs.safetensors")
        assert found.keys() == outputs.keys()
        for name, output in outputs.items():
            tolerance = 1e-5 * max(1.0, output.abs().max().item())
            torch.testing.assert_close(
                found[name], output, rtol=0, atol=tolerance, msg=f"{case}, {name}: {{}}".format
            )


def test_what_hubkit_writes_gives_the_same_outputs_there(python: Path, tmp_path: Path) -> None:
    places = {case: tmp_path / case.replace(" ", "-") for case in CASES}
    expected = {case: write(case, place) for case, place in places.items()}
    subprocess.run(
        [str(python), "-W", "ignore", "-c", READ, *map(str, places.values())], check=True
    )
    for case, outputs in expected.items():
        found = load_file(places[case] / "outputs.safetensors")
        assert found.keys() == outputs.keys()
        for name, output in outputs.items():
            tolerance = 1e-5 * max(1.0, output.abs().max().item())
            message = f"{case}, {name}: " + "{}"
            torch.testing.assert_close(
                found[name], output, rtol=0, atol=tolerance, msg=message.format
            )
