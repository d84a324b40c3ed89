from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM

from hubkit import attach, register_layout
from hubkit.methods.sites import BlockSite, Place
from hubkit.nn import layout
from hubkit.nn.hooks import Attachment
from hubkit.nn.host import BaseModel, sites, sub_block_at
from hubkit.nn.layout import Layout, SubBlock, layouts_of
from hubkit.nn.nodes import Reading
from registry.errors import UnsupportedModelError
from tests.support.models import random_adapter, randomize, run, same, snapshot, tiny_model

# The dense layer whose bias is added to h at each place.
DENSE: dict[str, dict[Place, str]] = {
    "bert": {"attention": "attention.output.dense", "feed_forward": "output.dense"},
    "distilbert": {"attention": "attention.out_lin", "feed_forward": "ffn.lin2"},
    "mpnet": {"attention": "attention.attn.o", "feed_forward": "output.dense"},
}
DENSE |= dict.fromkeys(("roberta", "xlm-roberta", "electra", "deberta-v2"), DENSE["bert"])


@pytest.fixture(autouse=True)
def _own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers ends with it."""
    monkeypatch.setattr(layout, "_LAYOUTS", dict(layout._LAYOUTS))


@pytest.mark.parametrize("architecture", DENSE)
def test_a_constant_delta_is_a_bias_of_the_layer_that_ends_the_sub_block(architecture: str) -> None:
    model, expected = tiny_model(architecture), tiny_model(architecture)
    adapter = random_adapter(model, method="double_seq_bn")
    for site, delta in adapter.deltas.items():
        delta.up.zero_()
        dense = expected.get_submodule(f"{site.layer}.{DENSE[architecture][site.place]}")
        with torch.no_grad():
            dense.bias += delta.up_bias
    before = run(model)
    with attach(model, adapter):
        after = run(model)
    torch.testing.assert_close(after, run(expected), rtol=0, atol=1e-5)
    assert (after - before).abs().max().item() > 0.1


@pytest.mark.parametrize("architecture", DENSE)
def test_what_a_parallel_adapter_reads_is_the_input_of_the_feed_forward_block(
    architecture: str,
) -> None:
    model = tiny_model(architecture)
    adapter = random_adapter(model, method="par_bn")
    read, normed = [], []
    place = next(iter(adapter.deltas)).layer
    attention_norm = sub_block_at(model, BlockSite(place, "attention")).norm
    assert attention_norm is not None
    norm = model.get_submodule(f"{place}.{attention_norm}")
    with attach(model, adapter):
        norm.register_forward_hook(lambda _module, _inputs, output: normed.append(output))
        delta = adapter.deltas[BlockSite(place, "feed_forward")]
        delta.register_forward_hook(lambda _module, inputs, _output: read.append(inputs[0]))
        run(model)
    assert torch.equal(read[0], normed[0])


class Probe(nn.Module):
    """Adds nothing, and keeps what it could read."""

    def forward(self, reading: Reading) -> tuple[Reading, Tensor]:
        self.reading = reading
        return reading, torch.zeros_like(reading.output)


@pytest.mark.parametrize("architecture", DENSE)
def test_what_a_node_reads_as_normed_is_what_the_norm_of_the_model_gives(
    architecture: str,
) -> None:
    model = tiny_model(architecture)
    probes = {site: Probe() for site in sites(model, ("attention", "feed_forward"))}
    normed: list[Tensor] = []
    for site in probes:
        path = sub_block_at(model, site).norm
        assert path is not None
        norm = model.get_submodule(f"{site.layer}.{path}")
        norm.register_forward_hook(lambda _m, _i, output: normed.append(output))
    attachment = Attachment(model, probes)
    run(model)
    expected = [*normed]
    attachment.detach()
    assert len(expected) == len(probes) == 4
    for probe, output in zip(probes.values(), expected, strict=True):
        torch.testing.assert_close(probe.reading.read("norm"), output, rtol=0, atol=1e-6)


def test_an_unknown_architecture_is_refused_with_the_way_to_add_it() -> None:
    model = tiny_model("albert")
    with pytest.raises(UnsupportedModelError) as caught:
        layouts_of(model)
    message = str(caught.value)
    assert "'albert' (AlbertModel)" in message
    assert "hubkit knows bart, bert, deberta-v2, distilbert, electra, " in message
    assert "hubkit.register_layout('albert', Layout(...))" in message


def test_a_layout_without_a_norm_reads_the_plain_sum() -> None:
    model = tiny_model()
    (row,) = layouts_of(model)
    register_layout("bert", replace(row, feed_forward=replace(row.feed_forward, norm=None)))
    adapter = random_adapter(model, method="seq_bn")
    read, summed = [], []
    with attach(model, adapter):
        site = next(iter(adapter.deltas))
        adapter.deltas[site].register_forward_hook(lambda _m, inputs, _o: read.append(inputs[0]))
        norm = model.get_submodule(f"{site.layer}.output.LayerNorm")
        norm.register_forward_pre_hook(lambda _m, inputs: summed.append(inputs[0]))
        run(model)
    delta = adapter.deltas[site]
    # The norm sees h + delta + residual, the delta sees h + residual.
    torch.testing.assert_close(summed[0] - delta(read[0]), read[0], rtol=0, atol=1e-5)


ALBERT = Layout(
    layers=("encoder.albert_layer_groups.0.albert_layers",),
    attention=SubBlock("attention.output_dropout", "attention", 0, "attention.LayerNorm"),
    feed_forward=SubBlock("ffn_output", "ffn", 0, "full_layer_layer_norm"),
    embeddings="embeddings",
    queries_and_values=("query", "value"),
)
ONE_LAYER = {"num_hidden_layers": 1, "embedding_size": 8, "hidden_dropout_prob": 0.0}


@pytest.mark.parametrize("method", ["seq_bn", "double_seq_bn", "par_bn", "seq_bn_inv", "lora"])
def test_an_architecture_that_is_registered_carries_every_method(method: str) -> None:
    register_layout("albert", ALBERT)
    model = tiny_model("albert", AutoModelForMaskedLM, **ONE_LAYER)
    before, state = run(model), snapshot(model)
    adapter = random_adapter(model, method=method)
    with attach(model, adapter):
        assert (run(model) - before).abs().max().item() > 1e-3
        for module in adapter.modules():
            for parameter in module.parameters():
                parameter.zero_()
        torch.testing.assert_close(run(model), before, rtol=0, atol=1e-5)
    assert torch.equal(run(model), before)
    assert same(snapshot(model), state)


def test_what_is_registered_says_where_lora_and_the_coupling_go() -> None:
    register_layout("albert", ALBERT)
    model = tiny_model("albert", **ONE_LAYER)
    host = BaseModel(model)
    assert host.layers == ["encoder.albert_layer_groups.0.albert_layers.0"]
    assert host.queries_and_values == ("query", "value")
    # The embeddings are narrower than the layers.
    assert (host.hidden_size, host.embedding_size) == (16, 8)
    lora = random_adapter(model, method="lora")
    ends = [str(site).removeprefix(f"{host.layers[0]}.attention.") for site in lora.deltas]
    assert ends == ["query", "value"]
    inverted = random_adapter(model, method="seq_bn_inv")
    assert inverted.coupling is not None
    assert inverted.coupling.width == 8


def test_the_sites_of_what_is_registered_are_the_biases_they_stand_for() -> None:
    register_layout("albert", ALBERT)
    model, expected = tiny_model("albert", **ONE_LAYER), tiny_model("albert", **ONE_LAYER)
    adapter = random_adapter(model, method="double_seq_bn")
    dense = {"attention": "attention.dense", "feed_forward": "ffn_output"}
    for site, delta in adapter.deltas.items():
        delta.up.zero_()
        with torch.no_grad():
            expected.get_submodule(f"{site.layer}.{dense[site.place]}").bias += delta.up_bias
    with attach(model, adapter):
        torch.testing.assert_close(run(model), run(expected), rtol=0, atol=1e-5)


def test_a_layout_can_be_registered_anew() -> None:
    register_layout("albert", ALBERT)
    register_layout("albert", replace(ALBERT, queries_and_values=("key",)))
    model = tiny_model("albert", **ONE_LAYER)
    assert BaseModel(model).queries_and_values == ("key",)
    randomize(model, 1)
    assert [str(s).rpartition(".")[2] for s in random_adapter(model, method="lora").deltas] == [
        "key"
    ]
