"""hubkit token."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from registry import Version, open_catalog
from registry.accounts.access import Caller
from registry.accounts.tokens import Tokens
from tests.cli.conftest import terminal

Run = Callable[..., Result]
CREATE = ("token", "create", "alice", "--name", "laptop", "--scope", "write")


@pytest.fixture(autouse=True)
def _alice(run: Run) -> None:
    run("user", "add", "alice")


def caller(text: str) -> Caller | None:
    return Tokens(open_catalog().store).check(text)


def test_in_a_pipe_the_token_stands_alone_on_one_line(run: Run) -> None:
    result = run(*CREATE)
    assert result.stderr == ""
    assert result.stdout.endswith("\n")
    found = caller(result.stdout.removesuffix("\n"))
    assert found is not None
    assert (found.account.name, found.token, found.scope) == ("alice", "laptop", "write")


def test_a_terminal_is_told_that_it_is_shown_once(hubkit_home: Path) -> None:
    shown = terminal(*CREATE, width=40).splitlines()
    assert len(shown) == 1  # the note goes to standard error
    assert caller(shown[0])


def test_a_token_is_listed_without_its_text(run: Run) -> None:
    text = run(*CREATE).stdout.strip()
    assert run("token", "list", "ALICE").stdout.split("\t") == [
        "laptop",
        f"{text[:11]}...",
        "write",
        "-",
        f"{datetime.now(UTC):%Y-%m-%d}",
        "never",
        "never\n",
    ]
    [listed] = json.loads(run("token", "list", "alice", "--json").stdout)
    assert text not in str(listed)
    assert listed.pop("created_at")
    assert listed == {
        "name": "laptop",
        "hint": text[:11],
        "scope": "write",
        "repositories": [],
        "expires_at": None,
        "last_used_at": None,
    }


def test_a_token_can_be_limited_in_time_and_place(
    run: Run, publish: Callable[..., Version]
) -> None:
    publish("alice/film")
    created = json.loads(
        run(*CREATE, "--repository", "alice/film", "--expires", "90d", "--json").stdout
    )
    found = caller(created["token"])
    assert found is not None
    assert found.repositories is not None
    left = datetime.fromisoformat(created["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)
    [listed] = json.loads(run("token", "list", "alice", "--json").stdout)
    assert listed["repositories"] == ["alice/film"]
    assert listed["expires_at"] == created["expires_at"]


@pytest.mark.parametrize("period", ["", "0d", "90", "-1d", "1y", "d", "999999w", "1.5d"])
def test_what_is_no_period_is_refused(run: Run, period: str) -> None:
    result = run(*CREATE, "--expires", period, status=2)
    assert "expected a period of up to a century, as 12h, 90d or 4w" in result.stderr


def test_a_token_for_a_repository_that_is_not_there_is_not_made(run: Run) -> None:
    result = run(*CREATE, "--repository", "alice/film", status=1)
    assert "No repository is called alice/film." in result.stderr
    assert run("token", "list", "alice").stdout == ""


def test_a_revoked_token_is_nobodys(run: Run) -> None:
    text = run(*CREATE).stdout.strip()
    assert run("token", "revoke", "alice", "laptop").stdout == "The token laptop is revoked.\n"
    assert caller(text) is None
    assert run("token", "revoke", "alice", "laptop", status=1).stderr == (
        "Error: alice has no token 'laptop'. `hubkit token list alice` shows those that exist.\n"
    )


def test_two_tokens_have_two_names(run: Run) -> None:
    run(*CREATE)
    assert "alice has a token 'laptop'" in run(*CREATE, status=1).stderr


def test_a_scope_is_one_of_three(run: Run) -> None:
    assert "'all' is not one of" in run(*CREATE[:-1], "all", status=2).stderr


def test_no_command_for_accounts_loads_what_serves_or_computes() -> None:
    code = (
        "import sys\n"
        "from hubkit.cli import main\n"
        "for line in ('user list', 'org list', 'token list alice', 'user add bob',"
        " 'token create bob --name x --scope read'):\n"
        "    main(line.split(), standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {module.partition(".")[0] for module in done.stdout.splitlines()[-1].split()}
    assert loaded & {"torch", "numpy", "transformers", "starlette", "granian", "argon2"} == set()
