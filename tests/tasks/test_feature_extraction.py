from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import pearsonr, spearmanr
from torch.nn.functional import cosine_similarity, cross_entropy
from transformers import AutoModel, AutoTokenizer

import hubkit
from hubkit.bases.pooling import PoolingInfo, read_pooling
from hubkit.cli import main
from hubkit.measuring.measure import evaluate
from hubkit.tasks.feature_extraction import FEATURE_EXTRACTION as TASK
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan
from hubkit.training.choosing.doubts import note_doubts
from hubkit.training.data import read_rows
from hubkit.training.train import train_adapter
from registry import Catalog
from registry.errors import DataError, UnsupportedModelError
from registry.manifest import TextInfo
from tests.support.models import base_folder, tiny_model, tokenizer
from tests.support.predicting import TEXTS
from tests.support.whole_way import job, train_all

PLAN = HeadPlan()
PAIRS = [
    ("the film was good", "a great film", 0.9),
    ("the film was good", "a dull ball", 0.1),
    ("the plot was bad", "a very dull plot", 0.8),
    ("the ball", "a ball", 1.0),
    ("the ball", "not very good", -0.2),
    ("great plot", "good plot", 0.7),
]


def rows_of(*, score: bool) -> Rows:
    columns = {"text": [p[0] for p in PAIRS], "text_pair": [p[1] for p in PAIRS]}
    return Rows("r", columns | ({"score": [p[2] for p in PAIRS]} if score else {}))


def pools(folder: Path, config: dict[str, Any], *more: str, limit: int | None = None) -> Path:
    """Let a base model pool as `config` says."""
    types = ("Transformer", "Pooling", *more)
    paths = ("", "1_Pooling", *(f"{at}_{kind}" for at, kind in enumerate(more, start=2)))
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in zip(paths, types, strict=True)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    if limit is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))
    return folder


def pooled_by_hand(hidden: torch.Tensor, kind: str) -> torch.Tensor:
    """From the vectors of one text, without padding: *shape* ``(tokens, width)``."""
    ways = {"mean": hidden.mean(0), "max": hidden.max(0).values, "cls": hidden[0]}
    return {**ways, "last": hidden[-1]}[kind]


