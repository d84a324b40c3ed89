from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForTokenClassification, PreTrainedModel, T5EncoderModel

from hubkit import attach, register_layout
from hubkit.nn import layout
from hubkit.nn.attach import SUBMODULE
from hubkit.nn.layout import hidden_size, layouts_of, num_layers, sites, sub_block_at
from hubkit.nn.sites import Place, Site
from registry.errors import UnsupportedModelError
from tests.support.models import random_adapter, run, tiny_config, tiny_model

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
        delta.up.weight.zero_()
        dense = expected.get_submodule(f"{site.layer}.{DENSE[architecture][site.place]}")
        with torch.no_grad():
            dense.bias += delta.up.bias
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
    attention_norm = sub_block_at(model, Site(place, "attention")).norm
    assert attention_norm is not None
    norm = model.get_submodule(f"{place}.{attention_norm}")
    with attach(model, adapter):
        norm.register_forward_hook(lambda _module, _inputs, output: normed.append(output))
        delta = adapter.deltas[Site(place, "feed_forward")]
        delta.register_forward_hook(lambda _module, inputs, _output: read.append(inputs[0]))
        run(model)
    assert torch.equal(read[0], normed[0])


@pytest.mark.parametrize("architecture", DENSE)
def test_what_a_node_reads_as_normed_is_what_the_norm_of_the_model_gives(
    architecture: str,
) -> None:
    model = tiny_model(architecture)
    adapter = random_adapter(model, method="double_seq_bn")
    for delta in adapter.deltas.values():
        delta.up.weight.zero_()
        delta.up.bias.zero_()
    readings, normed = [], []
    with attach(model, adapter):
        for site, node in zip(adapter.deltas, getattr(model, SUBMODULE).values(), strict=True):
            node.register_forward_pre_hook(lambda _m, inputs: readings.append(inputs[0]))
            path = sub_block_at(model, site).norm
            assert path is not None
            norm = model.get_submodule(f"{site.layer}.{path}")
            norm.register_forward_hook(lambda _m, _i, output: normed.append(output))
        run(model)
        expected = [*normed]
        assert len(readings) == len(expected) == 4
        for reading, output in zip(readings, expected, strict=True):
            torch.testing.assert_close(reading.read("norm"), output, rtol=0, atol=1e-6)


def test_sites_run_from_the_first_layer_to_the_last() -> None:
    model = tiny_model("bert", num_hidden_layers=11)
    found = list(sites(model, ("attention", "feed_forward")))
    assert [str(site) for site in found[:3]] == [
        "encoder.layer.0.attention",
        "encoder.layer.0.feed_forward",
        "encoder.layer.1.attention",
    ]
    assert [site.layer for site in found[::2]] == [f"encoder.layer.{i}" for i in range(11)]
    assert (num_layers(model), hidden_size(model)) == (11, 16)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "electra"])
def test_a_head_does_not_change_the_sites(architecture: str) -> None:
    bare = tiny_model(architecture)
    headed: PreTrainedModel = tiny_model(architecture, AutoModelForTokenClassification)
    assert list(sites(bare, ("feed_forward",))) == list(sites(headed, ("feed_forward",)))
    assert hidden_size(bare) == 16


def test_a_list_of_layers_that_the_model_class_lacks_has_no_sites() -> None:
    whole, encoder = tiny_model("t5"), T5EncoderModel(tiny_config("t5"))
    lists = [{site.layer for site in sites(model, ("attention",))} for model in (whole, encoder)]
    blocks = {f"encoder.block.{index}" for index in range(2)}
    assert lists == [blocks | {"decoder.block.0"}, blocks]


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
