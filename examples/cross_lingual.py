"""Names in a language without labelled sentences: language adapters that are swapped (MAD-X).

    python examples/cross_lingual.py --data DATA

A language adapter with an invertible part learns each language from plain sentences. An adapter for
names learns over the English one. Then the English one is swapped for that of the other language
(Pfeiffer et al. 2020, arXiv 2005.00052). DATA holds plain sentences (crosslingual/mono) and WikiANN
(ner/wikiann_XX).

The base model, multilingual-e5 cut to the words of English and Portuguese, comes without an output
layer for words. Its first part is trained once, on both languages, and frozen with the rest; its
second part is the embeddings.
"""

from __future__ import annotations

from pathlib import Path

from base_models import base_model
from story import Story, console, story_options
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
    set_seed,
)

from hubkit.composing.combine import publish_stack
from hubkit.tasks.rows import Rows
from registry import AdapterRef, Version

TASK = "token-classification"
SENTENCES = 1500
PLAIN = 2000


@story_options("languages-output")
def main(data: Path, output: Path, rows: int | None) -> None:
    """From English names to Portuguese ones."""
    story = Story(output, rows)
    console.rule("Language adapters")
    plain = {language: sentences(story, data, language) for language in ("en", "pt")}
    base = with_words(story, base_model("me5-enpt"), [*plain["en"]["text"], *plain["pt"]["text"]])
    languages = {
        language: story.train(
            f"language-{language}",
            "fill-mask",
            rows,
            None,
            base=base,
            method="seq_bn_inv",
            parameters={"reduction_factor": 2},
            epochs=1,
            max_length=64,
            learning_rate=5e-4,
        )
        for language, rows in plain.items()
    }
    console.rule("Names")
    english = data / "ner" / "wikiann_en"
    train = story.read(TASK, english / "train.conll", SENTENCES)
    validation = story.read(TASK, english / "validation.conll")
    how = {"base": base, "epochs": 4, "max_length": 64}
    without = story.train("names", TASK, train, validation, **how)
    over = story.train("names-over-en", TASK, train, validation, over=languages["en"].ref, **how)
    table = []
    for target in ("en", "pt"):
        test = story.read(TASK, data / "ner" / f"wikiann_{target}" / "test.conll")
        found = [story.measure(without, test)["f1"]]
        for language in ("en", "pt"):
            found.append(story.measure(stacked(story, languages[language], over), test)["f1"])
        table.append((f"WikiANN {target}", *(f"{value:.3f}" for value in found)))
    story.table(
        "F1 of whole entities; names were learned in English only",
        ("tested on", "no language adapter", "English adapter", "Portuguese adapter"),
        table,
    )
    story.end()


def sentences(story: Story, data: Path, language: str) -> Rows:
    """Plain sentences of a language."""
    path = data / "crosslingual" / "mono" / f"wikiann_{language}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    return story.first(Rows(path.name, {"text": [line for line in lines if line.strip()]}), PLAIN)


def stacked(story: Story, language: Version, names: Version) -> Version:
    """The adapter for names over that of a language, published."""
    name = AdapterRef.parse(f"{names.ref.name}-in-{language.ref.name}")
    return publish_stack(story.catalog, name, [language.ref, names.ref])


def with_words(story: Story, base: Path, texts: list[str]) -> Path:
    """The base model with an output layer for words, of which the first part is trained."""
    folder = story.output / f"{base.name}-words"
    encoder = AutoModel.from_pretrained(base)
    set_seed(42)  # the new layer starts from noise
    model = AutoModelForMaskedLM.from_config(encoder.config)
    model.base_model.load_state_dict(encoder.state_dict(), strict=False)  # it has no pooler
    tokenizer = AutoTokenizer.from_pretrained(base)
    for parameter in model.base_model.parameters():
        parameter.requires_grad_(False)
    encoded = tokenizer(texts, truncation=True, max_length=64, return_special_tokens_mask=True)
    rows = [
        {name: encoded[name][index] for name in ("input_ids", "special_tokens_mask")}
        for index in range(len(texts))
    ]
    with console.status("Training the output layer for words ..."):
        Trainer(
            model=model,
            args=TrainingArguments(
                str(story.output / "words"),
                num_train_epochs=1,
                per_device_train_batch_size=16,
                learning_rate=1e-3,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=rows,  # type: ignore[arg-type]
            data_collator=DataCollatorForLanguageModeling(tokenizer, seed=42),
        ).train()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
