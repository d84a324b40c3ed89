from __future__ import annotations

import base64
import re
from typing import Any

from hubkit.reports.training import RunFacts, training_report
from registry.manifest import BaseModelInfo, Manifest, Method, Metric, Parent, Training

HOSTILE = "<script>alert(1)</script> | [a](http://b) `c`"
PICTURE = b"\x89PNG picture"
SETTINGS = {"epochs": 3, "learning_rate": 0.01, "schedule": "linear", "tried": {"0.1": None}}


def report(manifest: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    run = {
        "name": "team/film",
        "data": "films.csv",
        "validation": (8, "films.csv#0123"),
        "labels": ("bad", "good"),
        "trained": (12, 20),
        "held_out": (3, 5),
        "cut": 2,
        "defaults": frozenset({"schedule"}),
        "history": [
            {"epoch": 1.0, "loss": 0.9},
            {"epoch": 1.0, "eval_loss": 0.8, "eval_runtime": 3.0},
            {"epoch": 2.0, "train_runtime": 3.0},
        ],
        "pictures": {"training.png": PICTURE},
    }
    made = Manifest(
        kind="fusion",
        method=Method(type="fusion", parameters={"value": True}),
        base_model=BaseModelInfo(id="team/tiny"),
        task="sentiment",
        task_type="text-classification",
        parents=(Parent(ref="a@1", digest="ab" * 32), Parent(ref="b@2", digest="cd" * 32)),
        metrics=(
            Metric(
                dataset="films.csv#0123",
                split="validation",
                name="accuracy",
                value=0.875,
                higher_is_better=True,
            ),
        ),
        training=Training(
            arguments=SETTINGS,
            seed=7,
            examples=32,
            data_sha256="ef" * 32,
            seconds=1.25,
            library_versions={"torch": "2.0"},
        ),
        **(manifest or {}),
    )
    found = training_report(RunFacts(**{**run, **changes}), made)
    return {name: content.decode() for name, content in found.items()}


def cells(markdown: str) -> list[list[str]]:
    rows = [line.strip("| ") for line in markdown.splitlines() if line.startswith("| ")]
    return [re.split(r" *(?<!\\)\| *", row) for row in rows]


def test_a_report_tells_what_it_is_and_how_it_came_about() -> None:
    rows = cells(report()["report.md"])
    for row in (
        ["base model", "team/tiny"],
        ["made of", f"b@2 ({'cd' * 32})"],
        ["accuracy", "0.8750", "higher"],
        ["rows", "32 of films.csv"],
        ["rows longer than that", "2"],
        ["good", "20", "5"],
        ["1", "0.9000", "0.8000"],
        ["seconds", "1.2"],
        ["torch", "2.0"],
    ):
        assert [cell.replace("\\", "") for cell in row] in [
            [cell.replace("\\", "") for cell in one] for one in rows
        ]
    assert "Measured on 8 validation rows, films.csv#0123" in report()["report.md"]
    assert "all rows, these among them" in report(whole=True)["report.md"]
    assert "Measured" not in report(validation=None)["report.md"]


def test_settings_that_differ_from_the_defaults_come_first() -> None:
    names = [row[0].replace("\\", "") for row in cells(report()["report.md"])]
    settings = names[names.index("setting") + 1 :][:4]
    assert settings == ["epochs", "learning_rate", "tried", "schedule"]


def test_the_page_holds_its_pictures_and_says_the_same() -> None:
    files = report()
    page = files["report.html"]
    (source,) = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(source) == PICTURE
    assert "![Curves](training.png)" in files["report.md"]
    for row in cells(files["report.md"]):
        for cell in row:
            assert cell.replace("\\", "") in page
    assert "prefers-color-scheme: dark" in page
    assert "<script" not in page


def test_without_pictures_there_is_no_page() -> None:
    assert set(report(pictures={})) == {"report.md"}


def test_nothing_breaks_out_of_a_report() -> None:
    files = report({"description": HOSTILE}, name=HOSTILE, labels=(HOSTILE, "good"), data="a\n# b")
    assert "<script" not in files["report.html"]
    assert "<script" not in files["report.md"]
    assert "](http" not in files["report.md"].replace("\\](", "")
    assert {len(row) for row in cells(files["report.md"]) if "alert(1)" in row[0]} == {3}
    assert "\n# b" not in files["report.md"]


def test_a_thousand_classes_leave_a_report_readable() -> None:
    many = tuple(f"class {number}" for number in range(1000))
    counts = (1,) * 1000
    told = report(labels=many, trained=counts, held_out=())["report.md"]
    assert "and 950 more" in told
    assert "class 50 " not in told
