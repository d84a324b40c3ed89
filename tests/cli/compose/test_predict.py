import json
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from transformers import AutoModelForSequenceClassification

import hubkit
from hubkit import insert_adapter, save_adapter
from registry import AdapterRef, Catalog
from tests.support.foreign import edit
from tests.support.started import Started

Run = Callable[..., Result]


def test_prints_label_score_and_text(run: Run, trained: Catalog) -> None:
    texts = ["the film was good", "a dull plot"]
    expected = hubkit.load("film").predict(texts)
    lines = run("predict", "film", *texts).stdout.splitlines()
    assert [line.split("\t") for line in lines] == [
        [found.label, f"{found.score:.4f}", str(row), text]
        for row, (text, found) in enumerate(zip(texts, expected, strict=True), start=1)
    ]


def test_is_quiet_on_stderr_in_a_pipe(run: Run, trained: Catalog) -> None:
    assert run("predict", "film", "good").stderr == ""


def test_json_has_all_scores(run: Run, trained: Catalog) -> None:
    (found,) = json.loads(run("predict", "film", "good", "--json").stdout)
    assert list(found) == ["row", "text", "label", "score", "scores"]
    assert set(found["scores"]) == {"negative", "positive"}
    assert sum(found["scores"].values()) == pytest.approx(1)
    assert found["score"] == found["scores"][found["label"]] == max(found["scores"].values())


@pytest.mark.parametrize("arguments", [("-",), ("--file", "-")])
def test_reads_standard_input(run: Run, trained: Catalog, arguments: tuple[str, ...]) -> None:
    result = run("predict", "film", *arguments, text="good\n\n  bad  \n")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[2:] for row in rows] == [["1", "good"], ["2", ""], ["3", "bad"]]
    assert rows[1][:2] == ["-", "-"]


