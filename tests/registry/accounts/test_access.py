"""docs/access.md says who may do what, and the function that decides says the same everywhere."""

import re
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest

from registry.accounts.access import (
    HUB,
    LEVELS,
    MISSING,
    Account,
    Caller,
    Decision,
    Level,
    Need,
    Place,
    decide,
)

DOCS = (Path(__file__).parents[3] / "docs" / "access.md").read_text(encoding="utf-8")

OWNER, OTHER = 1, 2
THIS, OTHERS = 10, 20
PLACES = {
    "A public repository": [Place.of_repository(THIS, OWNER, "public")],
    "A private repository": [Place.of_repository(THIS, OWNER, "private")],
    "A repository without an account, or one that does not exist": [
        Place.of_repository(THIS, None, "public"),
        Place.of_repository(THIS, None, "private"),
        MISSING,
    ],
    "An account": [Place.of_account(OWNER)],
    "The hub as a whole": [HUB],
}
ROLES: dict[str, Level | None] = {
    "not a member": None,
    "member: read": "read",
    "member: write": "write",
    "member: admin": "admin",
    "owner": None,
    "administrator of the hub": None,
}
LIMITS = {"nothing": None, "this": frozenset({THIS}), "others": frozenset({OTHERS})}

Row = tuple[str, str, str]
COLUMNS = [Need.READ, Need.SIGNED_IN, Need.WRITE, Need.ADMIN]


def caller(who: str, scope: str, limit: str) -> Caller | None:
    if who == "nobody":
        return None
    role = ROLES[who]
    account = Account(
        OWNER if who == "owner" else OTHER,
        who,
        "user",
        datetime.now(UTC),
        admin=who == "administrator of the hub",
    )
    return Caller(
        account,
        token_id=1,
        token="laptop",
        scope=scope,  # type: ignore[arg-type]
        repositories=LIMITS[limit],
        roles={} if role is None else {OWNER: role},
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(title: str) -> dict[Row, dict[Need, Decision]]:
    """Every combination of the table under a title, with what it says of each need."""
    found = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^#|\Z)", DOCS, re.MULTILINE | re.DOTALL)
    assert found, title
    header, _, *lines = [line for line in found[1].splitlines() if line.startswith("|")]
    assert cells(header) == ["Who asks", "Scope", "Limited to", *COLUMNS]
    rows: dict[Row, dict[Need, Decision]] = {}
    for line in lines:
        who, scope, limit, *decisions = cells(line)
        answers = dict(zip(COLUMNS, map(Decision, decisions), strict=True))
        for key in product(
            ROLES if who == "anybody" else who.split(", "),
            LEVELS if scope == "any" else scope.split(", "),
            LIMITS if limit == "any" else limit.split(", "),
        ):
            assert key not in rows, f"{title}: {key} is there twice"
            rows[key] = answers
    return rows


@pytest.mark.parametrize("title", PLACES)
def test_the_docs_have_every_combination_once(title: str) -> None:
    assert table(title).keys() == {("nobody", "-", "-"), *product(ROLES, LEVELS, LIMITS)}


@pytest.mark.parametrize("title", PLACES)
def test_every_decision_is_as_the_docs_say(title: str) -> None:
    for place, (row, answers) in product(PLACES[title], table(title).items()):
        for need, expected in answers.items():
            assert decide(caller(*row), need, place) is expected, (place, row, need)


def test_the_docs_have_a_table_for_each_place() -> None:
    assert re.findall(r"^### (.+)$", DOCS, re.MULTILINE) == [*PLACES]


@pytest.mark.parametrize("need", Need)
@pytest.mark.parametrize("place", [place for places in PLACES.values() for place in places])
def test_a_closed_hub_tells_nobody_anything(need: Need, place: Place) -> None:
    assert decide(None, need, place, sign_in_required=True) is Decision.SIGN_IN
    somebody = caller("owner", "write", "nothing")
    assert decide(somebody, need, place, sign_in_required=True) is decide(somebody, need, place)


def test_what_is_hidden_is_answered_as_what_is_not_there() -> None:
    private = Place.of_repository(THIS, OWNER, "private")
    for who, scope, limit, need in product(["not a member"], LEVELS, LIMITS, Need):
        asking = caller(who, scope, limit)
        assert decide(asking, need, private) is decide(asking, need, MISSING)
    assert [decide(None, need, private) for need in Need] == [
        decide(None, need, MISSING) for need in Need
    ]


def test_a_caller_reads_its_own_account_and_those_that_it_is_a_member_of() -> None:
    member = caller("member: read", "read", "nothing")
    assert member is not None
    assert member.reads == {OWNER, OTHER}


def test_an_actor_is_the_account_and_its_token() -> None:
    owner = caller("owner", "read", "nothing")
    assert owner is not None
    assert owner.actor == "owner (laptop)"
