from collections.abc import Callable

import pytest
from click.testing import Result

Run = Callable[..., Result]


def test_a_member_is_added_changed_and_removed(run: Run) -> None:
    run("user", "add", "Alice")
    run("org", "add", "Acme")
    assert run("org", "member", "acme", "alice", "--role", "write").stdout == (
        "Alice is a member, with the role write, of Acme.\n"
    )
    assert run("org", "list").stdout.split("\t")[3] == "Alice (write)\n"
    run("org", "member", "acme", "alice", "--role", "read")
    assert run("user", "list").stdout.split("\t")[4] == "Acme (read)\n"
    assert run("org", "member", "acme", "alice", "--remove").stdout == (
        "Alice is not a member of Acme.\n"
    )
    assert run("org", "list").stdout.split("\t")[3] == "-\n"


@pytest.mark.parametrize("options", [[], ["--remove", "--role", "read"]])
def test_a_member_gets_a_role_or_loses_it(run: Run, options: list[str]) -> None:
    result = run("org", "member", "acme", "alice", *options, status=2)
    assert "Give --role or --remove, one of them." in result.stderr


def test_a_removed_organisation_is_not_listed(run: Run) -> None:
    run("org", "add", "acme")
    run("user", "add", "alice")
    assert (
        "No organisation is called alce" in run("org", "remove", "alce", "--yes", status=1).stderr
    )
    assert "expected an organisation" in run("org", "remove", "alice", "--yes", status=1).stderr
    assert "expected a user" in run("user", "remove", "acme", "--yes", status=1).stderr
    run("org", "remove", "acme", "--yes")
    assert run("org", "list").stdout == ""
