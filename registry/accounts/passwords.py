"""Passwords, of which only an argon2 hash is kept."""

from functools import cache
from typing import TYPE_CHECKING
from unicodedata import normalize

from registry.errors import PasswordError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LEAST, MOST = 8, 256
"""How many characters a password has."""

# Used if there is no such user, so that the answer takes as long: a hash by argon2 with the
# settings of `PasswordHasher`.
_NOBODY = (
    "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA"
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


def hash_password(password: str) -> str:
    """Return what to keep of a password; takes 64 MiB and a tenth of a second.

    Raises:
        PasswordError: It has fewer than 8 characters or more than 256, or argon2-cffi is not
            installed.
    """
    if not LEAST <= len(password) <= MOST:
        raise PasswordError(
            f"A password has {LEAST} to {MOST} characters, but this one has {len(password)}.",
            given=len(password),
        )
    return _hasher().hash(_encoded(password))


def is_right(password: str, kept: str | None) -> bool:
    """Whether a password is the one of which `kept` was kept.

    It takes as long without a hash (None): otherwise, the time would tell who has a password.

    Raises:
        PasswordError: argon2-cffi is not installed.
    """
    hasher = _hasher()
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > MOST:
        return False
    try:
        return hasher.verify(kept or _NOBODY, _encoded(password)) and kept is not None
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(kept: str) -> bool:
    """Whether a password should be hashed anew, as hashes are made otherwise today."""
    return _hasher().check_needs_rehash(kept)


def _encoded(password: str) -> bytes:
    # Keyboards write the same letter in several ways.
    return normalize("NFKC", password).encode("utf-8", "surrogatepass")


@cache
def _hasher() -> "PasswordHasher":
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        raise PasswordError(
            "Passwords need argon2-cffi, which is not installed. Run: pip install 'hubkit[server]'"
        ) from error
    return PasswordHasher()
