"""hubkit user and hubkit org."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from registry import Version, open_catalog
from registry.accounts.accounts import Accounts
from registry.history.listing import Query
from registry.tables.reader import Reader

Run = Callable[..., Result]

PASSWORD = "correct horse battery"


def accounts() -> Accounts:
    return Accounts(open_catalog().store)


def test_a_user_is_added_and_listed(run: Run) -> None:
    assert run("user", "add", "Alice").stdout == "Alice is a user.\n"
    assert run("user", "add", "root", "--admin").stdout == "root is a user.\n"
    lines = [line.split("\t") for line in run("user", "list").stdout.splitlines()]
    assert [(name, *rest) for name, _, *rest in lines] == [
        ("Alice", "-", "0", "-"),
        ("root", "admin", "0", "-"),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", line[1]) for line in lines)


def test_what_was_published_in_a_name_is_told_of(run: Run, publish: Callable[..., Version]) -> None:
    for name in ("alice/film", "Alice/book", "acme/film", "film"):
        publish(name)
    assert run("user", "add", "alice").stdout == (
        "alice is a user.\n2 adapters published as alice/... so far: alice owns that now.\n"
    )
    assert run("org", "add", "acme").stdout == (
        "acme is an organisation.\nOne adapter published as acme/... so far: acme owns that now.\n"
    )
    assert json.loads(run("user", "add", "film", "--json").stdout)["repositories"] == 0


def test_what_a_new_account_owns_is_on_the_pages_of_a_hub(
    run: Run, publish: Callable[..., Version]
) -> None:
    for name in ("alice/film", "acme/book", "film"):
        publish(name)
    run("user", "add", "alice")
    run("org", "add", "acme")
    found, _ = open_catalog().history.page(Query(), Reader(everything=True), limit=10)
    assert {one.repository.full_name for one in found} == {"alice/film", "acme/book"}
    publish("alice/play")
    found, _ = open_catalog().history.page(Query(), Reader(everything=True), limit=10)
    assert {one.repository.full_name for one in found} == {"alice/film", "acme/book", "alice/play"}


def test_json_says_all_of_users_and_organisations(run: Run) -> None:
    added = json.loads(run("user", "add", "alice", "--admin", "--json").stdout)
    assert added.pop("created_at")
    assert added == {"name": "alice", "repositories": 0, "admin": True, "organisations": {}}
    added = json.loads(run("org", "add", "acme", "--json").stdout)
    assert added.pop("created_at")
    assert added == {"name": "acme", "repositories": 0, "members": {}}
    run("org", "member", "acme", "alice", "--role", "write")
    [user] = json.loads(run("user", "list", "--json").stdout)
    [organisation] = json.loads(run("org", "list", "--json").stdout)
    assert user["organisations"] == {"acme": "write"}
    assert organisation["members"] == {"alice": "write"}


def test_a_password_is_read_from_a_pipe(run: Run) -> None:
    shown = run("user", "add", "alice", "--password", text=f"{PASSWORD}\n")
    assert PASSWORD not in shown.output
    assert accounts().sign_in("alice", PASSWORD)
    run("user", "change", "alice", "--password", text="another one\r\n")
    assert accounts().sign_in("alice", "another one")


def test_a_short_password_is_refused_without_being_shown(run: Run) -> None:
    result = run("user", "add", "alice", "--password", text="short\n", status=1)
    assert "8 to 256 characters, but this one has 5" in result.stderr
    assert "short" not in result.output
    assert run("user", "list").stdout == ""


def test_a_terminal_is_asked_twice_and_shows_nothing(hubkit_home: Path) -> None:
    ours, theirs = pty.openpty()
    script = (
        "import sys; sys.argv = ['hubkit', 'user', 'add', 'alice', '--password'];"
        "from hubkit.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # no /dev/tty, so that it asks here
        env=os.environ | {"TERM": "dumb", "HUBKIT_HOME": str(hubkit_home)},
    )
    os.close(theirs)
    shown = b""
    for question in (b"Password: ", b"Repeat for confirmation: "):
        while not shown.endswith(question):
            shown += os.read(ours, 1024)
        os.write(ours, PASSWORD.encode() + b"\n")
    while True:
        try:
            shown += os.read(ours, 1024)
        except OSError:  # closed
            break
    assert process.wait() == 0
    os.close(ours)
    assert PASSWORD.encode() not in shown
    assert b"alice is a user." in shown
    assert accounts().sign_in("alice", PASSWORD)


def test_an_administrator_is_made_and_unmade(run: Run) -> None:
    run("user", "add", "alice")
    assert run("user", "change", "alice", "--admin").stdout == "alice is changed.\n"
    assert accounts().require("alice").admin
    run("user", "change", "alice", "--no-admin")
    assert not accounts().require("alice").admin
    assert "Say what to change" in run("user", "change", "alice", status=2).stderr


def test_a_removed_user_leaves_what_they_own(run: Run, publish: Callable[..., Version]) -> None:
    publish("alice/film")
    run("user", "add", "alice")
    assert "Not removed: add --yes" in run("user", "remove", "alice", status=1).stderr
    assert run("user", "remove", "alice", "--yes").stdout == (
        "alice is removed; the name cannot be used again.\n"
        "It leaves one repository, to which only an administrator can commit.\n"
    )
    assert run("user", "list").stdout == ""
    assert "no other account gets its name" in run("user", "add", "alice", status=1).stderr
    assert run("show", "alice/film").stdout


def test_who_is_not_there_is_listed_by(run: Run) -> None:
    run("user", "add", "alice")
    result = run("user", "remove", "alise", "--yes", status=1)
    assert result.stderr == (
        "Error: No user is called alise. Did you mean alice? "
        "`hubkit user list` shows those that exist.\n"
    )
    result = run("org", "member", "acme", "alice", "--role", "read", status=1)
    assert "`hubkit org list` shows those that exist." in result.stderr


@pytest.mark.parametrize("name", ["api", "a b", "a--b"])
def test_a_name_that_cannot_be_is_a_mistake_on_the_command_line(run: Run, name: str) -> None:
    for kind in ("user", "org"):
        assert run(kind, "add", name, status=2).stderr.startswith("Error: ")
    assert run("user", "list").stdout == ""


def test_the_log_tells_what_was_done(run: Run) -> None:
    run("user", "add", "alice")
    run("org", "add", "acme")
    run("org", "member", "acme", "alice", "--role", "write")
    run("token", "create", "alice", "--name", "laptop", "--scope", "read")
    run("token", "revoke", "alice", "laptop")
    run("org", "member", "acme", "alice", "--remove")
    run("user", "remove", "alice", "--yes")
    lines = [line.split("\t") for line in run("log").stdout.splitlines()]
    assert [(what, more) for _, _, _, what, _, more in lines] == [
        ("account", "added alice"),
        ("account", "added acme"),
        ("member", "alice as write to acme"),
        ("token", "created laptop of alice (read)"),
        ("token", "revoked laptop of alice"),
        ("member", "alice out of acme"),
        ("account", "removed alice"),
    ]


def test_accounts_that_a_downgrade_took_come_back_from_the_log(run: Run) -> None:
    run("user", "add", "alice", "--admin")
    run("token", "create", "alice", "--name", "laptop", "--scope", "read")
    run("db", "downgrade", "0005", "--yes")
    assert run("user", "list").stdout == ""
    run("fsck", "--full", "--repair", status=1)
    assert run("user", "list").stdout.split("\t")[2] == "admin"
    assert run("token", "list", "alice").stdout == ""
    run("fsck", "--full")
