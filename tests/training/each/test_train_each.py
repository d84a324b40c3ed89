from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hubkit
from hubkit.predicting.many import load_many
from hubkit.tasks.rows import Rows
from hubkit.training.each import train_each as module
from hubkit.training.each.train_each import train_each
from hubkit.training.each.training import EachTraining
from hubkit.training.job import Job
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.errors import DivergedError, HubkitError, UnfitRowsError
from registry.search.search import search
from tests.support.data import TEXTS, LabelledText, job, labelled_text
from tests.support.language import DECODER, ENCODER, language_base, pairs
from tests.support.whole_way import job as task_job

pytest_plugins = ("tests.support.published",)


def jobs(*rows: int, **settings: Any) -> list[Job]:
    """Jobs with so many rows each, and rows of other lengths."""
    found = []
    for number, count in enumerate(rows):
        data = labelled_text(count + number)
        part = data.select(range(number, count + number))
        found.append(replace(job(f"u-{number}", **settings), data=part, part=("user", str(number))))
    return found


def tensors(catalog: Catalog, ref: str) -> dict[str, torch.Tensor]:
    folder = catalog.folder(catalog.resolve(AdapterRef.parse(ref)))
    return {
        f"{path.name}:{name}": tensor
        for path in folder.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def assert_equal_alone_and_together(
    home: Path, base: Path, those: list[Job], together: int = 8, **how: Any
) -> None:
    each, alone = open_catalog(home / "each"), open_catalog(home / "alone")
    versions = train_each(each, those, base=str(base), together=together, **how)
    assert [str(version.ref.repository) for version in versions] == [str(one.name) for one in those]
    for one, version in zip(those, versions, strict=True):
        single = train_adapter(alone, one, base=str(base), **how)
        own, other = tensors(each, str(one.name)), tensors(alone, str(one.name))
        assert own.keys() == other.keys()
        for name, tensor in own.items():
            # Adam makes more of a difference in rounding where gradients are small.
            torch.testing.assert_close(tensor, other[name], atol=1e-4, rtol=0, msg=name)
        assert [m.name for m in version.metrics] == [m.name for m in single.metrics]
        for mine, its in zip(version.metrics, single.metrics, strict=True):
            assert mine.dataset == its.dataset
            assert mine.value == pytest.approx(its.value, abs=1e-4)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("double_seq_bn", {"leave_out": (0,)}),
        pytest.param("par_bn", {}, marks=pytest.mark.torture),
        ("seq_bn_inv", {"dropout": 0.2}),
        ("lora", {"rank": 2, "dropout": 0.2}),
    ],
)
def test_an_adapter_learns_beside_others_what_it_learns_alone(
    tmp_path: Path, base: Path, method: str, parameters: dict[str, Any]
) -> None:
    assert_equal_alone_and_together(tmp_path, base, jobs(24, 13), method=method, **parameters)


def test_settings_labels_and_the_time_to_stop_are_each_adapters_own(
    tmp_path: Path, base: Path
) -> None:
    common: dict[str, Any] = {
        **{"gradient_accumulation": 2, "batch_size": 4, "class_weights": "balanced"},
        **{"weight_decay": 0.1, "warmup": 2, "schedule": "cosine", "learning_rate": 0.05},
    }
    first, second, third, last = jobs(24, 21, 30, 17, **{**common, "epochs": 6, "patience": 1})
    second = replace(second, settings=replace(second.settings, epochs=1, seed=7), validation=0)
    first = replace(first, settings=replace(first.settings, learning_rate=(1e-3, 0.05), steps=5))
    last = replace(
        last, settings=replace(last.settings, learning_rate=(0.05, 1e-3)), validation=0.2
    )
    data = third.data
    named = LabelledText(data.name, data["text"], [label[:3] for label in data["label"]])
    third = replace(third, data=named)
    assert_equal_alone_and_together(tmp_path, base, [first, second, third, last])


def test_what_lies_below_all_of_them_is_computed_once_for_each_row(
    tmp_path: Path, base: Path
) -> None:
    those = jobs(24, 13, cache_trunk=10**9)
    assert_equal_alone_and_together(tmp_path, base, those, leave_out=(0,))