CONFIGS = {
    "mean": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    "cls": {"pooling_mode_cls_token": True, "word_embedding_dimension": 16},
    "max": {"pooling_mode": "max", "include_prompt": True},
    "last": {"pooling_mode_lasttoken": True},
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_embeddings_are_those_of_the_backbone_pooled_as_the_base_says(
    tmp_path: Path, kind: str, side: str
) -> None:
    base = pools(base_folder(tmp_path / "base", "gpt2"), CONFIGS[kind], "Normalize")
    token = TASK.load_processor(str(base), tiny_model("gpt2"))
    token.padding_side = side
    model = TASK.load_class(str(base)).from_pretrained(base, output_loading_info=True)[0]
    TASK.prepare(token, model.eval(), PLAN, TextInfo(padding_side=side))
    rows = TASK.given(TEXTS)
    encoded = TASK.encode(token, rows, PLAN, TextInfo())
    batch = TASK.collator(token, model)([encoded.feature(at) for at in range(len(encoded))])
    assert not batch["attention_mask"].all()
    if side == "left":  # as a model that is made for that counts its tokens
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        found = TASK.run(model, batch, TASK.options())[1][0][:, 0]
        for text, vector in zip(TEXTS, found, strict=True):
            hidden = AutoModel.from_pretrained(base)(**tokenizer()(text, return_tensors="pt"))[0][0]
            expected = pooled_by_hand(hidden, kind)
            torch.testing.assert_close(vector, expected / expected.norm(), rtol=0, atol=1e-5)


def test_without_files_of_sentence_transformers_it_is_the_mean(tmp_path: Path) -> None:
    assert read_pooling(str(base_folder(tmp_path / "base"))) == PoolingInfo("mean", False, None)


def test_texts_are_cut_where_the_embeddings_were_made_to(tmp_path: Path) -> None:
    base = pools(base_folder(tmp_path / "base"), CONFIGS["mean"], limit=7)
    token = TASK.load_processor(str(base), tiny_model())
    assert token.model_max_length == 7
    assert TASK.text_info(token, tiny_model(), TextInfo(), rows_of(score=True)).max_length == 7


@pytest.mark.parametrize(
    ("config", "more", "problem"),
    [
        (CONFIGS["mean"], ["Dense"], "with a module Dense"),
        ({"pooling_mode_weightedmean_tokens": True}, [], "pools by weightedmean_tokens; hubkit"),
        ({**CONFIGS["mean"], "pooling_mode_cls_token": True}, [], "mean_tokens and cls_token"),
        ({}, [], "pools by nothing"),
        (CONFIGS["mean"], ["Pooling"], "has 2 modules for pooling"),
    ],
)
def test_what_is_not_known_of_a_base_is_refused(
    tmp_path: Path, config: dict[str, Any], more: list[str], problem: str
) -> None:
    base = pools(base_folder(tmp_path / "base"), config, *more)
    with pytest.raises(UnsupportedModelError, match=problem):
        read_pooling(str(base))


def test_the_loss_of_scores_is_the_squared_error_of_the_cosine() -> None:
    model, token = tiny_model(), tokenizer()
    TASK.prepare(token, model, PLAN, TextInfo(pooling="mean", normalize=False))
    rows = rows_of(score=True)
    encoded = TASK.encode(token, rows, PLAN, TextInfo())
    batch = TASK.collator(token, model)([encoded.feature(at) for at in range(len(rows))])
    loss, (found,) = TASK.run(model, batch, TASK.options())
    assert loss is not None
    expected = (cosine_similarity(found[:, 0], found[:, 1]) - torch.tensor(rows["score"])) ** 2
    torch.testing.assert_close(loss, expected.mean())
    alone = [model(**token(text, return_tensors="pt"))[0][0].mean(0) for text in rows["text_pair"]]
    torch.testing.assert_close(found[:, 1], torch.stack(alone), rtol=0, atol=1e-5)


def test_the_loss_of_pairs_tells_each_from_the_others_of_its_batch() -> None:
    model, token = tiny_model(), tokenizer()
    TASK.prepare(token, model, PLAN, TextInfo(pooling="mean", normalize=True))
    rows = rows_of(score=False)
    encoded = TASK.encode(token, rows, PLAN, TextInfo())
    batch = TASK.collator(token, model)([encoded.feature(at) for at in range(len(rows))])
    loss, (found,) = TASK.run(model, batch, TASK.options())
    assert loss is not None
    cosines = cosine_similarity(found[:, None, 0], found[None, :, 1], dim=-1)
    torch.testing.assert_close(loss, cross_entropy(20 * cosines, torch.arange(len(rows))))


def test_metrics_of_scores_are_those_of_scipy() -> None:
    outputs = np.random.default_rng(0).normal(size=(6, 2, 5)).astype(np.float32)
    one, other = outputs[:, 0], outputs[:, 1]
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    scores = [p[2] for p in PAIRS]
    found = TASK.metrics((outputs,), Encoded({}, range(6)), rows_of(score=True), PLAN)
    assert found == pytest.approx(
        {"pearson": pearsonr(scores, cosines)[0], "spearman": spearmanr(scores, cosines)[0]}
    )


def test_correlations_of_cosines_that_are_all_equal_are_undefined() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 2, 8)).astype(np.float32)
    equal, encoded = np.ones_like(vectors), Encoded({}, range(6))
    both = {"pearson", "spearman"}
    assert TASK.undefined((equal,), encoded, rows_of(score=True), PLAN) == both
    assert TASK.undefined((vectors,), encoded, rows_of(score=True), PLAN) == set()
    assert TASK.undefined((equal,), encoded, rows_of(score=False), PLAN) == set()


def test_metrics_of_pairs_are_the_places_of_their_own() -> None:
    first = np.eye(3)[[0, 1, 2, 0]]
    second = np.array([[1.0, 0, 0], [0, 0.5, 0.6], [0, 1.0, 0.0], [1.0, 0, 0]])
    outputs = np.stack([first, second], axis=1).astype(np.float32)
    columns = {"text": ["a", "b", "c", "d"], "text_pair": ["x", "y", "z", "x"]}
    found = TASK.metrics((outputs,), Encoded({}, range(4)), Rows("r", columns), PLAN)
    # b is nearest to z, then to its own; c is nearest to y, and as near to x as to its own.
    assert found == pytest.approx({"mrr": (1 + 1 / 2 + 1 / 3 + 1) / 4, "recall_at_1": 2 / 4})


