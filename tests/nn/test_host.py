from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    PreTrainedModel,
    T5EncoderModel,
)

from hubkit.methods.sites import BlockSite, LinearSite
from hubkit.nn.host import (
    BaseModel,
    backbone,
    embeddings,
    hidden_size,
    linear_at,
    num_layers,
    output_embeddings,
    site_sizes,
    sites,
)
from registry.errors import BaseModelMismatchError, UnsupportedModelError
from tests.support.models import (
    REFERENCED,
    inputs_for,
    run,
    tiny_config,
    tiny_inputs,
    tiny_model,
)


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


@pytest.mark.parametrize("architecture", REFERENCED)
def test_every_linear_layer_is_listed_with_the_sizes_of_what_goes_through_it(
    architecture: str,
) -> None:
    model = tiny_model(architecture)
    linears = BaseModel(model).linears
    seen: dict[str, tuple[int, int]] = {}
    for path in linears:
        model.get_submodule(path).register_forward_hook(
            lambda _m, inputs, output, path=path: seen.update(
                {path: (inputs[0].shape[-1], output.shape[-1])}
            )
        )
    run(model, inputs_for(model))
    assert seen
    assert {path: linears[path] for path in seen} == seen
    for path, sizes in linears.items():
        assert site_sizes(model, LinearSite(path)) == sizes


@pytest.mark.parametrize("architecture", REFERENCED)
def test_queries_and_values_are_found_in_every_layer(architecture: str) -> None:
    host = BaseModel(tiny_model(architecture))
    assert host.queries_and_values
    for layer in host.layers:
        inside = [path for path in host.linears if path.startswith(f"{layer}.")]
        assert any(path.endswith(f".{end}") for path in inside for end in host.queries_and_values)


def test_the_head_of_a_language_model_is_no_linear_layer_of_the_backbone() -> None:
    for architecture, auto_class in (
        ("gpt2", AutoModelForCausalLM),
        ("bert", AutoModelForMaskedLM),
        ("llama", AutoModelForCausalLM),
    ):
        headed, bare = tiny_model(architecture, auto_class), tiny_model(architecture)
        assert BaseModel(headed).linears == {
            path: sizes
            for path, sizes in BaseModel(bare).linears.items()
            if not path.startswith("pooler.")
        }
        assert isinstance(output_embeddings(headed), nn.Linear)
        assert output_embeddings(bare) is None


@pytest.mark.parametrize("architecture", [a for a in REFERENCED if a != "vit"])
def test_the_embeddings_are_what_the_first_layer_is_given_the_width_of(architecture: str) -> None:
    model = tiny_model(architecture)
    seen: list[torch.Tensor] = []
    embeddings(model).register_forward_hook(lambda _m, _i, output: seen.append(output))
    run(model, inputs_for(model))
    assert seen[0].shape == (3, 7, BaseModel(model).embedding_size)


def test_a_linear_layer_is_asked_for_by_its_path() -> None:
    model = tiny_model("bert", AutoModelForTokenClassification)
    path = "encoder.layer.0.output.dense"
    assert linear_at(model, LinearSite(path)) is backbone(model).get_submodule(path)
    for bad in ("encoder.layer.0.output.dens", "encoder.layer.0.output", "classifier", ""):
        with pytest.raises(BaseModelMismatchError, match=f"no linear layer {bad}"):
            linear_at(model, LinearSite(bad))
    assert site_sizes(model, BlockSite("encoder.layer.0", "attention")) == (16, 16)


def test_a_model_of_an_unknown_architecture_is_no_base_model() -> None:
    with pytest.raises(UnsupportedModelError, match=r"register_layout\('albert'"):
        BaseModel(tiny_model("albert"))
    assert run(tiny_model("albert"), tiny_inputs()).isfinite().all()
