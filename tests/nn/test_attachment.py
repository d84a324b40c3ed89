"""Nodes at linear layers and sub-blocks of one model, and the order in which they act."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PreTrainedModel

from hubkit.methods.method import CouplingForm
from hubkit.methods.sites import BlockSite, LinearSite, Site
from hubkit.nn import layout
from hubkit.nn.delta import Delta
from hubkit.nn.hooks import EMBEDDINGS, SUBMODULE, Attachment, node_name
from hubkit.nn.host import linear_at
from hubkit.nn.invertible import Coupling, CouplingNode
from registry.errors import BaseModelMismatchError, UnsupportedModelError
from tests.nn.samples import Part, delta
from tests.support.models import (
    inputs_for,
    random_adapter,
    randomize,
    run,
    same,
    snapshot,
    tiny_inputs,
    tiny_model,
)


def lora(model: PreTrainedModel, path: str, seed: int = 0) -> tuple[LinearSite, Delta]:
    site = LinearSite(path)
    weight = linear_at(model, site).weight
    outputs, inputs = weight.shape if type(linear_at(model, site)) is nn.Linear else weight.T.shape
    part = Part("lora", 2, "linear", 1.5, False)
    return site, delta(part, outputs, inputs=inputs, seed=seed).float()


def untouched(model: PreTrainedModel, state: dict[str, Tensor], outputs: Tensor) -> None:
    assert same(snapshot(model), state)
    assert torch.equal(run(model, inputs_for(model)), outputs)
    assert not hasattr(model, SUBMODULE)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("architecture", "path"),
    [
        ("bert", "encoder.layer.0.attention.self.query"),
        ("bert", "encoder.layer.1.intermediate.dense"),
        ("gpt2", "h.0.attn.c_attn"),
        ("gpt2", "h.1.mlp.c_proj"),
        ("llama", "layers.1.mlp.down_proj"),
        ("t5", "decoder.block.0.layer.1.EncDecAttention.k"),
        ("bart", "decoder.layers.0.encoder_attn.v_proj"),
        ("deberta-v2", "encoder.layer.0.attention.self.query_proj"),
    ],
)
def test_a_delta_at_a_linear_layer_is_a_change_of_its_weight(architecture: str, path: str) -> None:
    model, expected = tiny_model(architecture), tiny_model(architecture)
    inputs, (site, made) = inputs_for(model), lora(model, path)
    weight = expected.get_submodule(path).weight
    change = 1.5 * made.up @ made.down
    with torch.no_grad():
        weight += change if type(expected.get_submodule(path)) is nn.Linear else change.T
    before, state = run(model, inputs), snapshot(model)
    attachment = Attachment(model, {site: made})
    found = run(model, inputs)
    attachment.detach()
    torch.testing.assert_close(found, run(expected, inputs), rtol=0, atol=1e-4)
    assert (found - before).abs().max().item() > 1e-3
    untouched(model, state, before)


def test_linear_layers_and_sub_blocks_carry_deltas_in_one_model() -> None:
    model, expected = tiny_model(), tiny_model()
    adapter = random_adapter(model)
    path = "encoder.layer.0.output.dense"
    site, made = lora(model, path)
    with torch.no_grad():
        expected.get_submodule(path).weight += 1.5 * made.up @ made.down
    nodes: dict[Site, nn.Module] = {**adapter.deltas, site: made}
    attachment = Attachment(model, nodes)
    found = run(model)
    attachment.detach()
    alone = Attachment(expected, adapter.deltas)
    torch.testing.assert_close(found, run(expected), rtol=0, atol=1e-5)
    alone.detach()


@pytest.mark.parametrize("order", [1, -1])
def test_a_sub_block_reads_what_its_last_linear_layer_has_become(order: int) -> None:
    """In BART, both are hooks of fc2, whichever of the sites is named first."""
    model, expected = tiny_model("bart"), tiny_model("bart")
    inputs = inputs_for(model)
    site, made = lora(model, "encoder.layers.0.fc2")
    # It reads h, so that its place before or after the LoRA makes a difference.
    block = BlockSite("encoder.layers.0", "feed_forward")
    reader = delta(Part("double_seq_bn", 3, "tanh"), 16, seed=3).float()
    with torch.no_grad():
        expected.get_submodule(site.path).weight += 1.5 * made.up @ made.down
    nodes: list[tuple[Site, nn.Module]] = [(site, made), (block, reader)]
    both = Attachment(model, dict(nodes[::order]))
    found = run(model, inputs)
    both.detach()
    alone = Attachment(expected, {block: reader})
    torch.testing.assert_close(found, run(expected, inputs), rtol=0, atol=1e-5)
    alone.detach()


def test_the_residual_of_a_sub_block_is_taken_before_its_first_linear_layer() -> None:
    model = tiny_model("bart")
    inputs, (site, made) = inputs_for(model), lora(model, "encoder.layers.0.fc1")
    reader = delta(Part("par_bn", 3), 16, seed=3).float()
    entered: list[Tensor] = []
    model.get_submodule(site.path).register_forward_pre_hook(
        lambda _m, arguments: entered.append(arguments[0])
    )
    reader.register_forward_hook(lambda _m, arguments, _o: entered.append(arguments[0]))
    attachment = Attachment(
        model, {site: made, BlockSite("encoder.layers.0", "feed_forward"): reader}
    )
    run(model, inputs)
    attachment.detach()
    assert len(entered) == 2
    assert torch.equal(*entered)


def test_names_inside_the_submodule_hold_no_dots() -> None:
    model = tiny_model()
    site, made = lora(model, "encoder.layer.0.attention.self.query")
    attachment = Attachment(model, {site: made})
    assert [n for n, _ in model.named_parameters() if n.startswith(SUBMODULE)] == [
        f"{SUBMODULE}.encoder-layer-0-attention-self-query.{name}" for name in ("down", "up")
    ]
    assert node_name(BlockSite("h.0", "attention")) == "h-0-attention"
    attachment.detach()


MISSING: list[tuple[str, Site]] = [
    ("bert", LinearSite("encoder.layer.9.output.dense")),
    ("bert", LinearSite("encoder.layer.0")),
    ("gpt2", LinearSite("encoder.layer.0.output.dense")),
    ("bert", BlockSite("encoder.layer.9", "attention")),
    ("bert", BlockSite("decoder.layer.0", "attention")),
]


@pytest.mark.parametrize(("architecture", "site"), MISSING)
def test_a_site_that_the_model_lacks_leaves_it_as_it_was(architecture: str, site: Site) -> None:
    model = tiny_model(architecture)
    before, state = run(model), snapshot(model)
    good = dict(random_adapter(model).deltas)
    with pytest.raises(BaseModelMismatchError, match="Load the base model"):
        Attachment(model, {**good, site: delta(Part(), 16).float()})
    untouched(model, state, before)


def test_couplings_of_a_model_without_embeddings_leave_it_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (row,) = layout._LAYOUTS["bert"]
    monkeypatch.setitem(layout._LAYOUTS, "bert", (replace(row, embeddings=None),))
    model = tiny_model()
    before, state = run(model), snapshot(model)
    node = CouplingNode({0: [Coupling(16, CouplingForm("relu", 2))]}, None)
    with pytest.raises(UnsupportedModelError, match="names no embeddings"):
        Attachment(model, random_adapter(model).deltas, node)
    untouched(model, state, before)


def test_without_any_site_it_is_taken_out_all_the_same() -> None:
    model = tiny_model()
    before, state = run(model), snapshot(model)
    attachment = Attachment(model, {})
    assert torch.equal(run(model), before)
    attachment.detach()
    untouched(model, state, before)
    Attachment(model, {}).detach()


def couplings(width: int) -> tuple[Coupling, CouplingNode]:
    made = Coupling(width, CouplingForm("relu", 2))
    randomize(made, 3, sigma=0.3)
    return made, CouplingNode({0: [made]}, None)


def test_embeddings_go_through_the_coupling_and_the_head_through_its_inverse() -> None:
    model = tiny_model("bert", AutoModelForMaskedLM)
    made, node = couplings(16)
    seen: dict[str, Any] = {}
    model.bert.embeddings.register_forward_hook(lambda _m, _i, o: seen.update(embedded=o))
    model.bert.encoder.register_forward_pre_hook(lambda _m, i: seen.update(entered=i[0]))
    model.cls.predictions.transform.register_forward_hook(lambda _m, _i, o: seen.update(top=o))
    attachment = Attachment(model, {}, node)
    model.cls.predictions.decoder.register_forward_hook(lambda _m, i, o: seen.update(head=i[0]))
    with torch.no_grad():
        model(**tiny_inputs())
        torch.testing.assert_close(seen["entered"], made(seen["embedded"]))
        torch.testing.assert_close(seen["head"], made.inverse(seen["top"]))
    assert EMBEDDINGS in attachment.nodes
    attachment.detach()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5", "bart", "electra"])
def test_a_coupling_that_is_the_identity_changes_nothing(architecture: str) -> None:
    model = tiny_model(architecture)
    inputs = inputs_for(model)
    before, state = run(model, inputs), snapshot(model)
    width = getattr(model.config, "embedding_size", None) or 16
    made, node = couplings(width)
    attachment = Attachment(model, {}, node)
    assert (run(model, inputs) - before).abs().max().item() > 1e-4
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    torch.testing.assert_close(run(model, inputs), before, rtol=0, atol=0)
    attachment.detach()
    untouched(model, state, before)
