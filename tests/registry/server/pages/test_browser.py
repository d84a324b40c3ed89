"""The pages in a browser: found by keyboard alone, readable for everybody, and safe."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import uvicorn
from selenium.webdriver import Keys

from registry import AdapterRef, Version, open_catalog, read_folder
from registry.folders import write_manifest
from registry.history.committing import Committer
from registry.history.history import History
from registry.manifest import Manifest
from registry.server.app import App
from registry.server.hub import Hub
from tests.registry.conftest import BASE
from tests.registry.history.conftest import puts
from tests.support.browser import Browser, browsing
from tests.support.measurements import measurement
from tests.support.people import People, with_people

pytestmark = [pytest.mark.once, pytest.mark.skipif(os.name == "nt", reason="Debian's browser")]

CARD = """---
license: apache-2.0
language: en
tags: [reviews]
---
# Sentiment of film reviews

Says whether a review **likes** the film. Trained on [a data set](https://example.org/reviews).

| Split | Rows |
|---|---|
| train | 8,000 |
| test | 2,000 |

```python
hubkit.load("alice/film-sentiment").predict("A joy to watch.")
```
"""
HARM = '"><img src=x onerror=window.harm=1><script>window.harm=2</script>'
HOSTILE_CARD = f"""---
license: mit
---
# Title {HARM}

<script>window.harm = 3</script>
<img src=x onerror="window.harm = 4">
<a href="javascript:window.harm=5">a link</a> [another](javascript:window.harm=6)
![picture](https://example.org/tracker.png)
<svg onload="window.harm = 7"><style>main {{ display: none }}</style></svg>
<form action="https://example.org"><input name=q><button>Send</button></form>
<h2 id="main">main</h2><div style="position:fixed;inset:0">over it all</div>
<iframe srcdoc="<script>parent.harm=8</script>"></iframe><base href="https://example.org/">
"""
HOSTILE_FILE = "'\"><img src=x onerror=window.harm=9>.txt"


class Shelf:
    """A hub with adapters that people would make, and with one that is made to do harm."""

    def __init__(self, home: Path, folders: Path) -> None:
        self.people: People = with_people(open_catalog(home))
        self.history = History(self.people.catalog.store)
        self.committer = Committer(self.people.catalog.store)
        self._folders, self._made = folders, 0
        self.publish(
            "bob/harm", card=HOSTILE_CARD, task=HARM, tags=[HARM, "a" * 250], description=HARM,
            metrics=[metric(0.99, name=HARM[:200]), metric(1, dataset=HARM)],
            labels=[HARM, "\u05e9\u05dc\u05d5\u05dd"], message=HARM,
        )  # fmt: skip
        names = (HOSTILE_FILE, "\u202etxt.exe", "a" * 200, "javascript:window.harm=10", HARM)
        self.push("bob/harm", "dataset", {name: HARM.encode() for name in names})
        metrics = [metric(0.91), metric(0.9, name="f1"), metric(0.31, name="loss")]
        self.publish(
            "alice/film-sentiment", card=CARD, task="sentiment", tags=["reviews"], metrics=metrics,
            language="en", license="apache-2.0", labels=["negative", "positive"],
            description="Says whether a review likes the film.",
        )  # fmt: skip
        book = self.publish("bob/book-sentiment", task="sentiment", metrics=[metric(0.88)])
        draft = self.publish("acme/draft", task="topics")
        self.publish(
            "acme/topics", kind="stack", method={"type": "stack"}, parents=[pin(draft)],
            task="topics", language="de", tags=["news"],
        )  # fmt: skip
        self.people.catalog.delete(AdapterRef.parse("acme/draft"))
        better = self.publish(
            "alice/film-sentiment", card=CARD + "\nMore rows.\n", task="sentiment",
            metrics=[metric(0.93)], labels=["bad", "good"],
        )  # fmt: skip
        self.people.catalog.record(better.ref, [measurement()])
        self.people.catalog.set_alias(better.ref, "best")
        pins = [pin(better), pin(book)]
        self.fused = self.publish(
            "alice/reviews-fusion", kind="fusion", method={"type": "fusion"}, parents=pins,
            task="sentiment", metrics=[metric(0.95)],
        )  # fmt: skip
        self.publish("alice/secret-plans", "private", task="sentiment")
        self.push("alice/reviews", "dataset", {"train.csv": b"text,label\nfine,1\n"})
        self.push("bob/demo", "space", {"app.py": b"print('hello')\n"})

    def publish(
        self, name: str, visibility: Any = "public", *, card: str | None = None,
        message: str = "", **fields: Any,
    ) -> Version:  # fmt: skip
        self._made += 1
        folder = self._folders / str(self._made)
        contents = {"weights.bin": b"%d" % self._made}
        if card is not None:
            contents["README.md"] = card.encode()
        folder.mkdir()
        for path, content in contents.items():
            (folder / path).write_bytes(content)
        facts = {
            "kind": "adapter", "method": {"type": "lora"}, "base_model": BASE,
            "task_type": "text-classification",
        }  # fmt: skip
        write_manifest(folder, Manifest.model_validate(facts | fields))
        ref = AdapterRef.parse(name)
        if self.history.find("model", ref) is None:
            self.people.make(name, visibility)
        author = str(ref.owner)
        return self.people.catalog.publish(ref, read_folder(folder), author=author, message=message)

    def push(self, name: str, kind: Any, files: Mapping[str, bytes]) -> None:
        made, changes = self.people.make(name, kind=kind), puts(self.people.catalog, files)
        self.committer.commit(made, "main", changes, title="Push", actor="alice")


def metric(value: float, **fields: Any) -> dict[str, Any]:
    facts = {"dataset": "imdb", "split": "test", "name": "accuracy"}
    better = fields.get("name") != "loss"
    return {**facts, "value": value, "higher_is_better": better, **fields}


def pin(version: Version) -> dict[str, str]:
    return {"ref": str(version.ref), "digest": version.manifest_digest}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("hub") / "home", tmp_path_factory.mktemp("folders"))


@pytest.fixture(scope="module")
def browser(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    options: dict[str, Any] = {"interface": "asgi3", "log_level": "critical", "lifespan": "off"}
    app = App(Hub(shelf.people.catalog))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **options))
    started, startup = threading.Event(), server.startup

    async def start(**how: Any) -> None:
        await startup(**how)
        started.set()

    server.startup = start  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert started.wait(timeout=30)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with browsing(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("profile")) as opened:
            yield opened
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(autouse=True)
def quiet(browser: Browser) -> Iterator[None]:
    """Nothing is blocked and nothing fails, whatever a test looks at."""
    browser.told()
    yield
    assert browser.told() == []


PLACES = {
    "front": "/",
    "datasets": "/datasets",
    "spaces": "/spaces",
    "bases": "/bases",
    "base": f"/bases/{BASE['id']}",
    "leaderboards": "/leaderboards",
    "leaderboard": "/leaderboards?dataset=imdb&metric=accuracy&task=sentiment",
    "account": "/alice",
    "organisation": "/acme",
    "repository": "/alice/film-sentiment",
    "version": "/alice/film-sentiment?revision=v1",
    "dataset": "/datasets/alice/reviews",
    "files": "/alice/film-sentiment/tree/main",
    "file": "/alice/film-sentiment/blob/main/README.md",
    "commits": "/alice/film-sentiment/commits/main",
    "commit": "/alice/film-sentiment/commit/v2",
    "lineage": "/alice/reviews-fusion/lineage",
    "lineage of what is gone": "/acme/topics/lineage",
    "compare": "/compare?left=alice/film-sentiment@1&right=alice/film-sentiment@2",
    "nothing compared": "/compare",
    "nothing ranked": "/leaderboards?dataset=nothing",
    "nothing": "/alice/nothing",
    "found nothing": "/?q=nothing-is-called-so",
    "harm": "/bob/harm",
    "files of harm": "/datasets/bob/harm/tree/main",
    "file of harm": f"/datasets/bob/harm/blob/main/{quote(HOSTILE_FILE)}",
    "commit of harm": "/bob/harm/commit/main",
    "harm compared": "/compare?left=bob/harm&right=alice/film-sentiment",
    "harm asked": "/?q=%3Cimg+src%3Dx+onerror%3Dwindow.harm%3D1%3E&tag=%22%3E%3Cscript%3E",
    "harm as a name": "/%3Cimg%20src%3Dx%20onerror%3Dwindow.harm%3D1%3E",
}
"""The pages that are looked at."""

ALIKE = ("organisation", "version", "files of harm", "file of harm", "commit of harm", "harm asked")
"""Those that are made as others are, of other things: axe looks at a page for half a second."""

PICTURED = ("front", "repository", "lineage", "compare")
"""Those with a picture in the documentation: HUBKIT_TEST_PICTURES=docs/pictures makes them."""


def test_an_adapter_is_found_by_words_and_filters_opened_and_compared(browser: Browser) -> None:
    browser.open("/")
    find = browser.driver.find_element
    assert "alice/secret-plans" not in browser.text
    find("id", "task").send_keys("text-classification")
    find("id", "q").send_keys("film", Keys.ENTER)
    browser.arrive("q=film")
    names = [one.text for one in browser.driver.find_elements("css selector", ".entries h2")]
    assert names == ["alice/film-sentiment"]
    assert find("id", "q").get_attribute("value") == "film"
    find("link text", "alice/film-sentiment").click()
    browser.arrive("/alice/film-sentiment")
    assert "Sentiment of film reviews" in browser.text
    find("link text", "compare 2 with 1").click()
    browser.arrive("/compare?")
    differing = browser.driver.find_elements("css selector", "tr.differs")
    assert any("accuracy" in row.text and "0.91" in row.text for row in differing)


def test_with_the_keyboard_alone_an_adapter_is_found_and_opened(browser: Browser) -> None:
    browser.open("/")
    assert browser.tab(to="Skip to the content") == ["Skip to the content"]
    browser.press(Keys.ENTER)
    assert browser.run("return document.activeElement.id") == "main"
    assert browser.tab(to="Words of the name") == ["Words of the name"]
    outline = "const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);"
    assert browser.run(f"{outline} return [outlineStyle, outlineWidth]") == ["solid", "3px"]
    browser.press("film", Keys.ENTER)
    browser.arrive("q=film")
    on_the_way = browser.tab(to="alice/film-sentiment")
    assert on_the_way[:2] == ["Skip to the content", "hubkit"]  # as they stand on the page
    browser.press(Keys.ENTER)
    browser.arrive("/alice/film-sentiment")
    browser.tab(to="Lineage")
    browser.press(Keys.ENTER)
    browser.arrive("/lineage")
    assert "alice/reviews-fusion" in browser.text


@pytest.mark.parametrize("place", PLACES)
def test_nothing_harmful_runs_and_no_page_breaks(browser: Browser, place: str) -> None:
    browser.open(PLACES[place])
    assert browser.run("return window.harm") is None
    assert place != "harm" or HARM in browser.text  # as what it is
    if place in PICTURED:
        browser.picture(place)
    counted = "return document.querySelectorAll(`${arguments[0]}:not(.card *)`).length"
    for part in ("h1", "main", "header", "footer"):
        assert browser.run(counted, part) == 1
    assert browser.run("return document.querySelector('main').offsetHeight") > 50
    for part in ("main script", "main style", "iframe", "base", "form[action^=http]"):
        assert browser.run(counted.replace(":not(.card *)", ""), part) == 0


@pytest.mark.parametrize("place", [place for place in PLACES if place not in ALIKE])
def test_axe_finds_nothing_serious_in_either_theme(browser: Browser, place: str) -> None:
    with browser.theme("light"):
        browser.open(PLACES[place])
        assert browser.problems() == []
    with browser.theme("dark"):
        assert browser.problems("color-contrast") == []


def test_what_these_tests_look_for_would_be_found(browser: Browser) -> None:
    browser.open("/")
    harm = "document.querySelector('main').innerHTML += arguments[0]"
    browser.run(harm, '<img src="/static/none.svg" onerror="window.harm = 1">')
    with browser.theme("dark"):
        browser.run(harm, '<p class="pale">pale</p>')
        browser.run("document.querySelector('.pale').style.color = '#333'")
        assert [one.split(":")[0] for one in browser.problems("color-contrast")] == [
            "color-contrast"
        ]
    assert "image-alt" in {one.split(":")[0] for one in browser.problems()}
    with browser.screen(360, 740):
        browser.run("document.querySelector('.pale').style.width = '500px'")
        assert browser.run("return document.documentElement.scrollWidth") > 360
    assert any("Content Security Policy" in one for one in browser.told())
    assert browser.run("return window.harm") is None


@pytest.mark.parametrize("place", PLACES)
def test_no_page_is_wider_than_a_phone(browser: Browser, place: str) -> None:
    with browser.screen(360, 740):
        browser.open(PLACES[place])
        assert browser.run("return document.documentElement.scrollWidth") == 360


def test_without_script_all_of_it_works(browser: Browser) -> None:
    with browser.without_script():
        browser.open("/")
        find = browser.driver.find_element
        find("id", "q").send_keys("fusion", Keys.ENTER)
        browser.arrive("q=fusion")
        find("link text", "alice/reviews-fusion").click()
        browser.arrive("/alice/reviews-fusion")
        assert browser.driver.find_elements("css selector", ".command button") == []
        assert "hubkit pull" in browser.text
        find("link text", "Lineage").click()
        browser.arrive("/lineage")
        assert "bob/book-sentiment" in browser.text


def test_a_line_is_copied_by_its_button(browser: Browser) -> None:
    browser.open("/alice/film-sentiment")
    button = browser.driver.find_element("css selector", ".command button")
    browser.driver.execute_cdp_cmd(  # type: ignore[no-untyped-call]
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    line = browser.driver.find_element("css selector", ".command code").text
    button.click()
    browser.hear("Copied.")
    read = "navigator.clipboard.readText().then(arguments[arguments.length - 1])"
    assert browser.driver.execute_async_script(read) == line  # type: ignore[no-untyped-call]


def test_who_signs_in_with_a_token_as_password_sees_what_is_theirs(
    browser: Browser, shelf: Shelf
) -> None:
    # By another name of this machine, so that other tests stay strangers.
    address = browser.hub.replace("127.0.0.1", "localhost")
    token = shelf.people.tokens["alice"]
    browser.driver.get(address.replace("://", f"://anything:{token}@") + "/login?next=/alice")
    assert urlsplit(browser.driver.current_url).path == "/alice"
    # Chromium waits to be asked where a name stands in the URL, which nobody's does who types it.
    browser.driver.get(f"{address}/alice")
    assert "Signed in as alice" in browser.text
    assert "alice/secret-plans" in browser.text
    assert browser.problems() == []
    browser.open("/alice")
    assert "alice/secret-plans" not in browser.text