def test_reads_a_file(run: Run, trained: Catalog, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("good\nbäd\n")
    result = run("predict", "film", "--file", tmp_path / "lines.txt", "--batch-size", 1)
    assert [line.split("\t")[3] for line in result.stdout.splitlines()] == ["good", "bäd"]


def test_a_text_with_line_breaks_stays_on_its_line(run: Run, trained: Catalog) -> None:
    result = run("predict", "film", "good\tand\nbad \x1b[31m")
    assert result.stdout.count("\n") == 1
    assert result.stdout.endswith("\tgood and bad  [31m\n")


def test_base_model_that_moved(run: Run, trained: Catalog, base: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(base)
    assert run("predict", "film", "good", "--base", moved).stdout.count("\n") == 1


def test_wrong_base_model(run: Run, trained: Catalog, other_base: Path) -> None:
    result = run("predict", "film", "good", "--base", other_base, status=1)
    assert result.stderr.startswith("Error: film@1 was trained on ")
    assert str(other_base) in result.stderr


def test_missing_base_model(run: Run, trained: Catalog, tmp_path: Path) -> None:
    result = run("predict", "film", "good", "--base", tmp_path / "absent", status=1)
    assert f"The base model {str(tmp_path / 'absent')!r} cannot be loaded" in result.stderr


def test_unknown_adapter_has_near_matches(run: Run, trained: Catalog) -> None:
    result = run("predict", "flim", "good", status=1)
    assert result.stderr == "Error: No adapter is called flim. Did you mean film?\n"


def test_corrupted_blob(run: Run, trained: Catalog) -> None:
    version = trained.resolve(AdapterRef.parse("film"))
    weights = trained.manifest(version).files["model_head.safetensors"]
    (blob,) = (path for path in trained.home.glob("blobs/**/*") if weights.sha256 in path.name)
    blob.chmod(0o600)
    blob.write_bytes(bytes(weights.size))
    result = run("predict", "film", "good", status=1)
    assert result.stderr.startswith("Error: film@1: model_head.safetensors")


@pytest.mark.parametrize("arguments", [(), ("good", "--file", "-")])
def test_texts_come_from_one_place(run: Run, arguments: tuple[str, ...]) -> None:
    result = run("predict", "film", *arguments, text="bad", status=2)
    assert "Give the texts as arguments, or with --file" in result.stderr


def test_file_without_text(run: Run, trained: Catalog) -> None:
    result = run("predict", "film", "-", text=" \n", status=1)
    assert result.stderr == "Error: There is no text in standard input: expected one in each row.\n"


def test_file_that_is_not_utf8(run: Run, trained: Catalog, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("bäd\n".encode("latin-1"))
    result = run("predict", "film", "--file", tmp_path / "latin.txt", status=1)
    assert f"Error: {tmp_path / 'latin.txt'}, line 1: the byte 0xe4 is not utf-8." in result.stderr
    assert "Say with --encoding" in result.stderr


def test_a_base_model_that_could_not_be_checked_is_noted_and_then_expected(
    run: Run, base: Path, other_base: Path, tmp_path: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    insert_adapter(model, "mine", bottleneck_size=4)
    save_adapter(model, "mine", tmp_path / "saved")
    (tmp_path / "saved" / "hubkit.json").unlink()  # what is left is a folder of AdapterHub
    for path in (tmp_path / "saved").glob("*_config.json"):
        edit(path, lambda config: config | {"model_name": "team/unknown"})
    run("publish", tmp_path / "saved", "--name", "mine", "--task", "film")
    predict = ("predict", "mine", "good film", "--base")
    noted = run(*predict, base)
    assert noted.stderr.startswith("Note: mine@1 does not record the weights, ")
    assert f"Not checked: that {base} has the weights" in noted.stderr
    again = run(*predict, base)
    assert (again.stdout, again.stderr) == (noted.stdout, "")
    assert "fingerprint" in run("show", "mine").stdout
    refused = run(*predict, other_base, status=1).stderr
    assert "mine@1 was first attached to team/unknown, but " in refused
    allowed = run(*predict, other_base, "--allow-base-mismatch")
    assert "although it belongs to team/unknown" in allowed.stderr
    assert run(*predict, other_base).stdout == allowed.stdout != noted.stdout


def test_an_adapter_with_a_fingerprint_runs_on_another_base_model_only_when_allowed(
    run: Run, trained: Catalog, other_base: Path, data: Path
) -> None:
    evaluate = ("evaluate", "film", data, "--base", other_base)
    assert "--allow-base-mismatch" in run(*evaluate, status=1).stderr
    assert "runs on" in run(*evaluate, "--allow-base-mismatch").stderr
    run(*evaluate)
    assert "also allowed" in run("show", "film").stdout


def test_base_without_a_tokenizer_is_named(
    run: Run, trained: Catalog, base: Path, tmp_path: Path
) -> None:
    without = shutil.ignore_patterns("*token*", "vocab*")
    bare = Path(shutil.copytree(base, tmp_path / "bare", ignore=without))
    (tmp_path / "data.csv").write_text("text,label\ngood,positive\n")
    for command in (("predict", "film", "good"), ("evaluate", "film", tmp_path / "data.csv")):
        result = run(*command, "--base", bare, status=1)
        assert f"The base model '{bare}' has no tokenizer" in result.stderr


def test_a_table_is_its_column_and_not_its_lines(run: Run, trained: Catalog, data: Path) -> None:
    document = json.loads(run("predict", "film", "--file", data, "--json").stdout)
    expected = [line.split(",")[0] for line in data.read_text().splitlines()[1:]]
    assert [row["text"] for row in document] == expected
    assert [row["row"] for row in document] == [*range(1, 61)]


def test_an_empty_row_of_a_table_keeps_its_place(
    run: Run, trained: Catalog, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("id,review\n7,good\n8,\n9,bad\n")
    result = run(
        *("predict", "film", "--file", tmp_path / "new.csv", "--text-column", "review", "--json")
    )
    document = json.loads(result.stdout)
    assert [(row["row"], row["text"], row["label"] is None) for row in document] == [
        (1, "good", False),
        (2, "", True),
        (3, "bad", False),
    ]


def test_a_file_that_is_not_there_is_refused_before_the_model_is_loaded(run: Run) -> None:
    result = run("predict", "nobody", "--file", "absent.csv", status=1)
    assert result.stderr == "Error: absent.csv does not exist.\n"


def test_lines_of_standard_input_are_answered_as_they_come(
    trained: Catalog, started: Started
) -> None:
    expected = [found.label for found in hubkit.load("film").predict(["good", "bad"])]
    with subprocess.Popen(
        [str(started.program), "-m", "hubkit", "predict", "film", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "HUBKIT_HOME": str(trained.home)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for row, text in enumerate(("good", "bad")):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            cells = process.stdout.readline().decode().rstrip("\n").split("\t")
            assert (cells[0], *cells[2:]) == (expected[row], str(row + 1), text)
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_options_are_those_of_the_task_type(run: Run, trained: Catalog) -> None:
    (found,) = json.loads(run("predict", "film", "good", "--top-k", 1, "--json").stdout)
    assert list(found["scores"]) == [found["label"]]
    (same,) = json.loads(run("predict", "film", "good", "--option", "top-k=1", "--json").stdout)
    assert same == found
    (whole,) = json.loads(run("predict", "film", "good", "--option", "top_k=None", "--json").stdout)
    assert len(whole["scores"]) == 2, "the values of options are called as in Python, too"
    result = run("predict", "film", "good", "--option", "num_beams=4", status=1)
    assert "text-classification has no option 'num_beams'" in result.stderr
    result = run("predict", "film", "good", "--threshold", 0.3, status=1)
    assert "one label to each row" in result.stderr
    assert "NAME=VALUE" in run("predict", "film", "good", "--option", "x", status=2).stderr


def test_a_shorter_limit_cuts_and_is_noted_once(run: Run, trained: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("good\n" + "good film bad plot\n" * 2500)
    result = run("predict", "film", "--file", path, "--max-length", 3)
    assert result.stderr.count("Note:") == 1
    assert "2500 of 2501 rows are longer than the 3 tokens" in result.stderr
    rows = result.stdout.splitlines()
    assert {tuple(row.split("\t")[:2]) for row in rows} == {tuple(rows[0].split("\t")[:2])}


def test_where_and_in_which_numbers_it_computes(run: Run, trained: Catalog) -> None:
    whole = json.loads(run("predict", "film", "good", "--device", "cpu", "--json").stdout)
    half = json.loads(run("predict", "film", "good", "--dtype", "bfloat16", "--json").stdout)
    assert half != whole
    assert half[0]["scores"] == pytest.approx(whole[0]["scores"], abs=0.05)
    result = run("predict", "film", "good", "--device", "cuda:77", status=1)
    assert "There is no device 'cuda:77' to compute on; this machine has cpu" in result.stderr


def test_a_file_is_written_with_a_row_for_each_row(
    run: Run, trained: Catalog, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("id,review\n7,good\n8,\n9,bad\n")
    arguments = ("predict", "film", "--file", tmp_path / "new.csv", "--text-column", "review")
    result = run(*arguments, "--out", tmp_path / "out.jsonl")
    assert result.stdout == f"{tmp_path / 'out.jsonl'}: 3 rows\n"
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert written == json.loads(run(*arguments, "--json").stdout)
    assert [row["label"] is None for row in written] == [False, True, False]
    again = run(*arguments, "--out", tmp_path / "out.jsonl", status=1)
    assert "exists already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("good", "--out", "a.csv"), "--out goes with --file FILE"),
        (("--file", "-", "--out", "a.csv"), "--out goes with --file FILE"),
    ],
)
def test_only_a_file_is_written_to_a_file(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    assert message in run("predict", "nobody", *arguments, text="x", status=2).stderr


def test_a_file_of_another_kind_is_refused_before_the_model_is_loaded(
    run: Run, data: Path, tmp_path: Path
) -> None:
    for out, message in (("a.xls", "a.xls ends in .xls"), ("no/a.csv", "Cannot write to")):
        arguments = ("--file", data, "--out", tmp_path / out)
        assert message in run("predict", "nobody", *arguments, status=1).stderr


@pytest.fixture
def ratings(run: Run, base: Path, data: Path, tmp_path: Path, hubkit_home: Path) -> Path:
    """A file with rows of two users, for each of whom there is an adapter."""
    header, *rows = data.read_text().splitlines()
    lines = [f"user,{header}", *(f"{('ann', 'bob')[at % 2]},{row}" for at, row in enumerate(rows))]
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    run(
        *("train", tmp_path / "ratings.csv", "--base", base, "--task", "liking", "--epochs", 1),
        *("--name", "team/user", "--each", "user", "--learning-rate", 0.03),
    )
    return tmp_path / "ratings.csv"


def test_each_answers_rows_by_the_adapter_of_their_value(
    run: Run, ratings: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.csv"
    new.write_text("user,text\nbob,good film\nann,good film\n,\nbob,dull plot\n")
    predict = ("predict", "team/user", "--each", "user", "--file", new)
    lines = [line.split("\t") for line in run(*predict).stdout.splitlines()]
    assert [line[2:] for line in lines] == [
        ["1", "good film", "bob"],
        ["2", "good film", "ann"],
        ["3", "", ""],
        ["4", "dull plot", "bob"],
    ]
    assert lines[2][0] == "-"
    document = json.loads(run(*predict, "--json").stdout)
    for row, user in ((1, "bob"), (2, "ann"), (4, "bob")):
        text = document[row - 1]["text"]
        (alone,) = json.loads(run("predict", f"team/user-{user}", text, "--json").stdout)
        assert document[row - 1]["label"] == alone["label"]
        assert document[row - 1]["score"] == pytest.approx(alone["score"], abs=1e-5)
    run(*predict, "--out", tmp_path / "out.jsonl")
    written = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == document
    short = run(*predict, "--max-length", 3)
    assert "3 of 3 rows are longer than their adapters read" in short.stderr


def test_each_computes_in_other_numbers_and_on_another_base_model_as_one_adapter_does(
    run: Run, ratings: Path, other_base: Path, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("user,text\nbob,good film\nann,dull plot\n")

    def scores(*more: object) -> tuple[list[Any], list[Any]]:
        each = ("predict", "team/user", "--each", "user", "--file", tmp_path / "new.csv")
        together = json.loads(run(*each, *more, "--json").stdout)
        alone = [
            json.loads(run("predict", f"team/user-{user}", text, *more, "--json").stdout)[0]
            for user, text in (("bob", "good film"), ("ann", "dull plot"))
        ]
        return [one["score"] for one in together], [one["score"] for one in alone]

    whole, _ = scores()
    half, alone = scores("--dtype", "bfloat16")
    assert half != whole
    assert half == pytest.approx(alone, abs=0.02)
    each = ("predict", "team/user", "--each", "user", "--file", tmp_path / "new.csv")
    refused = run(*each, "--base", other_base, status=1)
    assert "With --allow-base-mismatch it is used anyway" in refused.stderr
    allowed = ("--base", other_base, "--allow-base-mismatch")
    assert "runs on" in run(*each, *allowed).stderr
    other, alone = scores(*allowed)
    assert other != whole
    assert other == pytest.approx(alone, abs=1e-5)


def test_each_names_the_rows_that_no_adapter_answers(
    run: Run, ratings: Path, tmp_path: Path
) -> None:
    with ratings.open("a") as file:
        file.write("eve,good,positive\n")
    result = run("predict", "team/user", "--each", "user", "--file", ratings, status=1)
    assert result.stdout == ""
    assert result.stderr == (
        f"Error: {ratings}: 1 of 3 values of 'user' have no adapter: 'eve' in row 61 (there is "
        "no team/user-eve). `hubkit list` shows those that exist.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("good",), "--each goes with --file FILE, a table with that column."),
        (
            ("--file", "DATA", "--compile"),
            "--each goes without --compile: the rows of a batch have adapters of their own",
        ),
    ],
)
def test_each_is_refused_where_it_cannot_be(
    run: Run, data: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = [data if one == "DATA" else one for one in arguments]
    assert message in run("predict", "nobody", "--each", "user", *given, status=2).stderr


def test_the_files_of_a_pattern_are_one_table(run: Run, trained: Catalog, tmp_path: Path) -> None:
    for name, rows in (("b", "dull\nbad"), ("a", "good")):
        (tmp_path / f"{name}.csv").write_text(f"text\n{rows}\n")
    lines = run("predict", "film", "--file", tmp_path / "?.csv").stdout.splitlines()
    assert [line.split("\t")[2:] for line in lines] == [["1", "good"], ["2", "dull"], ["3", "bad"]]
    run("predict", "film", "--file", tmp_path / "?.csv", "--out", tmp_path / "c.csv")
    again = run("predict", "film", "--file", tmp_path / "?.csv", status=1)
    assert again.stderr == (
        f"Error: {tmp_path / 'c.csv'} begins with the column 'row', as predictions do that were "
        f"written before, and {tmp_path / 'b.csv'} does not; expected files of one table.\n"
    )
    missing = run("predict", "film", "--file", tmp_path / "x*.csv", status=1)
    assert missing.stderr == f"Error: No file is called like {tmp_path / 'x*.csv'}.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "ray"), "--engine goes with --out OUT."),
        (("--out", "a.csv", "--workers", "2"), "--workers goes with --engine ray."),
    ],
)
def test_workers_write_to_a_file(
    run: Run, data: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in run("predict", "nobody", "--file", data, *arguments, status=2).stderr


def test_a_missing_ray_is_told_before_the_model_is_loaded(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("hubkit.predicting.with_ray.version", absent)
    out = ("--out", tmp_path / "out.csv", "--engine", "ray")
    result = run("predict", "nobody", "--file", data, *out, status=1)
    assert result.stderr == (
        "Error: Ray is not installed. Install it with: pip install 'hubkit[ray]'\n"
    )
