"""Films for each of many people: an adapter a user on one frozen base model, trained in one run.

    python examples/recommendation.py --data DATA

DATA holds MovieLens (ml-latest-small, for research only: F. M. Harper and J. A. Konstan, *The
MovieLens Datasets*, 2015) in the folder recommendation/movielens_small: items.csv with a text for
each film, 24 users with a train, validation and test file, and population.csv with the ratings of
208 other people. All 232 get an adapter; the ratings of the others are cut in the same parts, by
chance. A user likes what they rate above their own mean. First the ratings of all users together
train one head on the frozen base model; each user's adapter and head start from there. The learning
rate is the best of three on the validation ratings of some users, before anything is tested. One
mixed batch answers for all users. The comparisons are another user's adapter, the frozen base model
with the one head for all, and how many other people liked a film. The adapters are in the last
layer alone, what is below runs once for each film, and users have few of their ratings, so that all
of it takes minutes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pandas
import torch
from base_models import base_model
from scipy.stats import rankdata
from sklearn.metrics import ndcg_score, roc_auc_score
from story import Story, console, story_options
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

import hubkit
from hubkit.predicting.many import ManyAdapters
from hubkit.tasks.table import TASK_TYPES
from hubkit.training.each.split import names_of, read_each
from hubkit.training.each.train_each import train_each
from hubkit.training.job import Job
from hubkit.training.settings import CACHE_TRUNK, Settings
from registry import AdapterRef, Catalog, open_catalog

LEARNED = 64
TESTED = 20
QUERY = "film"
"""The same for all: what is known of a user is in the adapter."""
RATES = (3e-4, 1e-3, 3e-3)
SETTINGS = Settings(
    learning_rate=RATES[0], epochs=3, batch_size=4, max_length=48, cache_trunk=CACHE_TRUNK
)
TRIED = 40
"""Users whose validation ratings choose the learning rate."""
TOGETHER = 32
BATCH = 64
ROUNDS = 10
ONE_HEAD = "no adapter: base with one head for all"
COMMON_RATE = 1e-3
COMMON_EPOCHS = 12
SEVERAL = 5
"""Other people's ratings that a film's mean is drawn to that of all films by."""


@story_options("recommendation-output")
def main(data: Path, output: Path, rows: int | None) -> None:
    """Train an adapter for each user, and compare what is recommended."""
    story = Story(output, rows)
    everything = ratings(data / "recommendation" / "movielens_small")
    train, validation, test = (
        everything[everything["split"] == split].groupby("user").head(rows or most)
        for split, most in (("train", LEARNED), ("validation", TESTED), ("test", TESTED))
    )
    plain = base_model("minilm")
    base = with_common_head(plain, story.output / "base", train, validation)
    settings = replace(SETTINGS, learning_rate=best_rate(base, train, validation))
    names = train_users(story.catalog, base, train, settings)
    refs = [str(ref) for ref in names.values()]
    test = of_users(test, names)
    many = hubkit.load_many(str(base), refs, catalog=story.catalog)
    own = {user: str(ref) for user, ref in names.items()}
    another = dict(zip(own, [*refs[1:], refs[0]], strict=True))
    popularity = liked_by_others(everything, test)
    scores = {
        "own adapter": liking(many, test, own),
        "another user's adapter": liking(many, test, another),
        ONE_HEAD: liking_of_all(base, test),
        "popularity": popularity,
    }
    scores["own adapter and popularity"] = together(test, scores["own adapter"], popularity)
    story.table(
        f"What {len(refs)} users like, on MiniLM: means over users",
        ("scored by", "AUC", "nDCG@10"),
        [
            (name, f"{mean(test, found, area):.3f}", f"{mean(test, found, gain):.3f}")
            for name, found in scores.items()
        ],
    )
    ahead = of_each(test, scores["own adapter"], area) - of_each(test, scores[ONE_HEAD], area)
    error = ahead.std() / len(ahead) ** 0.5
    console.print(
        f"Own adapters are {ahead.mean():+.3f} AUC ahead of one head for all "
        f"(standard error {error:.3f})."
    )
    costs(story, plain, many, test, own)
    story.end()


def ratings(folder: Path) -> pandas.DataFrame:
    """What all users rated: the text of each film, whether it was liked, and its part."""
    parts = [
        pandas.read_csv(folder / "users" / f"{split}.csv").assign(split=split)
        for split in ("train", "validation", "test")
    ]
    others = pandas.read_csv(folder / "population.csv").sample(frac=1, random_state=0)
    by_user = others.groupby("user")["item"]
    place = by_user.cumcount() / by_user.transform("size")
    others["split"] = np.select([place < 0.6, place < 0.75], ["train", "validation"], "test")
    found = pandas.concat([*parts, others], ignore_index=True)
    own_mean = found[found["split"] == "train"].groupby("user")["rating"].mean()
    found["liked"] = (found["rating"] > found["user"].map(own_mean)).astype(int)
    found["text"] = found["item"].map(
        pandas.read_csv(folder / "items.csv").set_index("item")["text"]
    )
    # A few films are in the catalogue twice.
    return found.drop_duplicates(["user", "text"]).assign(query=QUERY)


def best_rate(base: Path, train: pandas.DataFrame, validation: pandas.DataFrame) -> float:
    """The learning rate whose adapters fit the validation ratings of some users best."""
    users = train["user"].drop_duplicates().head(TRIED)
    found = {}
    for rate in RATES:
        with tempfile.TemporaryDirectory() as home, closing(open_catalog(Path(home))) as catalog:
            settings = replace(SETTINGS, learning_rate=rate)
            names = train_users(catalog, base, train[train["user"].isin(users)], settings)
            own = {user: str(ref) for user, ref in names.items()}
            rows = of_users(validation, names)
            many = hubkit.load_many(str(base), list(own.values()), catalog=catalog)
            found[rate] = mean(rows, liking(many, rows, own), area)
        console.print(f"  learning rate {rate:g}: AUC {found[rate]:.3f} on validation ratings")
    return max(found, key=found.__getitem__)


def of_users(ratings: pandas.DataFrame, names: Mapping[str, AdapterRef]) -> pandas.DataFrame:
    """The ratings of those who have an adapter, user by user."""
    return ratings[ratings["user"].astype(str).isin(names)].sort_values("user", kind="stable")


def train_users(
    catalog: Catalog, base: Path, train: pandas.DataFrame, settings: Settings
) -> dict[str, AdapterRef]:
    """An adapter for each user, and its name."""
    columns = {"candidates": "text", "relevance": "liked"}
    parts = read_each(TASK_TYPES["ranking"], train, "user", columns=columns)
    names = names_of(AdapterRef(None, "user"), parts)
    jobs = [
        Job(
            name=names[user],
            task="liking",
            task_type="ranking",
            data=part,
            validation=0,
            settings=settings,
            part=("user", user),
        )
        for user, part in parts.items()
    ]
    lower = range(AutoConfig.from_pretrained(base).num_hidden_layers - 1)
    started = time.monotonic()
    with console.status(f"Training {len(jobs)} adapters ..."):
        versions = train_each(
            catalog,
            jobs,
            base=str(base),
            together=TOGETHER,
            skip_unfit=True,
            leave_out=tuple(lower),
        )
    console.print(f"  {len(versions)} adapters in one run: {time.monotonic() - started:.0f} s")
    trained = {version.ref.repository for version in versions}
    return {user: ref for user, ref in names.items() if ref in trained}


def liking(many: ManyAdapters, test: pandas.DataFrame, refs: Mapping[str, str]) -> np.ndarray:
    """How well each film fits the user of its row, by the adapter that the user is given."""
    lists = test.groupby("user")["text"].agg(list)
    found = many.predict(
        [(QUERY, films) for films in lists],
        adapter=[refs[str(user)] for user in lists.index],
        batch_size=BATCH,
    )
    scores = []
    for one in found:
        in_order = np.empty(len(one.scores))  # type: ignore[attr-defined]
        in_order[list(one.indices)] = one.scores  # type: ignore[attr-defined]
        scores.append(in_order)
    return np.concatenate(scores)


def with_common_head(
    base: Path, folder: Path, train: pandas.DataFrame, validation: pandas.DataFrame
) -> Path:
    """The base model with a head that the ratings of all users have trained.

    The head is that of the model's class, pooler and all, so that adapters can start from it. Of
    its epochs, the one with the best AUC on the validation ratings is kept.
    """
    encoder, tokenizer = AutoModel.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    set_seed(SETTINGS.seed)  # the new head starts from noise
    encoder.config.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(encoder.config)
    model.base_model.load_state_dict(encoder.state_dict())
    pooler = model.base_model.pooler
    validation = validation.sort_values("user", kind="stable")
    films = pandas.Index(pandas.concat([train["text"], validation["text"]]).unique())
    states = first_states(encoder, tokenizer, list(films))
    learned = states[films.get_indexer(train["text"])]
    measured = states[films.get_indexer(validation["text"])]
    liked = torch.tensor(train["liked"].to_numpy(), dtype=torch.float32)
    trained = [*pooler.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=COMMON_RATE)
    kept: tuple[float, dict[str, torch.Tensor]] = (-1.0, {})
    for _ in range(COMMON_EPOCHS):
        for rows in torch.randperm(len(liked)).split(BATCH):
            scores = model.classifier(model.dropout(pooler(learned[rows])))[:, 0]
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(scores, liked[rows]).backward()
            optimizer.step()
        with torch.inference_mode():
            found = model.classifier(pooler(measured))[:, 0].numpy()
        if (score := mean(validation, found, area)) > kept[0]:
            kept = score, {name: x.clone() for name, x in model.state_dict().items()}
    model.load_state_dict(kept[1])
    console.print(f"  one head for all: AUC {kept[0]:.3f} on validation ratings")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def first_states(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, films: list[str]
) -> torch.Tensor:
    """What a model says of the first token of each film. *Shape:* ``(films, 1, hidden)``."""
    model.eval()
    in_order = sorted(range(len(films)), key=lambda at: len(films[at]))
    found = torch.empty(len(films), 1, model.config.hidden_size)
    for start in range(0, len(films), BATCH):
        rows = in_order[start : start + BATCH]
        with torch.no_grad():
            states = model(**read(tokenizer, [films[at] for at in rows])).last_hidden_state
        found[rows] = states[:, :1]
    return found


def read(tokenizer: PreTrainedTokenizerBase, films: list[str]) -> BatchEncoding:
    """Films as the adapters read them."""
    return tokenizer(
        [QUERY] * len(films),
        films,
        padding=True,
        truncation=True,
        max_length=SETTINGS.max_length,
        return_tensors="pt",
    )


def liking_of_all(base: Path, test: pandas.DataFrame) -> np.ndarray:
    """How well each film fits anyone, by the base model and the head that all have in common."""
    model = AutoModelForSequenceClassification.from_pretrained(base)
    films = pandas.Index(test["text"].unique())
    states = first_states(model.base_model, AutoTokenizer.from_pretrained(base), list(films))
    with torch.inference_mode():
        scores = model.eval().classifier(model.base_model.pooler(states))[:, 0].numpy()
    return np.asarray(scores[films.get_indexer(test["text"])])


def liked_by_others(everything: pandas.DataFrame, test: pandas.DataFrame) -> np.ndarray:
    """The part of other people who liked each film, drawn to the mean where few rated it."""
    whole = everything["liked"].mean()
    of = everything.groupby("item")["liked"].agg(["sum", "count"])
    # A user's own rating is in the sums, too.
    liked = test["item"].map(of["sum"]) - test["liked"]
    count = test["item"].map(of["count"]) - 1
    return ((liked + SEVERAL * whole) / (count + SEVERAL)).to_numpy()


def together(test: pandas.DataFrame, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The sum of the places that a user's films have by two scores."""
    found = np.zeros(len(test))
    for at in test.groupby("user").indices.values():
        found[at] = rankdata(one[at]) + rankdata(other[at])
    return found


