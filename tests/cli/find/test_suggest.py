import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.conftest import write_csv

Run = Callable[..., Result]


@pytest.fixture
def suggest(run: Run, new_data: Path, base: Path) -> Run:
    def call(*arguments: object, status: int = 0) -> Result:
        asked = ("suggest", "--data", new_data, "--base", base, "--sample", 30)
        return run(*asked, *arguments, status=status)

    return call


@pytest.mark.usefixtures("trained")
def test_ranks_those_on_the_base_model_and_explains(suggest: Run) -> None:
    found = json.loads(suggest("--json").stdout)
    ranked = found["suggestions"]
    assert {one["adapter"]["ref"] for one in ranked} == {"film@1", "book@1"}
    assert [one["rank"] for one in ranked] == [1, 2]
    assert ranked[0]["gain"] >= ranked[1]["gain"]
    assert ranked[0]["shared_labels"] == ["negative", "positive"]
    assert (found["metric"], found["rows"], found["of_rows"]) == ("accuracy", 30, 58)
    assert (found["skipped"], found["left_out"], found["more"]) == ([], {}, False)
    lines = suggest("--explain").stdout.splitlines()
    assert lines[0].split("\t")[0] == ranked[0]["adapter"]["ref"]
    for fact in ("rows              30 of 58", "labels shared  negative, positive"):
        assert f"  {fact}" in lines
    limited = suggest("--limit", 1, "--most", 1)
    assert len(limited.stdout.splitlines()) == 1
    assert limited.stderr == "Not tried: 1 behind the first 1.\n"


@pytest.mark.usefixtures("trained")
def test_bad_input_is_refused_with_what_mends_it(
    suggest: Run, run: Run, tmp_path: Path, base: Path
) -> None:
    asked = suggest("--label-column", "mood", status=1)
    assert "has no column 'mood'" in asked.stderr
    rare = write_csv(tmp_path / "rare.csv", ["a,x", "b,x", "c,x", "d,x", "e,x", "f,y", "g,y"])
    asked = run("suggest", "--data", rare, "--base", base, status=1)
    assert "2 different rows with the label 'y', fewer than the 5 folds" in asked.stderr
    assert "Ask for another number of --folds." in asked.stderr
    asked = suggest("--task-type", "summarization", status=1)
    assert "For summarization, adapters cannot be suggested" in asked.stderr


def test_an_empty_registry_is_told(suggest: Run) -> None:
    asked = suggest(status=1)
    assert "The registry has no adapter on " in asked.stderr
    assert "`hubkit list --base " in asked.stderr
