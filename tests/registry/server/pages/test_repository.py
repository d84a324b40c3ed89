"""The page of a repository, in each state that one can be in."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from registry import AdapterRef, Measurement, Version
from registry.history.committing import PENDING
from registry.history.trees import SMALL_BYTES
from registry.server.app import App
from registry.server.hub import Hub, Settings
from registry.server.pages.versions.facts import UNSEEN
from tests.registry.server.pages.conftest import LORA, Publish, Push, facts, set_visibility, uses
from tests.support.asgi import Ask, Client
from tests.support.foreign import BERT, PEFT
from tests.support.html import Element, read
from tests.support.people import People

pytestmark = pytest.mark.once

METRIC = {"dataset": "films", "split": "test", "name": "accuracy", "higher_is_better": True}
HOSTILE = "</bdi><script>alert(1)</script>\u05d0\"'"


def table(page: Element, start: str) -> list[list[str]]:
    """The cells of the table with a caption that starts so."""
    (found,) = [one for one in page.all("table") if one.one("caption").text.startswith(start)]
    rows = [[cell.text for cell in row if cell.tag in ("th", "td")] for row in found.all("tr")]
    return rows[1:]


def test_a_page_tells_what_is_known_of_the_newest_version(asks: Ask, publish: Publish) -> None:
    publish(
        "alice/a",
        method={"type": "lora", "parameters": {"r": 8, "alpha": 16.5}},
        task="sentiment",
        task_type="text-classification",
        labels=["good", "bad"],
        language="en",
        license="mit",
        tags=["films"],
        metrics=[METRIC | {"value": 0.91234}],
        outputs=2,
        head={"modules": ["pooler", "classifier"]},
        text={"max_length": 128},
        files={"README.md": b"---\nlicense: mit\n---\n# Films\n\nIt reads *films*.\n"},
    )
    page = read(asks("GET", "/alice/a"))
    assert page.one("h1").text == "alice / a"
    assert page.one("h1").links == {"alice": "/alice", "a": "/alice/a"}
    assert [(one.tag, one.text) for one in page.one("div", class_="card") if one.tag != "div"] == [
        ("h3", "Films"),
        ("p", "It reads films."),
        ("em", "films"),
    ]
    known = facts(page)
    assert {
        name: known[name] for name in ("Kind", "Task", "Task type", "Method", "Settings", "Labels")
    } == {
        "Kind": "adapter",
        "Task": "sentiment",
        "Task type": "text-classification",
        "Method": "lora",
        "Settings": "alpha = 16.5, r = 8",
        "Labels": "good, bad",
    }
    assert (known["Head"], known["Text"]) == ("pooler, classifier", "max length 128")
    assert (known["Languages"], known["Licence"], known["Tags"]) == ("en", "mit", "films")
    assert page.links["text-classification"] == "/?task=text-classification"
    assert page.links["lora"] == "/?method=lora"
    assert table(page, "Published with it") == [["accuracy", "0.9123", "higher", "films", "test"]]


def test_what_was_recorded_is_shown_with_interval_rows_and_digest(
    asks: Ask, publish: Publish, people: People
) -> None:
    version = publish("alice/a")
    measurement = Measurement(
        metric="f1",
        value=0.5,
        higher_is_better=True,
        low=0.45,
        high=0.55,
        rows=1200,
        data_sha256="ab" * 32,
        dataset="films.csv",
        split="test",
        measured_at=datetime(2026, 3, 1, tzinfo=UTC),
        actor="ada",
        hubkit="0.1",
    )
    people.catalog.record(version.ref, [measurement])
    (row,) = table(read(asks("GET", "/alice/a")), "Recorded of it")
    assert row == [
        *("f1", "0.5", "0.45 to 0.55", "higher", "films.csv, test", "1,200", "abababababab"),
        "2026-03-01 by ada",
    ]


def test_versions_are_listed_with_their_aliases_and_yanked_ones_say_so(
    asks: Ask, publish: Publish, people: People
) -> None:
    for number in range(1, 4):
        metrics = [METRIC | {"value": number / 10}]
        publish("alice/a", message=f"the {number}.", tags=[str(number)], metrics=metrics)
    people.catalog.set_alias(AdapterRef.parse("alice/a@1"), "best")
    people.catalog.yank(AdapterRef.parse("alice/a@3"), "wrong labels")
    page = read(asks("GET", "/alice/a"))
    rows = table(page, "Versions")
    assert [row[0] for row in rows] == ["3 yanked", "2", "1"]
    assert [row[3] for row in rows] == ["Yanked: wrong labels. the 3.", "the 2.", "the 1."]
    assert [row[4] for row in rows] == ["accuracy 0.3", "accuracy 0.2", "accuracy 0.1"]
    assert [row[5] for row in rows] == ["", "", "best"]
    assert page.links["compare 3 with 2"] == "/compare?left=alice%2Fa%402&right=alice%2Fa%403"
    assert page.links["version 1"] == "/alice/a?revision=v1"
    warnings = [one.text for one in page.all("p", class_="notice warn")]
    assert warnings == [
        "Version 3 is yanked, which means that nobody should use it any more: wrong labels"
    ]
    older = read(asks("GET", "/alice/a?revision=v1"))
    assert "This is how it is at v1." in older.one("p", class_="notice").text
    assert "1" in facts(older)["Tags"]


def test_many_versions_come_in_pages(
    asks: Ask, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.server.pages.repository.VERSIONS", 2)
    for number in range(1, 4):
        publish("alice/a", tags=[str(number)])
    page = read(asks("GET", "/alice/a"))
    assert page.links["Older versions"] == "/alice/a?before=2#versions"
    page = read(asks("GET", "/alice/a?before=2"))
    assert [row[0] for row in table(page, "Versions")] == ["1"]
    assert page.links["Newest versions"] == "/alice/a#versions"
    assert "Older versions" not in page.links
    assert asks("GET", "/alice/a?before=x").status == 400


def test_a_push_without_a_version_says_why_and_the_version_before_is_shown(
    asks: Ask, push: Push
) -> None:
    push("alice/a", LORA)
    push("alice/a", {"adapter_config.json": b"{"})
    page = read(asks("GET", "/alice/a"))
    warning = page.one("p", class_="notice warn").text
    assert warning.startswith("It holds no version.")
    assert "adapter_config.json" in warning
    assert "version 1, the newest there is" in page.one("p", class_="notice").text
    assert facts(page)["Method"] == "lora"


def test_a_pending_version_is_no_warning(asks: Ask, people: People, publish: Publish) -> None:
    publish("alice/a")
    with people.catalog.database.write() as connection:
        connection.exec_driver_sql("UPDATE commits SET revision_id = NULL")
        connection.exec_driver_sql(f"UPDATE commits SET reason = '{PENDING[0]}'")
    page = read(asks("GET", "/alice/a"))
    assert "Its version is pending." in page.all("p", class_="notice")[0].text
    assert page.all("p", class_="notice warn") == []


def test_a_new_repository_says_what_to_do(asks: Ask, people: People) -> None:
    people.make("alice/new")
    page = read(asks("GET", "/alice/new"))
    assert "There is no card yet." in page.one("main").text
    assert page.all("div", class_="command")[0].text == "hf upload alice/new README.md"
    assert page.all("table") == []


def test_a_card_that_is_there_but_not_shown_says_why(asks: Ask, push: Push, people: People) -> None:
    push("alice/long", {"README.md": b"x" * (SMALL_BYTES + 1)})
    push("alice/a", {"README.md": b"right"})
    told = read(asks("GET", "/alice/long")).one("main").text
    assert "The card, README.md, is not shown. It is too large to be shown here." in told
    blob = people.catalog.home / "blobs" / "sha256"
    digest = hashlib.sha256(b"right").hexdigest()
    (path,) = [one for one in blob.rglob(digest) if one.is_file()]
    path.chmod(0o644)
    path.write_bytes(b"wrong")
    page = read(asks("GET", "/alice/a")).one("main")
    assert "The card, README.md, is not shown. Its bytes are damaged." in page.text
    assert "There is no card yet." not in page.text
    assert page.links["README.md"] == "/alice/a/blob/main/README.md"


@pytest.mark.parametrize("card", [b"", b"   \n", b"---\nlicense: mit\n---\n", b"<!-- x -->"])
def test_a_card_that_says_nothing_is_as_none(asks: Ask, push: Push, card: bytes) -> None:
    push("alice/a", {"README.md": card})
    assert "There is no card yet." in read(asks("GET", "/alice/a")).one("main").text


@pytest.mark.parametrize("fields", [b"---\na: [\n---\n", b"---\n- x\n---\n", b"---\nx: y\n---\n"])
def test_the_fields_of_a_card_are_not_shown_whether_they_can_be_read_or_not(
    asks: Ask, push: Push, fields: bytes
) -> None:
    push("alice/a", {"README.md": fields + b"Here.\n"})
    assert read(asks("GET", "/alice/a")).one("div", class_="card").text == "Here."


def test_a_card_that_is_no_utf8_is_shown_as_far_as_it_can_be_read(asks: Ask, push: Push) -> None:
    push("alice/a", {"README.md": b"caf\xe9 here"})
    assert read(asks("GET", "/alice/a")).one("div", class_="card").text == "caf\ufffd here"


def test_pictures_of_a_training_are_those_of_the_repository(asks: Ask, publish: Publish) -> None:
    picture = b"\x89PNG\r\n\x1a\n rest"
    publish("alice/a", files={"training.png": picture, "report.md": b"# Report"})
    page = read(asks("GET", "/alice/a"))
    (image,) = page.one("main").all("img")
    assert "Curves" in image["alt"]
    answer = asks("GET", image["src"])
    assert (answer.body, answer.headers["content-type"]) == (picture, "image/png")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]
    report = page.links["Read the report of the training"]
    assert asks("GET", report).status == 200


def test_what_a_fusion_attends_to_is_shown_by_the_names_that_may_be_seen(
    asks: Ask, publish: Publish
) -> None:
    one, secret = publish("alice/one"), publish("bob/secret", "private")
    site = {"layer": 0, "place": "output", "weights": [0.25, 0.75]}
    told = json.dumps({"data": "films#1", "rows": 8, "sites": [site]}).encode()
    publish("alice/both", parents=(one, secret), files={"attention.json": told})
    answer = asks("GET", "/alice/both")
    page = read(answer)
    assert table(page, "Attention") == [["layer 0, output", "0.25", "0.75"]]
    section = page.one("section", **{"aria-labelledby": "attention"})
    assert [one.text for one in section.all("th")] == [
        *("Place", "alice/one@1", UNSEEN, "layer 0, output")
    ]
    assert section.one("td", class_="count heat-8").text == "0.75"
    assert page.links["Attention"] == "#attention"
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("folder", "only", "kind", "title"),
    [
        (PEFT / "lora" / "a", "", "adapter", "With peft"),
        (BERT / "heads" / "topic", "", "adapter", "With adapters"),
        (BERT / "heads" / "topic", "head", "adapter", None),
    ],
)
def test_a_folder_of_another_library_is_understood(
    asks: Ask, push: Push, folder: Path, only: str, kind: str, title: str | None
) -> None:
    push("alice/a", {one.name: one.read_bytes() for one in folder.iterdir() if only in one.name})
    page = read(asks("GET", "/alice/a"))
    assert facts(page)["Kind"] == kind
    assert page.links["1"] == "/alice/a?revision=v1"
    shown = [*uses(page)][1:-1]
    assert shown == ["With hubkit", *([title] if title else [])]
    for path in ("tree/main", "commits/main", "lineage"):
        read(asks("GET", f"/alice/a/{path}"))


def test_a_data_set_and_a_space_have_a_card_and_files_of_their_kind(asks: Ask, push: Push) -> None:
    card = b"---\ntags: [films]\n---\nRows.\n"
    push("alice/d", {"README.md": card, "d/rows.csv": b"a"}, kind="dataset")
    push("alice/empty", {"README.md": card}, kind="dataset")
    push("alice/s", {"README.md": b"An app.\n"}, kind="space")
    page = read(asks("GET", "/datasets/alice/d"))
    assert page.one("h1").text == "alice / d dataset"
    assert page.one("div", class_="card").text == "Rows."
    assert page.links["films"] == "/datasets?tag=films"
    assert page.links["Files"] == "/datasets/alice/d/tree/main"
    assert "Lineage" not in page.links
    assert 'load_dataset("alice/d")' in uses(page)["With datasets"]
    assert uses(page)["Only its files"] == "hf download alice/d --repo-type dataset"
    assert "With datasets" not in uses(read(asks("GET", "/datasets/alice/empty")))
    space = read(asks("GET", "/spaces/alice/s"))
    assert uses(space)["Only its files"] == "hf download alice/s --repo-type space"
    assert asks("GET", "/alice/d").status == 404


def test_other_spellings_and_former_names_lead_to_the_page(
    asks: Ask, hub: Hub, publish: Publish
) -> None:
    publish("alice/My.Model")
    answer = asks("GET", "/ALICE/my_model?revision=v1")
    assert (answer.status, answer.headers["location"]) == (307, "/alice/My.Model?revision=v1")
    found = hub.history.find("model", AdapterRef.parse("alice/my-model"))
    assert found is not None
    hub.history.move(found, AdapterRef.parse("bob/b"), account_id=found.account_id, actor="root")
    answer = asks("GET", "/alice/my-model/tree/main")
    assert (answer.status, answer.headers["location"]) == (307, "/bob/b/tree/main")


def test_what_may_not_be_seen_is_answered_as_what_is_not_there(asks: Ask, publish: Publish) -> None:
    publish("alice/secret", visibility="private")
    for path in ("", "/tree/main", "/blob/main/hubkit.json", "/commits/main", "/lineage"):
        for by in (None, "bob"):
            hidden = asks("GET", f"/alice/secret{path}", by=by)
            absent = asks("GET", f"/alice/absent{path}", by=by)
            assert hidden.status == absent.status == 404
            assert hidden.body == absent.body.replace(b"absent", b"secret")
        assert asks("GET", f"/alice/secret{path}", by="alice").status == 200


def test_hostile_names_are_shown_as_they_are(
    asks: Ask, publish: Publish, people: People, hub: Hub
) -> None:
    publish(
        "alice/a",
        method={"type": "lora", "parameters": {HOSTILE: HOSTILE}},
        base_model={"id": HOSTILE},
        task=HOSTILE,
        task_type=HOSTILE,
        labels=[HOSTILE, "x"],
        tags=[HOSTILE],
        language=HOSTILE,
        license=HOSTILE,
        metrics=[
            {
                "dataset": HOSTILE,
                "split": HOSTILE,
                "name": HOSTILE,
                "value": 1.0,
                "higher_is_better": False,
            }
        ],
        message=f"{HOSTILE}\nmore",
    )
    found = hub.history.find("model", AdapterRef.parse("alice/a"))
    assert found is not None
    head = hub.history.resolve(found, "main")
    hub.history.create_tag(found, "<b>x</b>", head, None, "alice")
    hub.history.create_branch(found, "a/'\"b", head, "alice")
    people.catalog.yank(AdapterRef.parse("alice/a@1"), HOSTILE)
    page = read(asks("GET", "/alice/a"))
    known = facts(page)
    for name in ("Task", "Task type", "Base model", "Licence"):
        assert known[name] == HOSTILE, name
    assert known["Labels"] == f"{HOSTILE}, x"
    assert page.links[HOSTILE].startswith("/")
    assert page.links["<b>x</b>"] == "/alice/a/tree/" + quote("<b>x</b>", safe="")
    assert page.links["a/'\"b"] == "/alice/a/tree/" + quote("a/'\"b", safe="")
    assert [one["src"] for one in page.all("script")] == ["/static/script.js"]


def test_many_metrics_are_cut_and_counted(asks: Ask, publish: Publish) -> None:
    metrics = [METRIC | {"name": f"m{number}", "value": number} for number in range(130)]
    publish("alice/a", metrics=metrics)
    page = read(asks("GET", "/alice/a"))
    assert len(table(page, "Published with it")) == 100
    assert "And 30 more." in page.one("section", **{"aria-labelledby": "metrics"}).text


CLAIMED = "Claimed by the card; nothing here has measured it"


def claiming(*metrics: tuple[str, object], dataset: str = "films") -> bytes:
    told = [{"type": name, "value": value} for name, value in metrics]
    result = {"task": {"type": "x"}, "dataset": {"type": "x", "name": dataset}, "metrics": told}
    card = {"model-index": [{"name": "x", "results": [result]}]}
    return f"---\n{json.dumps(card)}\n---\n# Words\n".encode()


def test_what_a_card_claims_is_shown_as_its_word(asks: Ask, push: Push) -> None:
    hostile = "<b>films</b>"
    metrics = (("f1", 0.5), ("odd", "much"), ("<i>x</i>", 2))
    push("alice/a", {"README.md": claiming(*metrics, dataset=hostile)})
    page = read(asks("GET", "/alice/a"))
    assert table(page, CLAIMED) == [["f1", "0.5", hostile, ""], ["<i>x</i>", "2", hostile, ""]]


def test_what_a_card_repeats_of_its_version_is_no_claim(asks: Ask, publish: Publish) -> None:
    card = claiming(("accuracy", 0.75), ("other", 0.25))
    metrics = [METRIC | {"value": 0.75}]
    publish("alice/a", metrics=metrics, files={"README.md": card})
    page = read(asks("GET", "/alice/a"))
    assert [row[:2] for row in table(page, CLAIMED)] == [["other", "0.25"]]
    publish("alice/b", metrics=metrics, files={"README.md": claiming(("f1", True))})
    assert CLAIMED not in read(asks("GET", "/alice/b")).text


def test_the_description_of_a_version_is_shown_as_it_is(asks: Ask, publish: Publish) -> None:
    publish("alice/a", description="Reads <b>films</b>.\nSlowly.")
    assert read(asks("GET", "/alice/a")).one("p", class_="lines").raw == (
        "Reads <b>films</b>.\nSlowly."
    )
    publish("alice/long", description="x" * 5000)
    assert read(asks("GET", "/alice/long")).one("p", class_="lines").raw == f"{'x' * 2000}…"


def test_a_damaged_manifest_leaves_a_page(asks: Ask, publish: Publish, people: People) -> None:
    version: Version = publish("alice/a", task="sentiment", labels=["a", "b"])
    path = people.catalog.home / "blobs" / "sha256"
    (blob,) = [one for one in path.rglob(version.manifest_digest[4:] + "*") if one.is_file()] or [
        one for one in path.rglob("*") if one.name.endswith(version.manifest_digest[-20:])
    ]
    blob.chmod(0o644)
    blob.write_bytes(b"{}")
    page = read(asks("GET", "/alice/a"))
    assert "cannot be read" in page.one("p", class_="notice warn").text
    assert facts(page)["Task"] == "sentiment"
    assert "Labels" not in facts(page)


def test_a_page_asks_the_database_as_often_however_many_versions_there_are(
    people: People, publish: Publish, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import Engine, event

    asked: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    for number in range(3):
        publish("alice/few", tags=[str(number)])
    for number in range(15):
        publish("alice/many", tags=[str(number)])
    event.listen(Engine, "before_cursor_execute", count)
    try:
        with Client(App(hub)) as client:
            client.ask("GET", "/alice/absent")  # what is remembered of the account is asked now
            counts = []
            for name in ("few", "many"):
                asked.clear()
                assert client.ask("GET", f"/alice/{name}").status == 200
                counts.append(len(asked))
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert counts[0] == counts[1] <= 40


def test_where_everybody_signs_in_a_page_asks_for_that(people: People, publish: Publish) -> None:
    publish("alice/a")
    with Client(App(Hub(people.catalog, Settings(sign_in_required=True)))) as client:
        answer = client.ask("GET", "/alice/a")
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        page = read(client.ask("GET", "/alice/a", token=people.tokens["bob"]))
        assert "HF_TOKEN" in uses(page)["Say where this hub is, before anything else"]


def test_a_model_made_private_is_gone_at_once(asks: Ask, hub: Hub, publish: Publish) -> None:
    publish("alice/a")
    assert asks("GET", "/alice/a").status == 200
    set_visibility(hub, "alice/a", "private")
    assert asks("GET", "/alice/a").status == 404
