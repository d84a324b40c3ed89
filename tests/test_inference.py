from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from torch import nn

import hubkit
from hubkit import AdaptedModel, Stack, attach
from hubkit.adapters.fusion import Fusion
from hubkit.composing.combine import publish_stack
from hubkit.models.attach import attached_to
from hubkit.nn.hooks import SUBMODULE
from registry import AdapterRef, Catalog
from registry.errors import (
    BaseModelMismatchError,
    BaseModelNotFoundError,
    CompositionError,
    CorruptBlobError,
    DataError,
    RefNotFoundError,
)
from tests.support.asking import counting_questions
from tests.support.data import TEXTS
from tests.support.models import base_folder

pytest_plugins = ("tests.support.published",)


@pytest.fixture
def catalog(trained_catalog: Catalog) -> Catalog:
    """Holds the adapters a and b, and their fusion."""
    return trained_catalog


MANY = [f"{text} {'very ' * (row % 7)}{word}" for row, (text, word) in enumerate(
    (text, word) for text in TEXTS for word in ("film", "bad", "good", "plot")
)]  # fmt: skip


@pytest.mark.parametrize("name", ["a", "b", "both"])
def test_predictions_are_the_softmax_of_the_logits_of_the_model(
    name: str, catalog: Catalog
) -> None:
    model = hubkit.load(name, catalog=catalog)
    for text, prediction in zip(TEXTS, model.predict(TEXTS), strict=True):
        with torch.no_grad():
            logits = model.model(**model.processor([text], return_tensors="pt")).logits[0]
        expected = dict(zip(model.labels, nn.functional.softmax(logits, -1).tolist(), strict=True))
        assert prediction.scores == pytest.approx(expected, abs=1e-6)
        assert sum(prediction.scores.values()) == pytest.approx(1.0, abs=1e-6)
        assert prediction.label == max(expected, key=lambda label: expected[label])
        assert prediction.score == max(prediction.scores.values())


def test_the_order_of_the_texts_is_kept_whatever_the_batch_size(catalog: Catalog) -> None:
    model = hubkit.load("both", catalog=catalog)
    expected = torch.cat([model.logits([text]) for text in MANY])
    assert expected.std(0).min().item() > 1e-3
    for batch_size in (1, 3, 16, 100):
        found = model.logits(MANY, batch_size=batch_size)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    backwards = model.logits(MANY[::-1], batch_size=5)
    torch.testing.assert_close(backwards.flip(0), expected, rtol=0, atol=1e-5)


def test_a_name_is_resolved_once_and_each_manifest_read_once(catalog: Catalog) -> None:
    both = catalog.resolve(AdapterRef.parse("both"))
    digests = [version.manifest_digest for version in (both, *catalog.parents(both))]
    with counting_questions() as asked:
        hubkit.load("both", catalog=catalog)
    assert asked.names == {"both": 1}
    assert asked.digests == dict.fromkeys(digests, 1)


def test_a_loaded_model_is_frozen_and_in_eval_mode(catalog: Catalog) -> None:
    model = hubkit.load("both", catalog=catalog).model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_texts_are_cut_off_where_training_cut_them(catalog: Catalog) -> None:
    model = hubkit.load("a", catalog=catalog)
    # With [CLS] and [SEP], 14 words make the 16 tokens of training.
    long = " ".join(["good"] * 14)
    assert torch.equal(model.logits([long]), model.logits([f"{long} {'bad ' * 30}"]))
    assert not torch.equal(model.logits([long]), model.logits([f"bad {long}"]))


def retold(catalog: Catalog, folder: Path, **told: Any) -> str:
    """The base model with other words in its tokenizer's configuration."""
    base = catalog.manifest(catalog.resolve(AdapterRef.parse("a"))).base_model.id
    shutil.copytree(base, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))
    return str(folder)


