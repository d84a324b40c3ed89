from __future__ import annotations

import gc
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit import Fuse, Fusion, Stack, attach
from hubkit.methods.sites import BlockSite, LinearSite, Site
from hubkit.nn.delta import Delta
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.hooks import SUBMODULE, Attachment, node_name
from hubkit.nn.host import linear_at
from registry.errors import BaseModelMismatchError, CompositionError
from tests.nn.samples import Part, delta, untouched
from tests.support.models import (
    ARCHITECTURES,
    METHODS,
    inputs_for,
    random_adapter,
    randomize,
    run,
    same,
    snapshot,
    tiny_batch,
    tiny_classifier,
    tiny_inputs,
    tiny_model,
)


def random_fusion(model: Any, *, value: bool = True) -> Fusion:
    adapters = [random_adapter(model, name, seed=seed) for seed, name in enumerate("ab")]
    fusion = Fusion.create(Fuse(*adapters), value=value)
    for layer in fusion.layers.values():
        randomize(layer, 7, sigma=0.1)
    return fusion


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", METHODS)
def test_detaching_restores_the_model_to_the_bit(architecture: str, method: str) -> None:
    model = tiny_model(architecture)
    outputs, state, modules = (
        run(model),
        snapshot(model),
        [name for name, _ in model.named_modules()],
    )
    adapters = [random_adapter(model, name, method, seed=s) for s, name in enumerate("ab")]
    for composition in (adapters[0], Stack(*adapters), Fuse(*adapters)):
        attached = attach(model, composition)
        assert not torch.equal(run(model), outputs)
        attached.detach()
        assert torch.equal(run(model), outputs)
        assert same(snapshot(model), state)
        assert [name for name, _ in model.named_modules()] == modules
        attached.detach()  # once more does nothing
    assert all(
        not module._forward_hooks and not module._forward_pre_hooks for module in model.modules()
    )


def test_an_error_inside_the_block_detaches_too() -> None:
    model = tiny_model()
    outputs, state = run(model), snapshot(model)
    with pytest.raises(ZeroDivisionError), attach(model, random_adapter(model)):  # noqa: PT012
        run(model)
        raise ZeroDivisionError
    assert torch.equal(run(model), outputs)
    assert same(snapshot(model), state)


def test_an_error_inside_the_forward_pass_leaves_no_residual_behind() -> None:
    model = tiny_model()
    adapter = random_adapter(model)
    with attach(model, adapter):
        expected = run(model)
        broken = model.encoder.layer[1].output.dense.register_forward_hook(_fail)
        with pytest.raises(ZeroDivisionError):
            run(model, tiny_inputs(rows=2, length=5))
        broken.remove()
        assert torch.equal(run(model), expected)


def _fail(*_: object) -> None:
    raise ZeroDivisionError


def test_the_keys_of_the_base_stay_as_they_are_while_attached() -> None:
    model = tiny_classifier()
    state = snapshot(model)
    with attach(model, random_fusion(model)):
        names = list(model.state_dict())
        assert [name for name in names if SUBMODULE not in name] == list(state)
        added = [name for name in names if SUBMODULE in name]
        assert all(name.startswith(f"{SUBMODULE}.encoder-layer-") for name in added)
        # Two adapters of four tensors and a fusion layer of five, in two layers.
        assert len(added) == 2 * (2 * 4 + 5)
        assert same({name: model.state_dict()[name] for name in state}, state)


def test_a_second_attachment_is_refused_and_the_first_goes_on() -> None:
    model = tiny_model()
    with attach(model, random_adapter(model)):
        outputs = run(model)
        with pytest.raises(CompositionError, match="BertModel carries adapters already; detach"):
            attach(model, random_adapter(model, "b", seed=2))
        assert torch.equal(run(model), outputs)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_carried_over(training: bool) -> None:
    model = tiny_model().train(training)
    with attach(model, random_fusion(model)):
        nodes = getattr(model, SUBMODULE)
        assert {module.training for module in nodes.modules()} == {training}
        model.train(not training)
        assert {module.training for module in nodes.modules()} == {not training}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", METHODS)
def test_gradient_checkpointing_gives_the_same_gradients(architecture: str, method: str) -> None:
    # Without dropout, whose noise would differ between the two runs.
    names = ["hidden_dropout_prob", "attention_probs_dropout_prob"]
    if architecture == "distilbert":
        names = ["dropout", "attention_dropout", "seq_classif_dropout"]
    model = tiny_classifier(architecture, **dict.fromkeys(names, 0.0)).train()
    adapter = random_adapter(model, method=method)
    for one in adapter.deltas.values():
        one.requires_grad_(True)
    with attach(model, adapter):
        plain = gradients(model)
        model.activation_checkpointing_enable({"use_reentrant": False})
        checkpointed = gradients(model)
    assert len(plain) == len(list(model.parameters())) + 4 * len(adapter.deltas) - unused(model)
    assert list(checkpointed) == list(plain)
    for name, gradient in plain.items():
        assert torch.equal(checkpointed[name], gradient), name


