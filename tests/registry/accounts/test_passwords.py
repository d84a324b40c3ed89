import sys
import time

import pytest

from registry.accounts import passwords
from registry.accounts.passwords import hash_password, is_outdated, is_right
from registry.errors import PasswordError

GOOD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick_passwords() -> None:
    """Hash passwords as users do."""


def test_only_the_right_password_is_right() -> None:
    kept = hash_password(GOOD)
    assert is_right(GOOD, kept)
    for wrong in ("correct horse batterz", GOOD + " ", "", "x" * 100_000):
        assert not is_right(wrong, kept)


def test_the_same_password_is_kept_as_another_hash_each_time() -> None:
    first, second = hash_password(GOOD), hash_password(GOOD)
    assert first != second
    assert first.startswith("$argon2id$")
    assert GOOD not in first


def test_a_letter_is_the_same_however_it_is_written() -> None:
    assert is_right("cafe\u0301 au lait", hash_password("caf\u00e9 au lait"))


@pytest.mark.parametrize("password", ["", "1234567", "x" * 257])
def test_a_password_has_8_to_256_characters(password: str) -> None:
    with pytest.raises(
        PasswordError, match=f"8 to 256 characters, but this one has {len(password)}"
    ):
        hash_password(password)


def test_nobody_has_a_password_and_it_takes_as_long_to_say_so() -> None:
    kept = hash_password(GOOD)
    start = time.process_time()
    assert not is_right("something else", kept)
    wrong = time.process_time() - start
    start = time.process_time()
    assert not is_right("something else", None)
    assert time.process_time() - start > wrong / 4


def test_what_is_no_hash_of_argon2_is_never_right() -> None:
    assert not is_right(GOOD, "plain text")


def test_a_hash_made_with_weaker_settings_is_outdated() -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=1024).hash(GOOD)
    assert is_right(GOOD, weak)
    assert is_outdated(weak)
    assert not is_outdated(hash_password(GOOD))


def test_without_argon2_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords._hasher.cache_clear()
    monkeypatch.setitem(sys.modules, "argon2", None)
    with pytest.raises(PasswordError, match=r"pip install 'hubkit\[server\]'"):
        hash_password(GOOD)
    with pytest.raises(PasswordError, match=r"pip install 'hubkit\[server\]'"):
        is_right(GOOD, None)
