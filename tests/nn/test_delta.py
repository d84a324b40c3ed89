from __future__ import annotations

import math
import pickle
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hubkit.methods.method import DeltaForm, DeltaShape, Scaling
from hubkit.methods.sites import BlockSite, LinearSite
from hubkit.methods.table import METHODS, new_method
from hubkit.nn.delta import ACTIVATIONS, Delta, activation
from hubkit.nn.host import BaseModel
from registry.errors import AdapterError
from tests.nn.samples import Part, activated, by_hand, delta, reading
from tests.support.models import randomize, tiny_model

LORA = DeltaForm(reads="input")
BOTTLENECK = DeltaForm(reads="norm", activation="relu", down_bias=True, up_bias=True)


@pytest.mark.parametrize(
    ("type", "activation", "scaling", "reads"),
    [
        ("seq_bn", "relu", 1.0, "norm"),
        ("double_seq_bn", "swish", 1.0, "output"),
        ("par_bn", "relu", 4.0, "residual"),
    ],
)
def test_each_bottleneck_computes_its_published_formula(
    type: str, activation: str, scaling: float, reads: str
) -> None:
    method = new_method(type, BaseModel(tiny_model()), bottleneck_size=5)
    form = method.form(BlockSite("encoder.layer.0", "feed_forward"), 5)
    made = Delta(DeltaShape(12, 5, 12), form).double()
    randomize(made, seed=3)
    x = torch.randn(2, 3, 12, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    expected = scaling * (
        activated(x @ made.down.T + made.down_bias, activation) @ made.up.T + made.up_bias
    )
    torch.testing.assert_close(made(x), expected, rtol=0, atol=1e-12)
    assert made.form.reads == reads


@pytest.mark.parametrize(("rslora", "scaling"), [(False, 6 / 4), (True, 6 / 2)])
def test_lora_computes_its_published_formula(rslora: bool, scaling: float) -> None:
    host = BaseModel(tiny_model())
    method = new_method("lora", host, rank=4, alpha=6, use_rslora=rslora)
    form = method.form(LinearSite("encoder.layer.0.attention.self.query"), 4)
    made = Delta(DeltaShape(5, 4, 7), form).double()
    randomize(made, seed=3)
    assert [name for name, _ in made.named_parameters()] == ["down", "up"]
    x = torch.randn(2, 3, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    expected = scaling * torch.einsum("or,ri,bti->bto", made.up, made.down, x)
    torch.testing.assert_close(made(x), expected, rtol=0, atol=1e-12)
    assert made.form.reads == "input"


@settings(max_examples=40)
@given(
    st.sampled_from(["relu", "swish", "gelu", "tanh", "leakyrelu", "linear"]),
    st.sampled_from([1.0, -0.5, 0.0, "learned", "channel"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_every_form_computes_the_one_formula(
    activation: str, scaling: Scaling, down_bias: bool, up_bias: bool, seed: int
) -> None:
    form = DeltaForm(
        reads="input",
        activation=activation,
        down_bias=down_bias,
        up_bias=up_bias,
        scaling=scaling,
    )
    made = Delta(DeltaShape(4, 3, 8), form).double()
    randomize(made, seed)
    site = reading(8, inputs=4, seed=seed)
    torch.testing.assert_close(made(site.entered), by_hand(made, site), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("scaling", "size"), [("learned", 1), ("channel", 6)])
def test_a_learned_factor_starts_at_one_and_is_trained(scaling: Scaling, size: int) -> None:
    made = Delta(DeltaShape(4, 2, 6), replace(BOTTLENECK, scaling=scaling))
    assert isinstance(made.scale, torch.nn.Parameter)
    assert made.scale.tolist() == [1.0] * size
    constant = Delta(DeltaShape(4, 2, 6), BOTTLENECK)
    assert constant.scale == 1.0
    assert [n for n, _ in made.named_parameters()] == [
        *(n for n, _ in constant.named_parameters()),
        "scale",
    ]
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    gradient = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    randomize(made, seed=1)
    (made(x) * gradient).sum().backward()
    unscaled = (made(x) / made.scale).detach() * gradient
    expected = unscaled.sum(0) if scaling == "channel" else unscaled.sum().reshape(1)
    torch.testing.assert_close(made.scale.grad, expected, rtol=1e-4, atol=1e-6)


def test_new_weights_are_drawn_as_in_bert() -> None:
    torch.manual_seed(0)
    made = Delta(DeltaShape(256, 64, 192), BOTTLENECK)
    for weight in (made.down, made.up):
        assert weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert abs(weight.mean().item()) < 1e-3
    assert made.down_bias is not None
    assert made.up_bias is not None
    assert not made.down_bias.any()
    assert not made.up_bias.any()
    assert made.down.shape == (64, 256)
    assert made.up.shape == (192, 64)
    assert made.shape == DeltaShape(256, 64, 192)


def test_a_new_lora_adds_nothing_and_its_first_matrix_is_uniform() -> None:
    torch.manual_seed(0)
    made = Delta(DeltaShape(64, 32, 16), replace(LORA, starts_at_zero=True))
    assert not made.up.any()
    assert not made(torch.randn(3, 64)).any()
    # U(-1 / sqrt(d_in), 1 / sqrt(d_in)), as peft draws it.
    assert made.down.abs().max().item() <= 1 / math.sqrt(64)
    assert made.down.std().item() == pytest.approx(1 / math.sqrt(64) / math.sqrt(3), rel=0.05)


def mean_and_zeros(made: Delta, x: Tensor, of: Tensor) -> tuple[float, float]:
    """How much of what it drops comes back on average, and how much of it is zero."""
    dropped = made(x)
    return (dropped / of).mean().item(), (dropped == 0).double().mean().item()


def test_a_bottleneck_drops_what_it_gives_and_only_while_it_is_trained() -> None:
    form = replace(BOTTLENECK, activation="linear", dropout=0.25)
    made = Delta(DeltaShape(4, 3, 200), form).double()
    randomize(made, seed=2)
    x = torch.randn(50, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    kept = made.eval()(x).detach()
    torch.manual_seed(0)
    mean, zeros = mean_and_zeros(made.train(), x, kept)
    assert mean == pytest.approx(1.0, abs=0.03)
    assert zeros == pytest.approx(0.25, abs=0.02)
    # A frozen adapter learns nothing, so nothing of it is dropped in a model that trains.
    assert torch.equal(made.requires_grad_(False)(x), kept)


def test_lora_drops_its_input_and_only_while_it_is_trained() -> None:
    made = Delta(DeltaShape(200, 200, 200), replace(LORA, dropout=0.25)).double()
    with torch.no_grad():
        made.down.copy_(torch.eye(200))
        made.up.copy_(2 * torch.eye(200))
    x = torch.rand(50, 200, dtype=torch.double, generator=torch.Generator().manual_seed(0)) + 1
    kept = made.eval()(x).detach()
    torch.testing.assert_close(kept, 2 * x)
    torch.manual_seed(0)
    mean, zeros = mean_and_zeros(made.train(), x, kept)
    assert mean == pytest.approx(1.0, abs=0.03)
    assert zeros == pytest.approx(0.25, abs=0.02)
    assert torch.equal(made.requires_grad_(False)(x), kept)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_can_be_computed_and_has_no_weights(activation: str) -> None:
    made = Delta(DeltaShape(4, 2, 4), replace(BOTTLENECK, activation=activation))
    assert len(list(made.parameters())) == 4
    assert bool(made(torch.ones(1, 4)).isfinite().all())


def test_deltas_share_their_activation_and_so_do_their_copies() -> None:
    one, other = delta(Part(activation="gelu")), delta(Part(activation="gelu"), seed=1)
    assert one.activation is other.activation
    assert deepcopy(one).activation is one.activation
    assert pickle.loads(pickle.dumps(one)).activation is one.activation
    assert delta(Part(activation="linear")).activation is None
    assert list(one.children()) == []


@pytest.mark.parametrize("name", ["prelu", "xielu", "nothing", ""])
def test_an_unknown_activation_is_refused_with_what_is_known(name: str) -> None:
    message = rf"Unknown activation '{name}'; hubkit knows .*gelu.*, leakyrelu.*, relu"
    with pytest.raises(AdapterError, match=message):
        activation(name)
    with pytest.raises(AdapterError, match=message):
        Delta(DeltaShape(4, 2, 4), replace(BOTTLENECK, activation=name))


def test_every_method_has_a_form_that_can_be_made() -> None:
    host = BaseModel(tiny_model())
    for name in METHODS:
        method = new_method(name, host)
        for site, shape in method.shapes(host).items():
            assert Delta(shape, method.form(site, shape.rank)).shape == shape
