from __future__ import annotations

import pytest

from hubkit.training.trunk.cut import Cut, can_be_cut
from registry.errors import NoTrunkError
from tests.support.models import ENCODER_DECODERS, tiny_model
from tests.training.trunk.conftest import carrying


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_an_encoder_with_a_decoder_is_refused_by_name(architecture: str) -> None:
    model = carrying(tiny_model(architecture))
    with pytest.raises(NoTrunkError, match=rf"\({architecture}\) has layers in two places, "):
        Cut(model)
    assert not can_be_cut(model)


@pytest.mark.parametrize("kind", ["seq_bn", "lora"])
def test_where_the_lowest_layer_is_trained_there_is_no_trunk(kind: str) -> None:
    with pytest.raises(NoTrunkError, match=r"encoder\.layer\.0, the lowest layer"):
        Cut(carrying(tiny_model(), lowest=0, kind=kind))
    with pytest.raises(NoTrunkError, match="or what is before it is trained"):
        Cut(carrying(tiny_model(), kind="seq_bn_inv"))
