from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from hubkit import attach
from hubkit.bases import fingerprint as module
from hubkit.bases.fingerprint import digest_parts, dtype_name, fingerprint, fingerprints
from tests.support.models import ARCHITECTURES, random_adapter, run, tiny_classifier, tiny_model

CLASSES = (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoModelForMaskedLM,
)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head_class_of_a_checkpoint_gives_the_same(architecture: str, tmp_path: Path) -> None:
    tiny_model(architecture).save_pretrained(tmp_path)
    bare = fingerprint(AutoModel.from_pretrained(tmp_path))
    assert len(bare) == 64
    for auto_class in CLASSES:
        assert fingerprint(auto_class.from_pretrained(tmp_path)) == bare


def test_a_checkpoint_with_a_head_gives_the_same_as_its_backbone(tmp_path: Path) -> None:
    model = tiny_classifier("bert")
    model.save_pretrained(tmp_path)
    assert fingerprint(AutoModel.from_pretrained(tmp_path)) == fingerprint(model)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_last_bit_of_any_tensor_counts(architecture: str) -> None:
    model = tiny_model(architecture)
    seen = {fingerprint(model)}
    changed = 0
    for name, parameter in model.named_parameters():
        if not name.startswith("pooler."):
            with torch.no_grad():
                flat = parameter.view(-1)
                flat[-1] = torch.nextafter(flat[-1], torch.tensor(torch.inf))
            seen.add(fingerprint(model))
            changed += 1
    assert len(seen) == changed + 1


def test_models_of_other_seeds_differ_and_of_the_same_agree() -> None:
    assert fingerprint(tiny_model(seed=1)) == fingerprint(tiny_model(seed=1))
    assert fingerprint(tiny_model(seed=1)) != fingerprint(tiny_model(seed=2))


def test_the_dtype_counts() -> None:
    zeros = tiny_model()
    with torch.no_grad():
        for parameter in zeros.parameters():
            parameter.zero_()
    before = fingerprint(zeros)
    assert fingerprint(zeros.to(torch.bfloat16)) != before


def test_a_trip_through_a_smaller_dtype_is_seen() -> None:
    model = tiny_model()
    before = fingerprint(model)
    assert fingerprint(model.half().float()) != before


def test_attached_adapters_do_not_count() -> None:
    for model in (tiny_model(), tiny_classifier()):
        before = fingerprint(model)
        with attach(model, random_adapter(model)):
            module._cache.clear()
            assert fingerprint(model) == before


def test_weights_are_read_once_as_long_as_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    reads: list[int] = []
    original = module._bytes
    monkeypatch.setattr(module, "_bytes", lambda tensor: (reads.append(1), original(tensor))[1])
    before = fingerprint(model)
    count = len(reads)
    run(model)
    assert fingerprint(model) == before
    assert len(reads) == count > 0


def test_an_optimiser_step_is_seen() -> None:
    model = tiny_model()
    before = fingerprint(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(input_ids=torch.tensor([[3, 4]]))[0].square().sum().backward()
    optimizer.step()
    assert fingerprint(model) != before


def test_replaced_and_loaded_weights_are_seen() -> None:
    model = tiny_model(seed=1)
    first = fingerprint(model)
    model.load_state_dict(tiny_model(seed=2).state_dict())
    second = fingerprint(model)
    assert second == fingerprint(tiny_model(seed=2)) != first
    model.load_state_dict(tiny_model(seed=1).state_dict(), assign=True)
    assert fingerprint(model) == first


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_gives_the_fingerprint_of_the_model_loaded_in_that_dtype(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path, dtype=dtype)
    assert fingerprints(model, (dtype,)) == (fingerprint(loaded),)
    assert fingerprints(loaded, (torch.float32,)) != (fingerprint(model),)
    assert (dtype_name(model), dtype_name(loaded)) == ("float32", str(dtype)[6:])


def test_the_parts_before_the_outputs_have_digests_whatever_the_head_class_and_dtype() -> None:
    model = tiny_classifier("bert")
    parts = digest_parts(model)
    assert parts.keys() == {"pooler", "classifier"}
    assert digest_parts(model.base_model) == {"pooler": parts["pooler"]}
    with torch.no_grad():
        model.base_model.pooler.dense.bias[0] += 1
    changed = digest_parts(model)
    assert changed["pooler"] != parts["pooler"]
    assert changed["classifier"] == parts["classifier"]
    assert digest_parts(model.to(torch.bfloat16)) == changed