def area(liked: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve."""
    return float(roc_auc_score(liked, scores))


def gain(liked: np.ndarray, scores: np.ndarray) -> float:
    """Normalised discounted cumulative gain of the first ten."""
    return float(ndcg_score(liked[None], scores[None], k=10))


def mean(
    test: pandas.DataFrame, scores: np.ndarray, measure: Callable[[np.ndarray, np.ndarray], float]
) -> float:
    """The mean over users of a measure of their films."""
    return float(of_each(test, scores, measure).mean())


def of_each(
    test: pandas.DataFrame, scores: np.ndarray, measure: Callable[[np.ndarray, np.ndarray], float]
) -> np.ndarray:
    """A measure of each user's films, where some are liked and some are not."""
    liked = test["liked"].to_numpy()
    users = [at for at in test.groupby("user").indices.values() if 0 < liked[at].mean() < 1]
    return np.array([measure(liked[at], scores[at]) for at in users])


def costs(
    story: Story, base: Path, many: ManyAdapters, test: pandas.DataFrame, refs: Mapping[str, str]
) -> None:
    """The time of a mixed batch, and of the base model and one head on the same films, in turn."""
    chosen = test.groupby("user").head(1)
    if len(chosen) < BATCH:
        chosen = test
    chosen = chosen.sample(min(BATCH, len(chosen)), random_state=0)
    films = list(chosen["text"])
    whose = [refs[str(user)] for user in chosen["user"]]
    model = AutoModel.from_pretrained(base).eval()
    head = torch.nn.Linear(model.config.hidden_size, 1)
    tokenizer = AutoTokenizer.from_pretrained(base)

    def alone() -> None:
        with torch.inference_mode():
            head(model(**read(tokenizer, films)).pooler_output)

    def mixed() -> None:
        many.predict([(QUERY, film) for film in films], adapter=whose, batch_size=BATCH)

    pairs = [(seconds(alone), seconds(mixed)) for _ in range(ROUNDS + 1)][1:]
    ratio = median(one / other for other, one in pairs)
    story.table(
        "A batch of films, each with its own user's adapter",
        ("films", "users", "base with one head, ms", "mixed batch, ms", "ratio"),
        [
            (
                str(len(films)),
                str(len(set(whose))),
                *(f"{1000 * median(times):.0f}" for times in zip(*pairs, strict=True)),
                f"{ratio:.2f}",
            )
        ],
    )


def seconds(run: Callable[[], None]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