def test_a_tokenizer_that_speaks_of_another_length_cuts_where_training_cut(
    catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = hubkit.load("a", catalog=catalog).logits(MANY)
    for most in (8, 10**9):
        base = retold(catalog, tmp_path / str(most), model_max_length=most)
        model = hubkit.load("a", catalog=catalog, base=base)
        torch.testing.assert_close(model.logits(MANY), expected, rtol=0, atol=1e-6)
        long = [f"{'very ' * 50}good", "good"]
        caplog.clear()
        model.predict(long)
        assert "1 of 2 rows are longer than the 16 tokens" in caplog.text
        caplog.clear()
        model.predict(long, max_length=10**9)  # the model ends before
        takes = 16 if most == 8 else 40
        assert f"1 of 2 rows are longer than the {takes} tokens" in caplog.text


def test_a_row_has_one_answer_whatever_the_tokenizer_says_of_padding(
    catalog: Catalog, tmp_path: Path
) -> None:
    expected = hubkit.load("a", catalog=catalog).logits(MANY)
    base = retold(catalog, tmp_path / "base", model_input_names=["input_ids"])
    model = hubkit.load("a", catalog=catalog, base=base)
    for batch_size in (1, 5, 100):
        found = model.logits(MANY, batch_size=batch_size)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_no_texts_have_no_predictions(catalog: Catalog) -> None:
    assert hubkit.load("a", catalog=catalog).predict([]) == []


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "Expected an iterable of texts, found a str"),
        (pandas.DataFrame({"text": ["good"]}), "Expected an iterable of texts, found a DataFrame"),
        (["x", 3], "Row 2 has 3 (int) as its text"),
        (["x", "\ud800"], "expected Unicode text"),
    ],
)
def test_what_is_not_text_is_refused(texts: list[str], message: str, catalog: Catalog) -> None:
    model = hubkit.load("a", catalog=catalog)
    with pytest.raises(DataError) as caught:
        model.predict(texts)
    assert message in str(caught.value)


@pytest.mark.parametrize("most", [0, -1])
def test_a_length_that_leaves_no_token_is_refused(most: int, catalog: Catalog) -> None:
    with pytest.raises(DataError, match=f"max_length must be at least 1, not {most}"):
        hubkit.load("a", catalog=catalog).predict(["good"], max_length=most)


def test_a_stack_predicts_with_the_head_of_its_last_adapter(catalog: Catalog) -> None:
    a, b = (AdapterRef.parse(name) for name in ("a", "b"))
    publish_stack(catalog, AdapterRef.parse("a-b"), [a, b])
    stacked, last = hubkit.load("a-b", catalog=catalog), hubkit.load("b", catalog=catalog)
    assert stacked.manifest.kind == "stack"
    for name in ("classifier.weight", "classifier.bias"):
        assert torch.equal(stacked.model.get_parameter(name), last.model.get_parameter(name))
    composition = stacked.composition
    assert isinstance(composition, Stack)
    assert attached_to(stacked.model) is composition
    # By hand: b's model, with both adapters in place of its own.
    for module in last.model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    delattr(last.model, SUBMODULE)
    delattr(last.model.base_model, "_hubkit_carries")
    with attach(last.model, composition):
        assert torch.equal(last.logits(TEXTS), stacked.logits(TEXTS))
    assert not torch.allclose(
        stacked.logits(TEXTS), hubkit.load("b", catalog=catalog).logits(TEXTS), atol=1e-6
    )


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(content))


def test_a_corrupt_byte_is_noticed(catalog: Catalog) -> None:
    manifest = catalog.manifest(catalog.resolve(AdapterRef.parse("a")))
    shutil.rmtree(catalog.home / "cache")
    flip_last_bit(catalog.blobs.path(manifest.files["adapter.safetensors"].sha256))
    for name in ("a", "both"):  # directly, and through the parents of a fusion
        with pytest.raises(CorruptBlobError, match=r"adapter\.safetensors"):
            hubkit.load(name, catalog=catalog)
    hubkit.load("b", catalog=catalog)


