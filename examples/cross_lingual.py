"""Names in a language without labelled sentences: language adapters that are swapped (MAD-X).

    python examples/cross_lingual.py --data DATA

A language adapter with an invertible part learns each language from plain sentences. An adapter for
names learns over the English one. Then the English one is swapped for that of the other language
(Pfeiffer et al. 2020, arXiv 2005.00052). DATA holds plain sentences (crosslingual/mono) and WikiANN
(ner/wikiann_XX).

The other language is Portuguese, on multilingual-e5 with the words of English and Portuguese, and
German, on multilingual-e5. Of each vocabulary, the pieces of words are kept that the data has: with
all 250,000 the output layer would take hours. The base model comes without an output layer for
words. Its first part is trained once, on both languages, and frozen with the rest; its second part
is the embeddings. Nothing is dropped out.
"""

from __future__ import annotations

import json
from pathlib import Path

from base_models import base_model
from story import NO_DROPOUT, Story, console, story_options
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
VALIDATION = 300
TEST = 1000
PLAIN = 2000
WORDS = 1000


@story_options("languages-output")
def main(data: Path, output: Path, rows: int | None) -> None:
    """From English names to Portuguese and to German ones."""
    story = Story(output, rows)
    for name, target in (("me5-enpt", "pt"), ("me5", "de")):
        swap(story, data, name, target)
    story.end()


def swap(story: Story, data: Path, name: str, target: str) -> None:
    """Learn names in English, and find them in another language."""
    console.rule(f"From en to {target}: language adapters")
    plain = {language: sentences(story, data, language) for language in ("en", target)}
    texts = [text for rows in plain.values() for text in rows["text"]]
    names = {
        language: story.read(TASK, data / "ner" / f"wikiann_{language}" / "test.conll", TEST)
        for language in ("en", target)
    }
    english = data / "ner" / "wikiann_en"
    train = story.read(TASK, english / "train.conll", SENTENCES)
    validation = story.read(TASK, english / "validation.conll", VALIDATION)
    base = base_model(name)
    words = [
        " ".join(row) for part in (train, validation, *names.values()) for row in part["tokens"]
    ]
    base = cut(base, story.output / f"{name}-en-{target}", [*texts, *words])
    few = [text for rows in plain.values() for text in rows["text"][:WORDS]]
    base = with_words(story, base, few)
    languages = {
        language: story.train(
            f"{language}-for-{target}",
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
    console.rule(f"From en to {target}: names")
    how = {"base": base, "epochs": 4, "max_length": 64}
    without = story.train(f"names-for-{target}", TASK, train, validation, **how)
    over = story.train(
        f"names-over-en-for-{target}", TASK, train, validation, over=languages["en"].ref, **how
    )
    table = []
    for tested, test in names.items():
        found = [story.measure(without, test)["f1"]]
        for language in plain:
            found.append(story.measure(stacked(story, languages[language], over), test)["f1"])
        table.append((f"WikiANN {tested}", *(f"{value:.3f}" for value in found)))
    story.table(
        "F1 of whole entities; names were learned in English only",
        ("tested on", "no language adapter", "en adapter", f"{target} adapter"),
        table,
    )


def sentences(story: Story, data: Path, language: str) -> Rows:
    """Plain sentences of a language."""
    path = data / "crosslingual" / "mono" / f"wikiann_{language}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    return story.first(Rows(path.name, {"text": [line for line in lines if line.strip()]}), PLAIN)


def stacked(story: Story, language: Version, names: Version) -> Version:
    """The adapter for names over that of a language, published."""
    name = AdapterRef.parse(f"{names.ref.name}-in-{language.ref.name}")
    return publish_stack(story.catalog, name, [language.ref, names.ref])


def cut(base: Path, folder: Path, texts: list[str]) -> Path:
    """The base model with those words of its vocabulary alone that the texts have, and no dropout.

    The tokenizer is a unigram model: it splits the texts as before, since the best split of a text
    is still there.
    """
    tokenizer = AutoTokenizer.from_pretrained(base)
    used = {number for ids in tokenizer(texts)["input_ids"] for number in ids}
    kept = sorted(used | set(tokenizer.all_special_ids))
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules["model"]["vocab"] = [rules["model"]["vocab"][number] for number in kept]
    new = {number: index for index, number in enumerate(kept)}
    rules["model"]["unk_id"] = new[rules["model"]["unk_id"]]
    for token in rules["added_tokens"]:
        token["id"] = new[token["id"]]
    for token in rules["post_processor"]["special_tokens"].values():
        token["ids"] = [new[number] for number in token["ids"]]
    model = AutoModel.from_pretrained(base, **NO_DROPOUT)
    embeddings = model.get_input_embeddings().weight.detach()[kept]
    model.resize_token_embeddings(len(kept))
    model.get_input_embeddings().weight.data.copy_(embeddings)
    model.config.pad_token_id = new[tokenizer.pad_token_id]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(rules), encoding="utf-8")
    return folder


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
