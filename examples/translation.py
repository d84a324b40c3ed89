"""Translation: one frozen base model, an adapter a pair of languages, and few examples of a pair.

    python examples/translation.py --data DATA --minutes 30

DATA holds Debian's translated package descriptions (mt/debian_desc_XX, made by the Debian
Description Translation Project) and news (NTREX, CC BY-SA 4.0, mt/ntrex). No pretrained
encoder-decoder comes as a package, so a small Marian model is made of the descriptions once
(small_marian.py). It reads no mark of a language: it has learned to write any of them, and an
adapter says which. From German to French there are few examples, and a fusion draws on the adapters
for German to English and for English to French. Then the same with a decoder, SmolLM2, and LoRA.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from base_models import base_model
from small_marian import Sizes, small_marian
from story import Story, console, story_options

from hubkit.bases.load import load_for_head
from hubkit.tasks.language.translation import TRANSLATION
from hubkit.tasks.rows import Rows
from hubkit.tasks.running import outputs_of
from hubkit.tasks.task import HeadPlan
from registry.manifest import TextInfo

TASK = "translation"
PLAN = HeadPlan()
SIZES = Sizes()
PAIRS = (("en", "de"), ("de", "en"), ("en", "fr"), ("fr", "en"))
SENTENCES = 4000
FEW = 300
TEST = 300
DECODER_TRAIN, DECODER_TEST = 300, 40
Texts = dict[str, str]


@click.option("--minutes", default=30.0, show_default=True, help="Of making the base model, once.")
@click.option("--decoder/--no-decoder", default=True, help="Tell the part of SmolLM2, too.")
@story_options("translation-output")
def main(data: Path, output: Path, rows: int | None, minutes: float, decoder: bool) -> None:
    """Translate by adapters on a frozen model, with few examples by a fusion."""
    story = Story(output, rows)
    texts = {name: descriptions(data, name) for name in ("train", "validation", "test")}
    encoder_decoder(story, data, texts, minutes)
    if decoder:
        causal(story, texts)
    story.end()


def encoder_decoder(
    story: Story, data: Path, texts: dict[str, list[Texts]], minutes: float
) -> None:
    """A small Marian model, and bottleneck adapters on it."""
    console.rule("A small Marian model, made of package descriptions")
    learned = {pair: story.first(rows_of(texts["train"], pair)) for pair in PAIRS}
    base = small_marian(
        [
            pair
            for rows in learned.values()
            for pair in zip(rows["source"], rows["target"], strict=True)
        ],
        minutes,
        SIZES,
    )
    news = read(data / "mt" / "ntrex" / "test.jsonl")
    table, versions = [], {}
    how = {"base": base, "max_length": SIZES.tokens}
    for pair, rows in learned.items():
        train = story.first(rows, SENTENCES)
        validation = story.first(rows_of(texts["validation"], pair), 300)
        version = story.train("-".join(pair), TASK, train, validation, epochs=2, **how)
        versions[pair] = version.ref
        for name, test in (("descriptions", texts["test"]), ("news", news)):
            rows = story.first(rows_of(test, pair), TEST)
            found = [alone(base, rows), story.measure(version, rows)]
            table.append(line(pair, name, train, found))
    story.table(
        "chrF / BLEU of a small Marian model",
        ("from-to", "tested on", "pairs", "frozen base", "adapter"),
        table,
    )
    console.rule("From German to French, of which there are few examples")
    pair = ("de", "fr")
    few = story.first(rows_of(texts["train"], pair), FEW)
    own = story.train("de-fr", TASK, few, None, epochs=10, **how)
    donors = [versions["de", "en"], versions["en", "fr"]]
    fused = story.fuse("de-fr-fused", TASK, few, donors, epochs=10, max_length=SIZES.tokens)
    table = []
    for name, test in (("descriptions", texts["test"]), ("news", news)):
        rows = story.first(rows_of(test, pair), TEST)
        found = [alone(base, rows), story.measure(own, rows), story.measure(fused, rows)]
        table.append(line(pair, name, few, found))
    story.table(
        "chrF / BLEU with few examples, of a small Marian model",
        ("from-to", "tested on", "pairs", "frozen base", "adapter", "fusion"),
        table,
    )


def causal(story: Story, texts: dict[str, list[Texts]]) -> None:
    """SmolLM2, a decoder of English mostly, and LoRA on it."""
    console.rule("SmolLM2 with LoRA")
    base = base_model("smollm2")
    table = []
    for pair in (("de", "en"), ("fr", "en")):
        train = story.first(rows_of(texts["train"], pair), DECODER_TRAIN)
        test = story.first(rows_of(texts["test"], pair), DECODER_TEST)
        version = story.train(
            f"smollm2-{'-'.join(pair)}",
            TASK,
            train,
            None,
            base=base,
            method="lora",
            parameters={"rank": 8},
            epochs=1,
            batch_size=4,
            max_length=48,
            learning_rate=5e-4,
        )
        found = [alone(base, test), story.measure(version, test)]
        table.append(line(pair, "descriptions", train, found))
    story.table(
        "chrF / BLEU of SmolLM2-135M with LoRA",
        ("from-to", "tested on", "pairs", "frozen base", "adapter"),
        table,
    )


def descriptions(data: Path, split: str) -> list[Texts]:
    """Sentences of package descriptions, by language; one in three languages is one entry."""
    found: dict[str, Texts] = {}
    for language in ("de", "fr"):
        for one in read(data / "mt" / f"debian_desc_{language}" / f"{split}.jsonl"):
            found.setdefault(one["en"], {"en": one["en"]})[language] = one[language]
    return list(found.values())


def read(path: Path) -> list[Texts]:
    """The rows of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def rows_of(texts: list[Texts], pair: tuple[str, str]) -> Rows:
    """What has both languages of a pair."""
    source, target = pair
    there = [one for one in texts if source in one and target in one]
    return Rows(
        f"{source}-{target}",
        {"source": [one[source] for one in there], "target": [one[target] for one in there]},
    )


def alone(base: Path, rows: Rows) -> dict[str, float]:
    """The metrics of the base model without an adapter."""
    model, _ = load_for_head(str(base), TRANSLATION.load_class(str(base)))
    model.eval()
    words = TRANSLATION.load_processor(str(base), model)
    asked = TextInfo(max_length=SIZES.tokens)
    TRANSLATION.prepare(words, model, PLAN, asked)
    info = TRANSLATION.text_info(words, model, asked, rows)
    encoded = TRANSLATION.encode(words, TRANSLATION.rows_for_metrics(rows), PLAN, info)
    outputs = outputs_of(TRANSLATION, words, model, encoded, TRANSLATION.options(), 32)
    return TRANSLATION.metrics(outputs, encoded, rows, PLAN)


def line(
    pair: tuple[str, str], tested: str, train: Rows, found: list[dict[str, float]]
) -> tuple[str, ...]:
    """A line of a table."""
    numbers = [f"{one['chrf']:.1f} / {one['bleu']:.1f}" for one in found]
    return "-".join(pair), tested, f"{len(train):,}", *numbers


if __name__ == "__main__":
    main()