def test_a_corrupt_copy_in_the_cache_is_written_again(catalog: Catalog) -> None:
    before = hubkit.load("a", catalog=catalog).logits(TEXTS)
    folder = catalog.folder(catalog.resolve(AdapterRef.parse("a")))
    good = (folder / "adapter.safetensors").read_bytes()
    flip_last_bit(folder / "adapter.safetensors")
    assert torch.equal(hubkit.load("a", catalog=catalog).logits(TEXTS), before)
    assert (folder / "adapter.safetensors").read_bytes() == good


def test_another_base_model_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    other = base_folder(tmp_path / "other", seed=1)
    for name in ("a", "both"):
        with pytest.raises(BaseModelMismatchError) as caught:
            hubkit.load(name, base=str(other), catalog=catalog)
        assert f"{name}@1 was trained on" in str(caught.value)
        assert str(other) in str(caught.value)


def test_the_same_base_model_somewhere_else_is_taken(
    catalog: Catalog, base: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(base, tmp_path / "copy")
    here = hubkit.load("a", catalog=catalog).logits(TEXTS)
    there = hubkit.load("a", base=str(copy), catalog=catalog).logits(TEXTS)
    assert torch.equal(here, there)


@pytest.mark.parametrize("base_name", ["missing/base", "empty"])
def test_a_base_model_that_is_not_there_is_named(
    base_name: str, catalog: Catalog, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    where = str(tmp_path / "empty") if base_name == "empty" else base_name
    with pytest.raises(BaseModelNotFoundError) as caught:
        hubkit.load("a", base=where, catalog=catalog)
    assert repr(where) in str(caught.value)


def test_an_adapter_that_is_not_there_is_named(catalog: Catalog) -> None:
    with pytest.raises(RefNotFoundError, match="nobody"):
        hubkit.load("nobody", catalog=catalog)


def manual_attention(model: AdaptedModel, texts: list[str]) -> dict[str, dict[str, float]]:
    """Text by text, so that nothing is padded."""
    fusion = model.composition
    assert isinstance(fusion, Fusion)
    found: dict[str, list[torch.Tensor]] = {str(site): [] for site in fusion.layers}
    hooks = [
        layer.register_forward_hook(
            lambda _m, _i, fused, key=str(site): found[key].append(fused.attention[0])
        )
        for site, layer in fusion.layers.items()
    ]
    model.logits(texts, batch_size=1)
    for hook in hooks:
        hook.remove()
    means = {site: torch.cat(weights).double().mean(0) for site, weights in found.items()}
    # a is a seq_bn adapter, with nothing after attention.
    return {
        site: dict(zip(["b"] if site.endswith("attention") else ["a", "b"], mean, strict=True))
        for site, mean in means.items()
    }


def test_attention_is_a_mean_over_tokens_but_padding(catalog: Catalog) -> None:
    model = hubkit.load("both", catalog=catalog)
    expected = manual_attention(model, MANY)
    for batch_size in (1, 4, 100):
        found = model.attention(MANY, batch_size=batch_size)
        assert set(found) == set(expected)
        assert len(found) == 4
        for site, weights in found.items():
            assert sum(weights.values()) == pytest.approx(1.0, abs=1e-6)
            assert weights == pytest.approx(
                {name: float(weight) for name, weight in expected[site].items()}, abs=1e-6
            )


def test_attention_leaves_no_hooks_behind(catalog: Catalog) -> None:
    model = hubkit.load("both", catalog=catalog)
    before = sum(len(module._forward_hooks) for module in model.model.modules())
    model.attention(TEXTS)
    assert sum(len(module._forward_hooks) for module in model.model.modules()) == before


def test_only_a_fusion_pays_attention(catalog: Catalog) -> None:
    with pytest.raises(CompositionError, match="a@1 is of the kind 'adapter'"):
        hubkit.load("a", catalog=catalog).attention(TEXTS)


def test_pairs_for_an_adapter_of_single_texts_are_refused(catalog: Catalog) -> None:
    model = hubkit.load("a", catalog=catalog)
    with pytest.raises(DataError, match="trained on single texts"):
        model.predict([("good", "bad")])
