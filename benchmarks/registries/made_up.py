"""Adapters that nobody trained, each another: what they are called, and what is said of them."""

from __future__ import annotations

import hashlib
import random

from registry import BaseModelInfo, FileInfo, Manifest, Method, Metric

BASES = tuple(f"team/base-{number}" for number in range(20))
TASKS = tuple(f"task-{number}" for number in range(50))
LANGUAGES = ("en", "de", "fr", "es", "zh")
LICENSES = ("apache-2.0", "mit", "cc-by-4.0")
METHODS = ("seq_bn", "double_seq_bn", "par_bn", "lora")
RARE_WORD = "quetzalcoatlus"
COMMON_WORD = "benchmark"
"""In every description."""

WORDS = tuple(
    "".join(random.Random(number).choices("bcdfghklmnprstvz", k=3))
    + random.Random(-number - 1).choice("aeiou") * 2
    + str(number)
    for number in range(20_000)
)

WEIGHTS = b"weights"
SHARED = FileInfo(sha256=hashlib.sha256(WEIGHTS).hexdigest(), size=len(WEIGHTS))
"""What every file of an adapter holds."""

_METHODS = {name: Method(type=name, parameters={"bottleneck_size": 48}) for name in METHODS}
BASE_MODELS = {
    base: BaseModelInfo(
        id=base,
        architecture="BertModel",
        hidden_size=768,
        num_layers=12,
        fingerprint=hashlib.sha256(base.encode()).hexdigest(),
    )
    for base in BASES
}
_SAME = Manifest(
    kind="adapter",
    method=_METHODS[METHODS[0]],
    base_model=BASE_MODELS[BASES[0]],
    task_type="text-classification",
    labels=("negative", "positive"),
    files={"adapter.safetensors": SHARED, "adapter_config.json": SHARED},
)


def name(number: int) -> str:
    """What the adapter of that number is called."""
    return f"owner{number % 1000}/adapter-{number}"


def dataset(task: int) -> str:
    return f"data-{task}"


def make_manifest(number: int) -> Manifest:
    """Return the manifest of the adapter of that number, without checking it again."""
    chance = random.Random(number)
    task = int(chance.random() ** 2 * len(TASKS))
    base = BASES[int(chance.random() ** 2 * len(BASES))]
    words = [WORDS[int(chance.random() ** 3 * len(WORDS))] for _ in range(10)]
    if number % 200_000 == 1000:
        words.append(RARE_WORD)
    metrics = tuple(
        Metric(
            dataset=dataset(task),
            split="test",
            name=metric,
            value=round(chance.random(), 6),
            higher_is_better=metric == "accuracy",
        )
        for metric in ("accuracy", "loss")
    )
    return _SAME.model_copy(
        update={
            "method": _METHODS[chance.choice(METHODS)],
            "base_model": BASE_MODELS[base],
            "task": TASKS[task],
            "language": chance.choice(LANGUAGES),
            "license": chance.choice(LICENSES),
            "tags": (f"tag-{number % 97}", f"kind-{number % 7}"),
            "description": f"A {COMMON_WORD} adapter trained on {' '.join(words)}, {number}.",
            "metrics": metrics,
        }
    )
