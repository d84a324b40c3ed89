"""Every route x method x caller x visibility is answered as docs/access.md says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from starlette.responses import Response

from registry.accounts.access import HUB, MISSING, Decision, Need, Place, decide
from registry.accounts.accounts import Accounts
from registry.accounts.tokens import Tokens
from registry.errors import InvalidNameError
from registry.server.app import App
from registry.server.hub import Hub, Settings
from registry.server.routes import Open, Route
from registry.server.table import ROUTES, SERVED
from tests.support.asgi import Answer, Ask, Client
from tests.support.people import OWNER, People

CALLERS = (
    *(None, "alice", "alice reads", "bob", "carol", "dora", "dora reads", "root", "root writes"),
    *("dora here", "dora elsewhere"),
)
NAMES = ("open", "secret", "missing")


def spelled(route: Route, name: str) -> list[str]:
    """The paths of a route for a repository, one for each kind; only models are there."""
    filled = []
    for pattern, _ in route.spelled():
        path = pattern.replace("{owner}", OWNER).replace("{name}", name)
        filled.append(re.sub(r"\{\w+(\.\.\.)?\}", "main", path))
    return filled


def answered(answer: Answer) -> Decision:
    """What an answer tells whoever asked."""
    if answer.status == 204:
        return Decision.ALLOWED
    if answer.code == "RepoNotFound":
        assert answer.status in (401, 404)
        return Decision.HIDDEN
    assert answer.status in (401, 403)
    return Decision.SIGN_IN if answer.status == 401 else Decision.FORBIDDEN


@pytest.fixture
def walk(people: People) -> Iterator[tuple[Client, Client, dict[str, Place]]]:
    """The hub, and the same closed to strangers, with handlers that do nothing."""

    def handler(hub: Any, asking: Any) -> Response:
        return Response(status_code=204)

    tokens = Tokens(people.catalog.store)
    places = {"missing": MISSING}
    for name, visibility in (("open", "public"), ("secret", "private")):
        made = people.make(f"{OWNER}/{name}", visibility)  # type: ignore[arg-type]
        places[name] = Place.of_repository(made.id, made.account_id, made.visibility)
    people.make(f"{OWNER}/other")
    here, elsewhere = [f"{OWNER}/open", f"{OWNER}/secret"], [f"{OWNER}/other"]
    people.tokens["dora here"] = tokens.create("dora", "here", "write", repositories=here)
    people.tokens["dora elsewhere"] = tokens.create(
        "dora", "there", "write", repositories=elsewhere
    )
    routes = [replace(route, handler=handler) for route in ROUTES]
    closed = Hub(people.catalog, Settings(sign_in_required=True))
    with Client(App(Hub(people.catalog), routes)) as app, Client(App(closed, routes)) as other:
        yield app, other, places


@pytest.mark.sqlite
def test_every_route_is_open_to_those_whom_the_table_lets_in(
    walk: tuple[Client, Client, dict[str, Place]], people: People
) -> None:
    app, closed, places = walk
    for by in CALLERS:
        caller = people.caller(by)
        token = None if by is None else people.tokens[by]
        stranger = by in (None, "bob")
        for route in ROUTES:
            if isinstance(route.need, Open):
                if stranger:
                    assert app.ask(route.method, spelled(route, "x")[0]).status == 204, route
                continue
            need = Need.SIGNED_IN if route.named else route.need
            of_repository = "{owner}" in route.pattern
            for name in NAMES if of_repository else ("any",):
                # What is there is a model; of each other kind, strangers are enough.
                for place, path in enumerate(spelled(route, name)[: None if stranger else 1]):
                    there = (places[name] if place == 0 else MISSING) if of_repository else HUB
                    wanted = decide(caller, need, there)
                    answer = app.ask(route.method, path, token=token)
                    assert answered(answer) is wanted, (route, by, path)
                    if by is None:
                        answer = closed.ask(route.method, path)
                        assert answered(answer) is Decision.SIGN_IN, (route, path)


@pytest.mark.once
def test_no_route_reaches_its_handler_with_a_token_that_is_not_valid(
    walk: tuple[Client, Client, dict[str, Place]], people: People
) -> None:
    app, _, _ = walk
    Tokens(people.catalog.store).revoke("bob", "laptop")
    for token in ("hf_not_a_token", people.tokens["bob"], people.tokens["alice"][:-1] + "x", ""):
        for route in ROUTES:
            answer = app.ask(route.method, spelled(route, "open")[0], token=token)
            assert answer.status == (204 if isinstance(route.need, Open) else 401), route


@pytest.mark.once
def test_verbs_that_no_route_has_are_refused_before_anything_is_looked_at(
    walk: tuple[Client, Client, dict[str, Place]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _, _ = walk
    monkeypatch.setattr(Tokens, "check", None)  # would fail if it were asked
    for method in ("PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "X"):
        answer = app.ask(method, f"/api/models/{OWNER}/secret", token="hubkit_x")
        assert answer.status == 405, method
    for path in (f"/{OWNER}/secret.git/info/lfs/objects/anything", f"/api/models/{OWNER}/secret/x"):
        assert app.ask("POST", path, token="hubkit_x").status == 404


def test_the_documents_list_every_route_with_what_it_needs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\w+) \| `([^`]+)` \| ([\w ]+?) \|", text, re.MULTILINE)
    assert told == [(route.method, route.pattern, str(route.need)) for route in SERVED]


@pytest.mark.once
def test_no_account_is_called_like_the_start_of_a_path(people: People) -> None:
    words = {route.pattern.split("/")[1] for route in ROUTES} - {""}
    accounts = Accounts(people.catalog.store)
    for word in sorted(word for word in words if not word.startswith("{")):
        with pytest.raises(InvalidNameError):
            accounts.add_user(word)


@pytest.mark.parametrize("by", [None, "bob"])
def test_what_is_private_takes_the_same_work_as_what_is_missing(
    people: People, asks: Ask, by: str | None
) -> None:
    people.make("alice/secret", "private")
    engine = people.catalog.database.backend.engine
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        statements.append(statement)

    work = []
    event.listen(engine, "before_cursor_execute", note)
    try:
        for name in ("secret", "absent"):
            people.make(f"alice/beside-{name}", "public")  # so that nothing is remembered
            statements.clear()
            for path in ("/api/models/alice/{}", "/alice/{}/resolve/main/a"):
                assert asks("GET", path.format(name), by=by).code == "RepoNotFound"
            work.append([*statements])
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert work[0] == work[1] != []


@pytest.mark.sqlite
@pytest.mark.parametrize("by", [None, "bob"])
def test_what_is_private_and_what_is_missing_are_answered_alike(
    people: People, asks: Ask, by: str | None
) -> None:
    people.make("alice/secret", "private")
    for route in ROUTES:
        if "{owner}" not in route.pattern:
            continue
        pattern = next(route.spelled())[0].replace("{owner}", "alice")
        answers = []
        for name in ("secret", "absent"):
            path = re.sub(r"\{\w+(\.\.\.)?\}", "main", pattern.replace("{name}", name))
            answer = asks(route.method, path, by=by)
            told = {key: value for key, value in answer.headers.items() if key != "x-request-id"}
            # A page leads back to what was asked for.
            answers.append((answer.status, told, answer.body.replace(name.encode(), b"NAME")))
        assert answers[0] == answers[1], route