def test_an_outlet_that_the_base_lacks_is_each_adapters_own(tmp_path: Path) -> None:
    base = language_base(tmp_path / "base", "bert", ENCODER)  # has no pooler
    assert_equal_alone_and_together(tmp_path, base, jobs(16, 13))


def test_adapters_can_be_trained_over_another(trained_catalog: Catalog, base: Path) -> None:
    below = AdapterRef.parse("a")
    (version, _) = train_each(trained_catalog, jobs(16, 13), base=str(base), over=below)
    own = tensors(trained_catalog, "u-0")
    train_adapter(trained_catalog, jobs(16)[0], base=str(base), over=below)
    other = tensors(trained_catalog, "u-0")
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, other[name], atol=2e-5, rtol=0, msg=name)
    training = trained_catalog.manifest(version).training
    assert training is not None
    assert training.arguments["over"]["ref"] == "a@1"


RANKED = {
    "query": ["film", "plot"],
    "candidates": [["good film", "bad film", "a great ball"], ["dull plot", "the plot"]],
    "relevance": [[1.0, 0.0, 1.0], [0.0, 1.0]],
}
TAGGED = {
    "tokens": [["the", "good", "film"], ["a", "ball"], ["very", "dull"], ["a", "bad", "plot"]],
    "tags": [["O", "O", "B-x"], ["O", "B-x"], ["O", "O"], ["O", "O", "B-x"]],
}


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("ranking", RANKED),
        ("token-classification", TAGGED),
        ("text-regression", {"text": TEXTS, "score": [1.0, 2.0, 0.5, 3.0]}),
        ("fill-mask", {"text": TEXTS}),
    ],
)
def test_task_types_of_one_pass_can_be_trained_together(
    tmp_path: Path, task: str, columns: dict[str, list[Any]]
) -> None:
    base = language_base(tmp_path / "base", "bert", ENCODER)
    rows = Rows("rows.csv", columns)
    two = [rows, rows.select(range(len(rows))[::-1])]
    those = [task_job(task, part, f"u-{number}") for number, part in enumerate(two)]
    assert_equal_alone_and_together(tmp_path, base, those)


def test_a_decoder_writes_as_it_learned_alone(tmp_path: Path) -> None:
    base = language_base(tmp_path / "base", "gpt2", DECODER)
    rows = Rows("rows.csv", {"text": TEXTS})
    two = [rows, rows.select([3, 1, 2])]
    those = [task_job("text-generation", part, f"u-{i}") for i, part in enumerate(two)]
    assert_equal_alone_and_together(tmp_path, base, those)


def test_what_is_published_says_where_it_comes_from(empty_catalog: Catalog, base: Path) -> None:
    versions = train_each(empty_catalog, jobs(16, 13), base=str(base))
    for number, version in enumerate(versions):
        manifest = empty_catalog.manifest(version)
        training = manifest.training
        assert training is not None
        assert training.arguments["each"] == {"column": "user", "value": str(number)}
        assert training.arguments["batch_size"] == 8
        assert manifest.parents == ()
        assert len(manifest.metrics) == 4
    digests = [empty_catalog.manifest(one).training.data_sha256 for one in versions]  # type: ignore[union-attr]
    assert digests[0] != digests[1]
    (answer,) = load_many(str(base), ["u-1"], catalog=empty_catalog).predict(["good"], ["u-1"])
    assert answer == hubkit.load("u-1", catalog=empty_catalog).predict(["good"])[0]