def gradients(model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    model(**tiny_batch()).loss.backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def unused(model: nn.Module) -> int:
    """Parameters that the model itself leaves out of its forward pass."""
    model.zero_grad()
    model(**tiny_batch()).loss.backward()
    return sum(parameter.grad is None for parameter in model.parameters())


def test_no_tensor_outlives_its_forward_pass() -> None:
    model = tiny_classifier()
    seen: list[ref[Tensor]] = []
    with attach(model, random_fusion(model)):
        for node in getattr(model, SUBMODULE).values():
            node.register_forward_hook(lambda _m, _i, output: seen.append(ref(output[1])))
            node.register_forward_pre_hook(lambda _m, inputs: seen.append(ref(inputs[0].entered)))
        model(**tiny_batch())
        gc.collect()
        assert [tensor() for tensor in seen] == [None] * 4


@torch.no_grad()
def penalty(fusion: Fusion) -> float:
    total = 0.0
    for layer in fusion.layers.values():
        assert layer.value is not None
        total += 0.01 * float((torch.eye(16) - layer.value.weight).square().sum())
    return total


def test_the_loss_holds_the_regulariser_in_training_and_not_in_eval() -> None:
    model = tiny_classifier(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    fusion = random_fusion(model)
    with attach(model, fusion):
        evaluated = model(**tiny_batch())
        expected = nn.functional.cross_entropy(evaluated.logits, tiny_batch()["labels"])
        assert evaluated.loss.item() == pytest.approx(expected.item(), abs=1e-7)
        model.train()
        trained = model(**tiny_batch())
        assert torch.equal(trained.logits, evaluated.logits)
        assert penalty(fusion) > 0.1
        assert trained.loss.item() == pytest.approx(expected.item() + penalty(fusion), rel=1e-6)
        trained.loss.backward()
        layer = next(iter(fusion.layers.values()))
        assert layer.value is not None
        assert layer.value.weight.grad is not None
        # Without labels there is no loss to add it to.
        assert model(**tiny_inputs()).loss is None
    assert model(**tiny_batch()).loss.item() != pytest.approx(trained.loss.item(), abs=1e-3)


def test_a_frozen_or_static_fusion_adds_nothing_to_the_loss() -> None:
    model = tiny_classifier(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    frozen, static = random_fusion(model), random_fusion(model, value=False)
    for layer in frozen.layers.values():
        layer.requires_grad_(False)
    for fusion in (frozen, static):
        with attach(model.train(), fusion):
            output = model(**tiny_batch())
            expected = nn.functional.cross_entropy(output.logits, tiny_batch()["labels"])
            assert output.loss.item() == pytest.approx(expected.item(), abs=1e-7)


def test_only_the_fusions_that_train_are_penalised() -> None:
    model = tiny_classifier(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    inner, outer = random_fusion(model), random_adapter(model, "c", seed=9)
    for layer in inner.layers.values():
        layer.requires_grad_(False)
    nested = Fusion.create(Fuse(inner, outer))
    for layer in nested.layers.values():
        randomize(layer, 3, sigma=0.1)
    with attach(model, nested):
        layers = [m for m in getattr(model, SUBMODULE).modules() if isinstance(m, FusionLayer)]
        assert len(layers) == 4
        output = model(**tiny_batch())
        expected = nn.functional.cross_entropy(output.logits, tiny_batch()["labels"])
        assert (output.loss - expected).item() == pytest.approx(penalty(nested), rel=1e-5)


def lora(model: PreTrainedModel, path: str, seed: int = 0) -> tuple[LinearSite, Delta]:
    site = LinearSite(path)
    weight = linear_at(model, site).weight
    outputs, inputs = weight.shape if type(linear_at(model, site)) is nn.Linear else weight.T.shape
    part = Part("lora", 2, "linear", 1.5, False)
    return site, delta(part, outputs, inputs=inputs, seed=seed).float()


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


def test_without_any_site_it_is_taken_out_all_the_same() -> None:
    model = tiny_model()
    before, state = run(model), snapshot(model)
    attachment = Attachment(model, {})
    assert torch.equal(run(model), before)
    attachment.detach()
    untouched(model, state, before)
    Attachment(model, {}).detach()
