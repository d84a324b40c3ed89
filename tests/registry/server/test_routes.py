from __future__ import annotations

from typing import Any

import pytest

from registry.accounts.access import Need
from registry.errors import MethodError, NoSuchPageError, RequestError
from registry.server.routes import MOST_PATH_BYTES, Open, Route, Routes


def handler(hub: Any, ask: Any) -> Any:
    raise AssertionError("nobody calls this")


def route(method: str, pattern: str, need: Any = Need.READ) -> Route:
    return Route(method, pattern, need, handler)


TREE = route("GET", "/api/{kinds}/{owner}/{name}/tree/{revision}")
FOLDER = route("GET", "/api/{kinds}/{owner}/{name}/tree/{revision}/{path...}")
RESOLVE = route("GET", "/{prefix}/{owner}/{name}/resolve/{revision}/{path...}")
BATCH = route("POST", "/{prefix}/{owner}/{name}.git/info/lfs/objects/batch")
LIST = route("GET", "/api/{kinds}")
WHO = route("GET", "/api/whoami-v2", Need.SIGNED_IN)
SEND = route("PUT", "/_lfs/{signature}", Open.SIGNATURE)
UNOWNED = Route(
    "GET", "/{prefix}/{name}/resolve/{revision}/{path...}", Need.READ, handler, yields=True
)
ROUTES = Routes([TREE, FOLDER, UNOWNED, RESOLVE, BATCH, LIST, WHO, SEND])


@pytest.mark.parametrize(
    ("method", "path", "found", "params"),
    [
        ("GET", "/api/whoami-v2", WHO, {}),
        ("GET", "/api/datasets", LIST, {"kind": "dataset"}),
        ("HEAD", "/api/datasets", LIST, {"kind": "dataset"}),
        ("GET", "/api/models/ada/x/tree/main", TREE, {"revision": "main", "kind": "model"}),
        ("GET", "/api/models/ada/x/tree/feat%2Fx", TREE, {"revision": "feat/x"}),
        ("GET", "/api/spaces/ada/x/tree/main/a%2Fb", FOLDER, {"path": "a/b", "kind": "space"}),
        ("GET", "/api/spaces/ada/x/tree/main/a/b", FOLDER, {"path": "a/b"}),
        ("GET", "/ada/x/resolve/main/a.json", RESOLVE, {"owner": "ada", "path": "a.json"}),
        ("GET", "/ada/x/resolve/a%2Fb/c/%25%3F", RESOLVE, {"revision": "a/b", "path": "c/%?"}),
        ("GET", "/datasets/ada/x/resolve/main/a", RESOLVE, {"kind": "dataset", "owner": "ada"}),
        ("GET", "/ada/resolve/resolve/main/a", RESOLVE, {"name": "resolve", "path": "a"}),
        ("HEAD", "/gpt2/resolve/main/a/b", UNOWNED, {"name": "gpt2", "path": "a/b"}),
        ("GET", "/datasets/squad/resolve/main/a", UNOWNED, {"name": "squad", "kind": "dataset"}),
        ("POST", "/ada/x.git/info/lfs/objects/batch", BATCH, {"name": "x", "kind": "model"}),
        ("POST", "/spaces/a/x.y.git/info/lfs/objects/batch", BATCH, {"name": "x.y"}),
        ("PUT", "/_lfs/abc.def", SEND, {"signature": "abc.def"}),
    ],
)
def test_a_request_goes_to_the_route_of_its_raw_path(
    method: str, path: str, found: Route, params: dict[str, str]
) -> None:
    match = ROUTES.match(method, path.encode())
    assert match.route is found
    assert match.params.items() >= params.items()


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", "/api", "/api/whoami-v2/", "/api//whoami-v2", "/api/models/ada/x/nonsense"),
        *(
            "/ada/x/resolve/main",
            "/ada/x/info/lfs/objects/batch",
            "/api/%7B%7D",
            "/%7B%7D/...",
            "/_lfs",
        ),
    ],
)
def test_what_no_pattern_fits_is_not_there(path: str) -> None:
    with pytest.raises(NoSuchPageError):
        ROUTES.match("GET", path.encode())


def test_another_method_is_refused_with_those_that_work() -> None:
    with pytest.raises(MethodError) as refusal:
        ROUTES.match("DELETE", b"/api/whoami-v2")
    assert refusal.value.allowed == ("GET",)


@pytest.mark.parametrize(
    "path", [b"/api/\xff", b"/api/%ff", b"/api/a%00b", b"/a%0d%0ab", b"/" + b"a" * MOST_PATH_BYTES]
)
def test_a_path_that_is_no_text_is_malformed(path: bytes) -> None:
    with pytest.raises(RequestError) as refusal:
        ROUTES.match("GET", path)
    assert type(refusal.value) is RequestError


@pytest.mark.parametrize("need", [None, "", "read?"])
def test_no_route_is_registered_that_does_not_say_what_it_needs(need: Any) -> None:
    with pytest.raises(ValueError, match="does not say what it needs"):
        Routes([route("GET", "/api/x", need)])


@pytest.mark.parametrize("patterns", [["/a/{x}", "/a/{y}"], ["/api/{owner}/{name}"], ["/{x...}/a"]])
def test_routes_that_are_the_same_or_malformed_are_refused(patterns: list[str]) -> None:
    with pytest.raises(ValueError, match=r"there twice|at the end|of no kind"):
        Routes([route("GET", pattern) for pattern in patterns])