def test_a_run_that_broke_off_goes_on_with_what_had_not_ended(
    empty_catalog: Catalog, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, count = empty_catalog.publish, 0

    def broken(*arguments: Any, **named: Any) -> Version:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return publish(*arguments, **named)

    those = jobs(16, 13, 20)
    monkeypatch.setattr(empty_catalog, "publish", broken)
    with pytest.raises(KeyboardInterrupt):
        train_each(empty_catalog, those, base=str(base), together=1)
    begun: list[EachTraining] = []

    class Noted(EachTraining):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            begun.append(self)

    monkeypatch.setattr(module, "EachTraining", Noted)
    versions = train_each(empty_catalog, those, base=str(base), together=1)
    assert [str(version.ref) for version in versions] == ["u-0@1", "u-1@1", "u-2@1"]
    assert len(begun) == 1, "only the third had not ended"
    assert not [*(empty_catalog.home / "runs").glob("*/")]


def test_rows_that_cannot_be_trained_on_are_named_before_anything_is_trained(
    empty_catalog: Catalog, base: Path
) -> None:
    good, small, single = jobs(16, 1, 16)
    words = single.data["text"]
    single = replace(single, data=LabelledText("f.csv", words, ["good"] * len(words)))
    where = without_validation(good)
    with pytest.raises(
        UnfitRowsError, match=r"^3 of 4 adapters cannot be trained: u-1 \(.*\); u-2 \(.*"
    ) as caught:
        train_each(empty_catalog, [good, small, single, where], base="nowhere")
    assert caught.value.found.keys() == {"u-1", "u-2", "u-9"}
    those = [good, small, single]
    (version,) = train_each(empty_catalog, those, base=str(base), skip_unfit=True)
    assert str(version.ref) == "u-0@1"


def without_validation(one: Job) -> Job:
    """The job with nothing to validate with."""
    return replace(one, name=AdapterRef.parse("u-9"), validation=Rows("v", {}))


def test_doubtful_rows_and_rows_that_are_cut_are_told_once_for_all(
    empty_catalog: Catalog, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The same text may mean something else to another.
    words = ["the good film was very very good", "a bad plot", "a bad plot", "the ball"]
    torn = LabelledText("f.csv", words, ["x", "x", "y", "y"])
    clean = LabelledText("f.csv", [words[0], "the plot", "film"], ["y", "x", "y"])
    held_out = LabelledText("v.csv", ["the ball", "film"], ["y", "x"])
    those = [
        replace(one, data=data, validation=held_out)
        for one, data in zip(jobs(4, 4, epochs=1, max_length=5), (torn, clean), strict=True)
    ]
    train_each(empty_catalog, those, base=str(base))
    told = [record.getMessage() for record in caplog.records if "hubkit" in record.name]
    assert [line for line in told if "rows" in line] == [
        "2 of the 4 rows of v.csv that the best epoch is chosen by are trained on, too.",
        "f.csv: 2 texts are in several rows with different label; one of them is "
        f"{json.dumps([words[1]])}.",
        "2 of 11 rows have more than 5 tokens; the rest of them is cut off.",
    ]


def test_adapters_that_diverge_are_named_and_the_others_are_published(
    empty_catalog: Catalog, base: Path
) -> None:
    good, bad = jobs(16, 16)
    bad = replace(bad, settings=replace(bad.settings, learning_rate=1e30, epochs=3))
    with pytest.raises(DivergedError, match=r"Training of u-1 diverged .* other 1 "):
        train_each(empty_catalog, [good, bad], base=str(base))
    assert [str(one.ref) for one in search(empty_catalog).items] == ["u-0@1"]


def test_what_adapters_cannot_share_is_refused(empty_catalog: Catalog, base: Path) -> None:
    def refuse(message: str, *those: Job, **how: Any) -> None:
        with pytest.raises(HubkitError, match=message):
            train_each(empty_catalog, those, base=str(base), **how)

    (one,) = jobs(16)
    refuse("nothing to train")
    refuse("together must be at least 1", one, together=0)
    refuse(
        "Two adapters would be named u-0 and U.0", one, replace(one, name=AdapterRef(None, "U.0"))
    )
    refuse("does not allow gradient checkpointing", *jobs(16, gradient_checkpointing=True))
    choices = Rows("c", {"prompt": ["a"], "choices": [["b", "c"]], "label": [0]})
    refuse("more than one pass", task_job("multiple-choice", choices))
    refuse("more than one pass", task_job("translation", pairs()))
