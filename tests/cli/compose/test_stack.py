import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from registry import AdapterRef, Version, open_catalog
from tests.cli.conftest import BASE

Run = Callable[..., Result]
Publish = Callable[..., Version]


@pytest.fixture(autouse=True)
def _adapters(publish: Publish) -> None:
    publish("german", task="language")
    publish("film", task="sentiment")


def test_publishes_a_stack_with_the_task_of_the_last(run: Run) -> None:
    assert run("stack", "german", "film", "--name", "both").stdout == "both@1\n"
    version = open_catalog().resolve(AdapterRef.parse("both"))
    assert (version.kind, version.task) == ("stack", "sentiment")


def test_json_is_one_document(run: Run) -> None:
    document: dict[str, Any] = json.loads(
        run("stack", "german", "film", "--name", "both", "--json").stdout
    )
    assert (document["ref"], document["kind"]) == ("both@1", "stack")


def test_one_adapter_is_not_enough(run: Run) -> None:
    result = run("stack", "film", "--name", "both", status=1)
    assert result.stderr.startswith("Error: Stack needs at least two adapters, found 1")


def test_no_adapter_is_a_usage_error(run: Run) -> None:
    assert "Missing argument" in run("stack", "--name", "both", status=2).stderr


def test_different_base_models(run: Run, publish: Publish) -> None:
    publish("foreign", base_model=BASE | {"fingerprint": "cd" * 32})
    result = run("stack", "film", "foreign", "--name", "both", status=1)
    assert "film@1 and foreign@1 belong to different base models" in result.stderr


def test_a_base_model_without_a_fingerprint_may_be_the_same(run: Run, publish: Publish) -> None:
    publish("foreign", base_model=BASE | {"id": "elsewhere", "fingerprint": None})
    result = run("stack", "film", "foreign", "--name", "both", status=1)
    assert "Nothing says that film@1 and foreign@1 belong to one base model" in result.stderr
    assert "publish foreign@1 again with the base model at hand" in result.stderr
