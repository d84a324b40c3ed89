"""PEFT folders of language models: published, run by hubkit or through PEFT."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoTokenizer

import hubkit
from hubkit.measuring.measure import evaluate
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog
from tests.support.language import (
    DECODER,
    ENCODER_DECODER,
    SOURCES,
    TEXTS,
    language_base,
    pairs,
    texts,
)
from tests.support.models import tokenizer

# PEFT asks transformers by a name that is to go.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]

INVOKED = tokenizer()("film", add_special_tokens=False)["input_ids"]

CONFIGS = {
    "lora": lambda kind, targets: peft.LoraConfig(
        task_type=kind, r=4, target_modules=targets, init_lora_weights=False
    ),
    "dora": lambda kind, targets: peft.LoraConfig(
        task_type=kind, r=4, target_modules=targets, init_lora_weights=False, use_dora=True
    ),
    "lora_variant": lambda kind, targets: peft.LoraConfig(
        task_type=kind,
        r=4,
        target_modules=targets,
        init_lora_weights=False,
        alora_invocation_tokens=INVOKED,
    ),
    "prompt_tuning": lambda kind, targets: peft.PromptTuningConfig(
        task_type=kind, num_virtual_tokens=3
    ),
}
SKIPPED = {
    "prompt_tuning": "PEFT puts the prompt before the encoder of its own copy of the model",
    "lora_variant": "PEFT waits for the tokens that invoke an adapter in decoders alone",
}
KINDS = {
    "CAUSAL_LM": ("llama", DECODER, ["q_proj", "v_proj"], "text-generation"),
    "SEQ_2_SEQ_LM": ("t5", ENCODER_DECODER, ["q", "v"], "text2text-generation"),
}


@pytest.mark.parametrize("method", [*CONFIGS])
@pytest.mark.parametrize("kind", [*KINDS])
def test_what_peft_saved_is_published_and_writes_what_it_writes_in_peft(
    kind: str, method: str, tmp_path: Path, catalog: Catalog
) -> None:
    architecture, auto_class, targets, task_type = KINDS[kind]
    if method in SKIPPED and kind == "SEQ_2_SEQ_LM":
        pytest.skip(SKIPPED[method])
    base = language_base(tmp_path / "base", architecture, auto_class)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = peft.get_peft_model(
            auto_class.from_pretrained(base), CONFIGS[method](kind, targets)
        ).eval()
        model.save_pretrained(tmp_path / "peft")
    version = publish_folder(catalog, tmp_path / "peft", AdapterRef.parse("brought"), task="films")
    assert version.task_type == task_type
    loaded = hubkit.load("brought", catalog=catalog)
    token, expected = AutoTokenizer.from_pretrained(base), []
    for source in SOURCES:
        inputs = token(source, return_tensors="pt")
        found = model.generate(**inputs, max_new_tokens=5, do_sample=False)[0]
        written = found[inputs["input_ids"].shape[1] :] if auto_class is DECODER else found
        expected.append(token.decode(written, skip_special_tokens=True))
    answers = loaded.predict(SOURCES, max_new_tokens=5, batch_size=3)
    assert [one.generated_text for one in answers] == expected  # type: ignore[attr-defined]
    if kind == "CAUSAL_LM" and method != "prompt_tuning":  # which makes it say the first token, too
        costs, count = 0.0, 0
        for text in TEXTS:
            ids = torch.tensor([[*token(text)["input_ids"], 3]])
            with torch.no_grad():
                costs += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
        assert evaluate(loaded, texts())["loss"] == pytest.approx(costs / count, rel=1e-4)
    elif kind == "SEQ_2_SEQ_LM":
        assert set(evaluate(loaded, pairs())) == {"exact_match", "chrf"}