def test_a_text_may_have_several_pairs_but_a_pair_one_score(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows, other = rows_of(score=True), rows_of(score=True).select([5])
    note_doubts(TASK, [(rows, other)])
    note_doubts(TASK, [(rows_of(score=False), rows_of(score=False).select([5]))])
    assert "different" not in caplog.text
    columns = {**other.columns, "score": [0.0]}
    note_doubts(TASK, [(rows, Rows("r", columns))])
    assert "1 text is in several rows with different score" in caplog.text


@pytest.mark.parametrize("score", [True, False])
def test_the_whole_way(catalog: Catalog, tmp_path: Path, score: bool) -> None:
    base = pools(base_folder(tmp_path / "base"), CONFIGS["cls"], "Normalize")
    rows = rows_of(score=score)
    for version in train_all(catalog, "feature-extraction", rows, base):
        manifest = catalog.manifest(version)
        assert manifest.head is None
        assert manifest.text is not None
        assert (manifest.text.pooling, manifest.text.normalize) == ("cls", True)
        model = hubkit.load(version.ref, catalog=catalog)
        found = model.predict(TEXTS)
        with torch.no_grad():
            for text, one in zip(TEXTS, found, strict=True):
                hidden = model.model(**model.processor(text, return_tensors="pt"))[0][0, 0]
                expected = (hidden / hidden.norm()).tolist()
                assert one.embedding == pytest.approx(expected, abs=1e-5)
        if version.kind in ("adapter", "fusion"):
            known = {metric.name: metric.value for metric in manifest.metrics}
            known.pop("loss")
            assert evaluate(model, rows) == pytest.approx(known, abs=1e-5)


def test_what_was_recorded_in_training_goes_before_the_files_of_the_base(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base")
    train_adapter(catalog, job("feature-extraction", rows_of(score=True)), base=str(base))
    expected = hubkit.load("a", catalog=catalog).predict(TEXTS)
    pools(base, CONFIGS["cls"], "Normalize")
    assert hubkit.load("a", catalog=catalog).predict(TEXTS) == expected


def test_similarity_is_the_cosine_of_each_with_each(catalog: Catalog, tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    train_adapter(catalog, job("feature-extraction", rows_of(score=True)), base=str(base))
    model = hubkit.load("a", catalog=catalog)
    one, other = model.predict(TEXTS), model.predict(TEXTS[:2])
    found = hubkit.similarity(one, other)
    expected = cosine_similarity(
        torch.tensor([p.embedding for p in one])[:, None],
        torch.tensor([p.embedding for p in other])[None],
        dim=-1,
    )
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert hubkit.similarity(one, []).shape == (len(TEXTS), 0)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_lora_of_peft_predicts_without_a_head(catalog: Catalog, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from hubkit.sharing.publish_folder import publish_folder

    base = base_folder(tmp_path / "base")
    config = peft.LoraConfig(task_type="FEATURE_EXTRACTION", r=2, init_lora_weights=False)
    adapted = peft.get_peft_model(AutoModel.from_pretrained(base), config).eval()
    adapted.save_pretrained(tmp_path / "lora")
    publish_folder(catalog, tmp_path / "lora", hubkit.AdapterRef.parse("lora"), task="embeddings")
    token = AutoTokenizer.from_pretrained(base)
    with torch.no_grad():
        for text, one in zip(
            TEXTS, hubkit.load("lora", catalog=catalog).predict(TEXTS), strict=True
        ):
            expected = adapted(**token(text, return_tensors="pt"))[0][0].mean(0).tolist()
            assert one.embedding == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["text,score", "a,1"], "has no column text_pair"),
        (["text,text_pair,score", "a,b,4.2"], "line 2: expected a similarity from -1 to 1"),
        (["text,text_pair,score", "a,b,1", "c,d,1"], "has the score 1 in each row"),
    ],
)
def test_rows_that_teach_nothing_are_refused(
    tmp_path: Path, lines: list[str], problem: str
) -> None:
    source = tmp_path / "r.csv"
    source.write_text("\n".join(lines))
    with pytest.raises(DataError, match=problem):
        TASK.fit_plan(read_rows(TASK, source))


def test_the_command_line_trains_and_predicts(tmp_path: Path) -> None:
    source, base = tmp_path / "r.csv", base_folder(tmp_path / "base")
    source.write_text("\n".join(["text,text_pair,score", *(f"{a},{b},{c}" for a, b, c in PAIRS)]))
    arguments = ["train", source, "--base", base, "--task-type", "feature-extraction"]
    arguments += ["--epochs", 1, "--task", "likeness", "--name", "e"]
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["predict", "e", "the film", "--json"])
    assert result.exit_code == 0, result.output
    (answer,) = json.loads(result.stdout)
    assert answer["embedding"] == list(hubkit.load("e").predict(["the film"])[0].embedding)
