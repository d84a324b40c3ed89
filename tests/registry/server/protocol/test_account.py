from __future__ import annotations

from registry.accounts.accounts import Accounts
from tests.support.asgi import Ask
from tests.support.people import People


def test_accounts_are_described_by_what_is_no_secret(asks: Ask, people: People) -> None:
    assert asks("GET", "/api/users/alice/overview").json["user"] == "alice"
    assert asks("GET", "/api/organizations/acme/overview").json["numUsers"] == 3
    members = asks("GET", "/api/organizations/acme/members").json
    assert [one["user"] for one in members] == ["alice", "carol", "dora"]
    for path in ("users/acme", "organizations/alice", "users/nobody", "users/.."):
        assert asks("GET", f"/api/{path}/overview").status == 404
    Accounts(people.catalog.store).remove("bob")
    assert asks("GET", "/api/users/bob/overview").status == 404


def test_whoami_tells_the_organisations_and_what_the_token_is_good_for(asks: Ask) -> None:
    told = asks("GET", "/api/whoami-v2", by="alice").json
    assert (told["name"], told["type"]) == ("alice", "user")
    assert [(one["name"], one["roleInOrg"]) for one in told["orgs"]] == [("acme", "write")]
    assert told["auth"]["accessToken"] == {"displayName": "laptop", "role": "write"}
    reads = asks("GET", "/api/whoami-v2", by="alice reads").json["auth"]["accessToken"]
    assert reads == {"displayName": "reads", "role": "read"}


def test_an_owner_that_the_hub_does_not_have_is_not_hosted(asks: Ask, people: People) -> None:
    people.make("alice/mine")
    for path in (
        "/api/models/google/gemma",
        "/google/gemma/resolve/main/config.json",
        "/api/models/gpt2",
        "/gpt2/resolve/main/config.json",
        "/api/models/..%2F/x",
    ):
        for by in (None, "bob"):
            assert asks("GET", path, by=by).code == "NotHosted", path
    assert asks("GET", "/api/models/alice/other", by="bob").code == "RepoNotFound"
