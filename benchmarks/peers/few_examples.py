"""The library ``adapters`` on few examples: a line of JSON for each that it reads.

Its recipe is that of its notebooks: pretrained adapters without their heads, a new fusion over
them, a new classification head, ``AdapterTrainer``. Its notebooks train a fusion at a rate of 5e-5
and an adapter at 1e-4, for much more data; it is measured at hubkit's rates, too.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from typing import Any

import numpy as np
import torch
from adapters import AdapterTrainer, AutoAdapterModel  # type: ignore[import-not-found]
from adapters.composition import Fuse  # type: ignore[import-not-found]
from transformers import AutoTokenizer, DataCollatorWithPadding, TrainingArguments, set_seed

from benchmarks.support.few import MAX_LENGTH, Few

RATES = {"fusion": (5e-5, 5e-4), "single": (1e-4, 1e-3)}
"""Of its notebooks, and of hubkit."""
BATCH_SIZES = {"fusion": 32, "single": 16}


def scores(few: Few) -> dict[str, float]:
    """The accuracy on all rows that are tested, by what was trained, and at which rate."""
    return {f"{kind}, {rate:g}": _score(few, kind, rate) for kind in RATES for rate in RATES[kind]}


def _score(few: Few, kind: str, rate: float) -> float:
    (texts, labels), (asked, right) = few.drawn(), few.tested()
    names = sorted(set(labels))
    set_seed(few.seed)
    tokenizer = AutoTokenizer.from_pretrained(few.base)
    model: Any = AutoAdapterModel.from_pretrained(few.base)
    if kind == "fusion":
        for name, folder in few.donors.items():
            model.load_adapter(folder, load_as=name, with_head=False, use_safetensors=True)
        trained = Fuse(*few.donors)
        model.add_adapter_fusion(trained)
        model.set_active_adapters(trained)
    else:
        trained = "target"
        model.add_adapter(trained, config="seq_bn")
    model.add_classification_head("target", num_labels=len(names))
    (model.train_adapter_fusion if kind == "fusion" else model.train_adapter)(trained)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = AdapterTrainer(
            model=model,
            args=TrainingArguments(
                scratch,
                learning_rate=rate,
                num_train_epochs=few.epochs,
                per_device_train_batch_size=BATCH_SIZES[kind],
                per_device_eval_batch_size=128,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=few.device == "cpu",
                remove_unused_columns=False,
                seed=few.seed,
            ),
            train_dataset=_encoded(tokenizer, texts, [names.index(one) for one in labels]),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
        found = trainer.predict(_encoded(tokenizer, asked, [names.index(one) for one in right]))
    answers = np.asarray(found.predictions).argmax(-1)
    return float((answers == found.label_ids).mean())


def _encoded(tokenizer: Any, texts: list[str], labels: list[int]) -> list[dict[str, Any]]:
    read = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label}
        for ids, label in zip(read, labels, strict=True)
    ]


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(int(sys.argv[1]))
    answers, sys.stdout = sys.stdout, sys.stderr  # Libraries print.
    for line in sys.stdin:
        print(json.dumps(scores(Few(**json.loads(line)))), file=answers, flush=True)
