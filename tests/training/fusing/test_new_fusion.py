from dataclasses import replace
from pathlib import Path

from hubkit import Fusion
from hubkit.bases.describe import describe
from hubkit.training.fusing.new_fusion import new_fusion
from tests.support.models import random_adapter, tiny_model


def test_adapters_that_do_not_say_their_architecture_are_fused_and_saved(tmp_path: Path) -> None:
    model = tiny_model()
    parts = [
        replace(random_adapter(model, name, "lora"), base=describe(model), model_type=None)
        for name in "ab"
    ]
    new_fusion(model, "both", parts, leave_out=[0]).save(tmp_path)
    loaded = Fusion.load(tmp_path, parts)
    assert (loaded.model_type, loaded.leave_out) == (model.config.model_type, (0,))
