"""Requests as a whole: for which host, of what form, and what an answer carries."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import BusyDatabaseError, FullDiskError, HostError
from registry.history.commits import Commit
from registry.history.history import History
from registry.history.trees import Tree
from registry.server.app import App
from registry.server.hub import Hub, Settings
from registry.server.table import ROUTES
from tests.support.asgi import Ask, Client
from tests.support.people import People

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "127.0.0.1:8000",
            "localhost:8000",
            "LOCALHOST",
            "[::1]:8000",
            "10.1.2.3:80",
        ),
        *("hub", "HUB:8000"),
    ],
)
def test_a_request_for_this_machine_is_answered_with_links_to_where_it_went(host: str) -> None:
    own = Settings(hosts=frozenset({"hub"}))
    assert own.base_of("http", host) == f"http://{host}"
    assert own.base_of("https", host) == f"https://{host}"


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io"),
        *("hub.evil", "localhost@evil.example", "evil.example#localhost", "a b", "[::1", "[", "%"),
        *(
            "127.0.0.1/evil",
            "127.0.0.1?x",
            "localhost\\evil",
            "127.1",
            "0x7f.1",
            'localhost"',
            "<b>",
        ),
    ],
)
def test_a_request_for_another_host_is_refused(host: str) -> None:
    with pytest.raises(HostError):
        Settings(hosts=frozenset({"hub"})).base_of("http", host)


def test_an_address_that_people_use_is_in_all_links_and_is_answered_for(people: People) -> None:
    people.make("alice/mine")
    hub = Hub(people.catalog, Settings(url="https://hub.example.org"))
    with Client(App(hub)) as client:
        token = people.tokens["alice"]
        for host in ("hub.example.org", "127.0.0.1:8000"):
            body = {"name": "mine"}
            answer = client.ask("POST", "/api/repos/create", token=token, body=body, host=host)
            assert answer.json["url"] == "https://hub.example.org/alice/mine"
            answer = client.ask("GET", "/api/models/alice/mine/tree/main?limit=1", host=host)
            assert "link" not in answer.headers
        refused = client.ask("GET", "/api/models", host="other.example.org")
        assert (refused.status, refused.headers.get("access-control-allow-origin")) == (421, None)


def test_every_answer_has_an_id_and_runs_nothing_in_a_browser(asks: Ask, people: People) -> None:
    people.make("alice/mine")
    ids = set()
    for path in (
        "/api/models",
        "/nowhere",
        "/alice/mine/resolve/main/.gitattributes",
        "/alice/mine/resolve/main/nope",
    ):
        headers = asks("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in headers["content-security-policy"]
        ids.add(headers["x-request-id"])
    assert len(ids) == 4
    headers = asks("GET", "/alice/mine/resolve/main/.gitattributes").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith("attachment; ")
    assert headers["content-disposition"].endswith('filename=".gitattributes";')


def test_a_mistake_of_the_hub_is_told_by_an_id_alone(
    asks: Ask, hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*given: object, **more: object) -> None:
        raise RuntimeError("a secret of the machine")

    monkeypatch.setattr(hub.history, "page", fails)
    answer = asks("GET", "/api/models")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert answer.headers["x-request-id"] in caplog.text


@pytest.mark.parametrize("path", ["/", "/api/models", "/alice/mine", "/alice/none"])
def test_a_head_is_answered_as_a_get_without_its_body(asks: Ask, people: People, path: str) -> None:
    people.make("alice/mine")
    whole, head = asks("GET", path), asks("HEAD", path)
    assert (head.status, head.body) == (whole.status, b"")
    assert {**head.headers, "x-request-id": ""} == {**whole.headers, "x-request-id": ""}


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_what_is_remembered_is_answered_without_a_thread(
    asks: Ask, hub: Hub, people: People, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    people.make("alice/mine", "private")
    path = "/alice/mine/resolve/main/.gitattributes"
    asks("GET", path, by="alice")
    callers = ("alice", "bob", None)
    first = {by: asks(method, path, by=by) for by in callers}
    assert [first[by].status for by in callers] == [200, 404, 401]

    def fails(*given: object, **more: object) -> None:
        raise AssertionError("a handler ran in a thread")

    monkeypatch.setattr(App, "_run", fails)
    for by in callers:
        again = asks(method, path, by=by)
        assert (again.status, again.body) == (first[by].status, first[by].body)
        assert {**again.headers, "x-request-id": ""} == {**first[by].headers, "x-request-id": ""}


def test_reads_do_not_wait_for_a_writer(asks: Ask, people: People) -> None:
    people.make("alice/mine")
    with people.catalog.database.write():  # which holds SQLite
        started = time.monotonic()
        for path in (
            "/api/models",
            "/api/whoami-v2",
            "/api/models/alice/mine",
            "/alice/mine/resolve/main/.gitattributes",
        ):
            assert asks("GET", path, by="alice").status == 200
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("path", ["/api/models/alice/mine/tree/main", "/api/models?full=true"])
def test_a_squash_between_two_looks_at_a_branch_is_not_seen(
    asks: Ask, people: People, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    mine, history, tree = people.make("alice/mine"), people.catalog.history, History.tree

    def squashed(self: History, commit: Commit) -> Tree:
        monkeypatch.setattr(History, "tree", tree)
        history.squash(mine, "main", "Squash", "alice")
        return tree(self, commit)

    monkeypatch.setattr(History, "tree", squashed)
    assert asks("GET", path).status == 200


def test_what_was_counted_is_kept_until_it_can_be_written(
    asks: Ask, hub: Hub, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = people.make("alice/mine")
    hub.counts.download(repository.id)

    def busy(*given: object) -> None:
        raise BusyDatabaseError("another process writes")

    with monkeypatch.context() as patch:
        patch.setattr(hub.catalog.database, "transact", busy)
        with pytest.raises(BusyDatabaseError):
            hub.write_counts()
    hub.counts.download(repository.id)
    hub.write_counts()
    hub.write_counts()
    assert asks("GET", "/api/models/alice/mine").json["downloads"] == 2


def test_a_full_disk_is_told_as_what_clients_do_not_repeat(
    asks: Ask, hub: Hub, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.make("alice/mine")

    def full(arrivals: object) -> None:
        raise FullDiskError("Cannot store /srv/secret: no space left.")

    monkeypatch.setattr(hub.catalog.blobs, "put_all", full)
    body = b'{"key":"header","value":{"summary":"s"}}\n'
    body += b'{"key":"file","value":{"path":"a","content":"eA=="}}\n'
    answer = asks("POST", "/api/models/alice/mine/commit/main", by="alice", body=body)
    assert answer.status == 507
    assert b"/srv/secret" not in answer.body


WORDS = st.sampled_from(
    [
        *(
            "api",
            "models",
            "datasets",
            "alice",
            "mine",
            "resolve",
            "main",
            "tree",
            "commit",
            "_lfs",
        ),
        *(
            "mine.git",
            "info",
            "lfs",
            "objects",
            "batch",
            "revision",
            "settings",
            "%2e%2e",
            "..",
            "",
        ),
        *(
            "%00",
            "%ff",
            "a%2Fb",
            "{}",
            "...",
            "*",
            "repos",
            "create",
            "branch",
            "tag",
            "paths-info",
        ),
        *("preupload", "super-squash", "duplicate", "'", '"', "%F0%9F%92%A9", "v1", "0" * 40),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "files", "key", "value", "path", "objects", "oid", "size", "tag"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def require_repository(asks: Ask, people: People) -> None:
    """Make alice/mine, if it is not there: a request may have deleted it."""
    if asks("GET", "/api/models/alice/mine").status == 401:
        people.make("alice/mine")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]),
    st.lists(WORDS, min_size=1, max_size=8),
    st.sampled_from(["", "?limit=-1", "?expand=%00", "?recursive=maybe", "?cursor=%27", "?a=b"]),
    JSON,
)
def test_no_request_makes_the_hub_fail(
    asks: Ask, people: People, method: str, words: list[str], query: str, body: Any
) -> None:
    content = [body] if not isinstance(body, dict | list) else body
    require_repository(asks, people)
    answer = asks(method, "/" + "/".join(words) + query, by="alice", body=content)
    assert answer.status < 500 or answer.status == 501, (answer.status, answer.body)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([route for route in ROUTES if route.takes]),
    st.binary(max_size=60) | JSON.map(lambda body: [body] if not isinstance(body, dict) else body),
)
def test_no_body_makes_the_hub_fail(asks: Ask, people: People, route: Any, body: Any) -> None:
    path = next(route.spelled())[0]
    for name, value in {"{owner}": "alice", "{name}": "mine", "{revision}": "main"}.items():
        path = path.replace(name, value)
    require_repository(asks, people)
    answer = asks(route.method, path.replace("{branch}", "b"), by="alice", body=body)
    assert answer.status < 500 or answer.status == 501, (answer.status, answer.body)
