"""What was changed in a model beside its adapter is saved with the head, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

import hubkit
from hubkit.bases.load import load_for_head
from hubkit.bases.tokenization import tokenizer_digest
from hubkit.models.changes import BaseState
from hubkit.models.head import head_of, outlet_tensors
from hubkit.nn.hooks import SUBMODULE
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog, read_folder
from registry.errors import AdapterError
from tests.support.data import TEXTS
from tests.support.models import (
    base_folder,
    inputs_for,
    randomize,
    run,
    tiny_classifier,
    tiny_model,
    tokenizer,
)


@torch.no_grad()
def shift(tensor: torch.Tensor) -> None:
    tensor.add_(0.5 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(3)))


def ready(model: PreTrainedModel, method: str = "seq_bn") -> PreTrainedModel:
    """With an adapter and a head as after training."""
    hubkit.insert_adapter(model, "mine", method=method)
    randomize(getattr(model, SUBMODULE), 7)
    return model.eval()


def of_base(folder: Path, auto_class: Any = AutoModelForSequenceClassification) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = auto_class.from_pretrained(folder, num_labels=2)
    return model


# --- what travels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["seq_bn", "lora"])
def test_a_pooler_that_was_trained_along_is_saved_published_and_loaded(
    method: str, tmp_path: Path, catalog: Catalog
) -> None:
    model = ready(of_base(base_folder(tmp_path / "base")), method)
    shift(model.bert.pooler.dense.weight)
    hubkit.save_adapter(model, "mine", tmp_path / "saved")
    manifest = read_folder(tmp_path / "saved").manifest
    assert manifest.head is not None
    assert manifest.head.modules == ("classifier", "pooler")
    version = publish_folder(catalog, tmp_path / "saved", AdapterRef(None, "mine"), task="t")
    found = hubkit.load(version.ref, catalog=catalog).logits(TEXTS[:1])
    assert torch.equal(found, run(model, tokenizer()(TEXTS[:1], return_tensors="pt")))


def test_a_pooler_that_is_frozen_again_stays_with_the_base_model(tmp_path: Path) -> None:
    model = ready(of_base(base_folder(tmp_path / "base")))
    model.bert.pooler.requires_grad_(False)
    hubkit.save_adapter(model, "mine", tmp_path / "saved")
    head = hubkit.Adapter.load(tmp_path / "saved").head
    assert head is not None
    assert head.tensors.keys() == {"classifier.weight", "classifier.bias"}


def test_a_pooler_that_the_base_model_lacks_is_trained_saved_published_and_loaded(
    tmp_path: Path, catalog: Catalog
) -> None:
    base = base_folder(tmp_path / "base")
    tiny_model("bert", AutoModelForMaskedLM).save_pretrained(base)
    model = ready(of_base(base))
    assert model.bert.pooler.dense.weight.requires_grad
    assert not model.bert.encoder.layer[1].output.dense.weight.requires_grad
    hubkit.save_adapter(model, "mine", tmp_path / "saved")
    version = publish_folder(catalog, tmp_path / "saved", AdapterRef(None, "mine"), task="t")
    found = hubkit.load(version.ref, catalog=catalog).logits(TEXTS[:1])
    assert torch.equal(found, run(model, tokenizer()(TEXTS[:1], return_tensors="pt")))


def test_a_head_without_the_pooler_that_a_base_model_lacks_is_refused(tmp_path: Path) -> None:
    tiny_model("bert", AutoModelForMaskedLM).save_pretrained(tmp_path)
    model, new = load_for_head(str(tmp_path), AutoModelForSequenceClassification, num_labels=2)
    head = head_of(model)
    assert head is not None
    with pytest.raises(AdapterError, match=r"no weights for bert\.pooler\.dense\.bias"):
        hubkit.set_head(model, head, new)


def test_what_comes_after_the_layers_travels_whatever_it_is_called(tmp_path: Path) -> None:
    cases = {
        "vit": (AutoModelForImageClassification, "layernorm"),
        "modernbert": (AutoModelForSequenceClassification, "final_norm"),
        "gpt2": (AutoModelForSequenceClassification, "ln_f"),
        "llama": (AutoModelForSequenceClassification, "norm"),
    }
    for architecture, (auto_class, module) in cases.items():
        settings = {"num_labels": 2, "pad_token_id": 1}
        model = ready(tiny_model(architecture, auto_class, **settings))
        shift(model.base_model.get_submodule(module).weight)
        expected = run(model, inputs_for(model))
        hubkit.save_adapter(model, "mine", tmp_path / architecture)
        other = tiny_model(architecture, auto_class, seed=0, **settings)
        adapter = hubkit.Adapter.load(tmp_path / architecture)
        with hubkit.attach(other, adapter):
            hubkit.set_head(other, adapter.head)
            assert torch.equal(run(other, inputs_for(other)), expected), architecture


def test_an_outlet_is_what_comes_after_the_last_layer() -> None:
    for architecture, modules in {
        **{"bert": {"pooler"}, "deberta-v2": set(), "distilbert": set(), "t5": set()},
        **{"vit": {"layernorm", "pooler"}, "gpt2": {"ln_f"}, "llama": {"norm"}},
    }.items():
        found = outlet_tensors(tiny_model(architecture))
        assert {name.partition(".")[0] for name in found} == modules, architecture


# --- what is refused ------------------------------------------------------------------------------


def _step(model: PreTrainedModel) -> None:
    """Of an optimiser that was given all weights, whatever requires gradients."""
    weights = [model.bert.encoder.layer[0].output.LayerNorm.weight]
    weights[0].grad = torch.ones_like(weights[0])
    torch.optim.SGD(weights, lr=0.1).step()


def _behind_torch(model: PreTrainedModel) -> None:
    model.bert.encoder.layer[0].output.LayerNorm.weight.data[0] += 1


def _resize(model: PreTrainedModel) -> None:
    model.resize_token_embeddings(len(tokenizer()) + 50)


def _convert(model: PreTrainedModel) -> None:
    model.bert.to(torch.bfloat16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_step, r"bert\.encoder\.layer\.0\.output\.LayerNorm\.weight of the base model changed"),
        (_behind_torch, r"layer\.0\.output\.LayerNorm\.weight of the base model changed"),
        (_resize, r"bert\.embeddings\.word_embeddings\.weight of the base model changed"),
        (_convert, r"and \d+ more of the base model changed since mine.*bfloat16"),
    ],
)
def test_a_change_of_the_base_model_is_named_and_nothing_saved(
    change: Callable[[PreTrainedModel], None], words: str, tmp_path: Path
) -> None:
    model = ready(tiny_classifier())
    change(model)
    with pytest.raises(AdapterError, match=words):
        hubkit.save_adapter(model, "mine", tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_head_that_is_tied_to_the_embeddings_is_the_base_models(tmp_path: Path) -> None:
    model = ready(tiny_model("gpt2", AutoModelForCausalLM))
    shift(model.lm_head.weight)
    with pytest.raises(AdapterError, match=r"transformer\.wte\.weight"):
        hubkit.save_adapter(model, "mine", tmp_path / "saved")


def test_statistics_that_training_moves_are_noticed(tmp_path: Path) -> None:
    model = tiny_classifier()
    model.bert.encoder.extra = nn.BatchNorm1d(16)
    ready(model)
    model.bert.encoder.extra.train()(torch.randn(8, 16))
    with pytest.raises(AdapterError, match=r"bert\.encoder\.extra\.running_mean"):
        hubkit.save_adapter(model, "mine", tmp_path / "saved")


def test_statistics_of_a_head_are_saved_with_it(tmp_path: Path) -> None:
    model = tiny_classifier()
    model.classifier = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 2))
    ready(model)
    model.classifier.train()(torch.randn(8, 16))
    hubkit.save_adapter(model, "mine", tmp_path / "saved")
    head = hubkit.Adapter.load(tmp_path / "saved").head
    assert head is not None
    assert torch.equal(head.tensors["classifier.0.running_mean"], model.classifier[0].running_mean)


def test_without_a_look_before_what_may_be_trained_counts_as_changed(tmp_path: Path) -> None:
    model = tiny_classifier()
    adapter = hubkit.insert_adapter(model, "mine").composition
    hubkit.attach(fresh := tiny_classifier(), adapter)
    fresh.requires_grad_(False)
    hubkit.save_adapter(fresh, "mine", tmp_path / "frozen")
    fresh.bert.encoder.layer[1].output.dense.weight.requires_grad_(True)
    with pytest.raises(AdapterError, match=r"layer\.1\.output\.dense.* were trained along"):
        hubkit.save_adapter(fresh, "mine", tmp_path / "saved")


def test_a_copy_of_a_model_remembers_the_base_model(tmp_path: Path) -> None:
    copied = deepcopy(ready(tiny_classifier()))
    assert BaseState.kept(copied) is not None
    shift(copied.bert.encoder.layer[0].output.dense.weight)
    with pytest.raises(AdapterError, match=r"layer\.0\.output\.dense\.weight"):
        hubkit.save_adapter(copied, "mine", tmp_path / "saved")


def test_a_bare_model_has_no_head_but_what_was_trained_of_it(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    tiny_model("bert", AutoModelForMaskedLM).save_pretrained(base)
    model = ready(AutoModel.from_pretrained(base))
    hubkit.save_adapter(model, "mine", tmp_path / "plain")
    assert hubkit.Adapter.load(tmp_path / "plain").head is None
    shift(model.pooler.dense.weight)
    hubkit.save_adapter(model, "mine", tmp_path / "trained")
    head = hubkit.Adapter.load(tmp_path / "trained").head
    assert head is not None
    assert torch.equal(head.tensors["pooler.dense.weight"], model.pooler.dense.weight)


# --- wrapped models -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        partial(torch.compile, backend="eager"),
        lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
    ],
    ids=["parallel", "compiled", "both"],
)
def test_a_wrapped_model_is_saved_as_the_one_inside(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    model = ready(tiny_classifier())
    hubkit.save_adapter(model, "mine", tmp_path / "plain")
    hubkit.save_adapter(wrap(model), "mine", tmp_path / "wrapped")
    plain, wrapped = (read_folder(tmp_path / one).manifest for one in ("plain", "wrapped"))
    assert plain.digest == wrapped.digest


def test_a_model_trained_by_several_processes_is_saved_as_the_one_inside(tmp_path: Path) -> None:
    model = ready(tiny_classifier())
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        wrapped(**inputs_for(model), labels=torch.tensor([0, 1, 0])).loss.backward()
        optimizer.step()
        hubkit.save_adapter(wrapped, "mine", tmp_path / "wrapped")
        hubkit.save_adapter(torch.compile(wrapped, backend="eager"), "mine", tmp_path / "both")
    finally:
        distributed.destroy_process_group()
    hubkit.save_adapter(model, "mine", tmp_path / "plain")
    folders = [read_folder(tmp_path / one).manifest for one in ("wrapped", "both", "plain")]
    assert len({manifest.digest for manifest in folders}) == 1


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="Expected a transformers model, found a Linear"):
        hubkit.save_adapter(nn.Linear(2, 2), "mine", tmp_path / "saved")


def test_a_tokenizer_of_ones_own_is_recorded(tmp_path: Path) -> None:
    model = ready(of_base(base_folder(tmp_path / "base")))
    own = tokenizer()
    own.add_tokens(["brandnew"])
    digests = []
    for name, given in (("base", None), ("same", tokenizer()), ("own", own)):
        hubkit.save_adapter(model, "mine", tmp_path / f"saved-{name}", tokenizer=given)
        manifest = read_folder(tmp_path / f"saved-{name}").manifest
        digests.append(manifest.base_model.tokenizer_digest)
    assert digests[0] == digests[1] == tokenizer_digest(tokenizer())
    assert digests[2] == tokenizer_digest(own) != digests[0]


def test_a_pooler_made_for_a_bare_model_is_no_part_of_its_base_model(tmp_path: Path) -> None:
    tiny_model("bert", AutoModelForMaskedLM).save_pretrained(tmp_path / "base")
    model = ready(AutoModel.from_pretrained(tmp_path / "base"))
    hubkit.save_adapter(model, "mine", tmp_path / "saved")
    assert not read_folder(tmp_path / "saved").manifest.base_model.parts
    # Loaded again, it has another pooler, by chance.
    torch.manual_seed(7)
    with hubkit.attach(of_base(tmp_path / "base"), hubkit.Adapter.load(tmp_path / "saved")):
        pass
